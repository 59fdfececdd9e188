//! Lua scripts by their digest.

use std::sync::Arc;

use romaine_commands::{Command, FromValue, Request, ToArgs, cmd};

use crate::call::{Place, ask_in};
use crate::circuit::Patience;
use crate::error::{Error, Result};

/// A Lua script: sent by digest (EVALSHA), by its text only when the server does not have it (after SCRIPT FLUSH, a
/// restart, a failover).
///
/// ```no_run
/// # async fn example(client: &romaine::Client) -> romaine::Result<()> {
/// use romaine::Script;
///
/// static TAKE: &str = "return redis.call('DECRBY', KEYS[1], ARGV[1])";
/// let left: i64 = client.script(&Script::new(TAKE), ["stock:7"], [3]).await?;
/// # let _ = left;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Script {
    text: Arc<str>,
    digest: Arc<str>,
    read_only: bool,
}

impl Script {
    /// A script that may write: sent again only when it was not executed.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), digest: sha1_smol::Sha1::from(text).hexdigest().into(), read_only: false }
    }

    /// A script that only reads (EVALSHA_RO, 7.0 and later): sent again freely.
    #[must_use]
    pub fn read_only(text: &str) -> Self {
        Self { read_only: true, ..Self::new(text) }
    }

    /// The SHA-1 digest, as EVALSHA takes it.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    fn request<R: FromValue>(&self, by_digest: bool, keys: &Request, args: &Request) -> romaine_commands::Cmd<R> {
        let name = match (by_digest, self.read_only) {
            (true, false) => "EVALSHA",
            (true, true) => "EVALSHA_RO",
            (false, false) => "EVAL",
            (false, true) => "EVAL_RO",
        };
        let body = if by_digest { &self.digest } else { &self.text };
        let mut command = cmd::<R>(name).arg(&**body).arg(keys.arg_count());
        for arg in keys.args().chain(args.args()) {
            command = command.arg(arg);
        }
        command
    }

    pub(crate) async fn run<R: FromValue>(&self, place: Place<'_>, keys: impl ToArgs, args: impl ToArgs) -> Result<R> {
        // Written once: counted, and ready for the second request if there has to be one.
        let keys = cmd::<()>("").args(keys).into_request();
        let args = cmd::<()>("").args(args).into_request();
        match ask_in(place, self.request::<R>(true, &keys, &args), Patience::Default).await {
            Err(error) if is_missing(&error) => {
                ask_in(place, self.request(false, &keys, &args), Patience::Default).await
            }
            other => other,
        }
    }
}

fn is_missing(error: &Error) -> bool {
    error.server().is_some_and(|error| error.code() == "NOSCRIPT")
}
