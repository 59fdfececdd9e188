//! What a blocking request asks for: how long, and after which entry.

use std::time::{Duration, Instant};

use romaine_commands::{Request, Wait as WaitArgument, cmd};
use romaine_proto::Liveness;

use crate::call::{Place, ask_in};
use crate::circuit::Patience;
use crate::error::{Delivery, Result};

/// How long a blocking request may take on a connection that is not probed: the server's own time-out and the grace for
/// its timer. `None`: for ever.
pub(crate) fn limit_of(request: &Request, liveness: &Liveness) -> Option<Duration> {
    match Asked::of(request) {
        Some(asked) => Some(asked.timeout? + liveness.slice_grace),
        // The server will refuse it at once.
        None => Some(liveness.slice_grace),
    }
}

/// The time-out that a blocking request asks of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) position: usize,
    pub(crate) millis: bool,
    /// `None`: for ever.
    pub(crate) timeout: Option<Duration>,
}

impl Asked {
    /// `None` when it cannot be read: the server will say what is wrong with it.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let position = request.wait_position()?;
        let text = std::str::from_utf8(request.arg(position)?).ok()?;
        let millis = matches!(request.spec().wait, WaitArgument::BlockMillis | WaitArgument::LastMillis);
        let timeout = if millis {
            Duration::from_millis(text.parse().ok()?)
        } else {
            Duration::try_from_secs_f64(text.parse().ok()?).ok()?
        };
        Some(Self { position, millis, timeout: (!timeout.is_zero()).then_some(timeout) })
    }

    /// The request with the time-out `timeout`.
    pub(crate) fn apply(self, request: &Request, timeout: Option<Duration>) -> Request {
        if timeout == self.timeout {
            return request.clone();
        }
        let text = match timeout {
            None => "0".to_owned(),
            Some(timeout) if self.millis => timeout.as_millis().max(1).to_string(),
            Some(timeout) => format!("{:.3}", timeout.as_secs_f64()),
        };
        request.with_arg(self.position, text.as_bytes())
    }
}

/// `XREAD … $` means "after the newest entry now". Resolved once: asked again in every slice it would skip what came
/// between two slices. As patient as the wait itself, which it is a part of.
pub(crate) async fn resolve_last_ids(
    place: Place<'_>,
    mut request: Box<Request>,
    deadline: Option<Instant>,
) -> Result<Box<Request>> {
    if request.spec().name != "XREAD" {
        return Ok(request);
    }
    let args: Vec<Vec<u8>> = request.args().map(<[u8]>::to_vec).collect();
    let Some(streams) = args.iter().position(|arg| arg.eq_ignore_ascii_case(b"STREAMS")) else { return Ok(request) };
    let keys = &args[streams + 1..];
    let half = keys.len() / 2;
    for index in 0..half {
        if keys[half + index] != b"$" {
            continue;
        }
        let last = cmd::<Vec<(String, romaine_resp::Value)>>("XREVRANGE")
            .arg(&keys[index])
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1);
        // Whatever became of the question: what was asked for has not been sent.
        let asked = ask_in(place, last, Patience::Until(deadline)).await;
        let entries = asked.map_err(|error| error.with_delivery(Delivery::NotSent))?;
        let id = entries.into_iter().next().map_or_else(|| "0-0".to_owned(), |(id, _)| id);
        *request = request.with_arg(streams + 1 + half + index, id.as_bytes());
    }
    Ok(request)
}
