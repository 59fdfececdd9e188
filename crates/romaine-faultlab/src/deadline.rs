//! Waiting for a condition, with a deadline.

use std::time::Duration;

use anyhow::Context as _;

/// How often a condition is looked at: short against every delay that a test measures, long against the cost of a look.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the condition given to [`eventually`] may answer: `bool`, or `Option<T>` where the waiter wants the value.
pub trait Verdict {
    /// What [`eventually`] hands back once the condition holds.
    type Found;

    /// `Some` when the condition holds.
    fn found(self) -> Option<Self::Found>;
}

impl Verdict for bool {
    type Found = ();

    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Verdict for Option<T> {
    type Found = T;

    fn found(self) -> Option<T> {
        self
    }
}

/// Waits until `condition` answers `true` or `Some`, and looks at it anew every few milliseconds.
///
/// ```
/// # use std::time::Duration;
/// # use romaine_faultlab::eventually;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let mut looks = 0;
/// let found = eventually(Duration::from_secs(1), "the third look", async || {
///     looks += 1;
///     (looks == 3).then_some(looks)
/// })
/// .await?;
/// assert_eq!(found, 3);
/// # Ok(())
/// # }
/// ```
///
/// For the body of a test: the compiler cannot show that the future is `Send`, so it cannot be spawned.
///
/// # Errors
///
/// Names `what` was waited for when it did not come within `deadline`. A condition that itself never returns is cut
/// off at the deadline too.
pub async fn eventually<V, C>(deadline: Duration, what: &str, mut condition: C) -> anyhow::Result<V::Found>
where
    V: Verdict,
    C: AsyncFnMut() -> V,
{
    let looking = async {
        loop {
            if let Some(found) = condition().await.found() {
                return found;
            }
            look_again().await;
        }
    };
    within(deadline, what, looking).await
}

/// The same for a condition that does not wait itself. Its future is `Send`.
pub(crate) async fn until<V: Verdict>(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> V,
) -> anyhow::Result<V::Found> {
    let looking = async {
        loop {
            if let Some(found) = condition().found() {
                return found;
            }
            look_again().await;
        }
    };
    within(deadline, what, looking).await
}

/// Bounds a wait, and names what was waited for.
pub(crate) async fn within<T>(deadline: Duration, what: &str, wait: impl Future<Output = T>) -> anyhow::Result<T> {
    let waited = tokio::time::timeout(deadline, wait).await;
    waited.with_context(|| format!("waited {deadline:?} for {what}, and it did not come"))
}

/// The time between two looks.
pub(crate) async fn look_again() {
    tokio::time::sleep(LOOK_EVERY).await;
}
