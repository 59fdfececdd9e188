//! What jobs leave behind.

use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::queue::Queue;
use crate::retry::{Fate, Pauses, fate};
use crate::scripts;

impl Queue {
    /// The result of a job, while it is kept.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn result(&self, id: &str) -> Result<Option<JobResult>> {
        Ok(self.kept(id).await?)
    }

    async fn kept(&self, id: &str) -> romaine::Result<Option<JobResult>> {
        let kept: Option<Bytes> =
            scripts::RESULT.run_again(&self.client, &self.keys, |command| command.arg(id)).await?;
        Ok(kept.as_ref().and_then(JobResult::decode))
    }

    /// Waits for the result of a job, without asking again and again: its worker announces it. `None` when there is
    /// none within `limit`.
    ///
    /// # Errors
    /// When the client was closed, or the server refuses. Interruptions are waited out.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn wait_for_result(&self, id: &str, limit: Duration) -> Result<Option<JobResult>> {
        let waiting = async {
            let mut pauses = Pauses::new();
            loop {
                match self.announced(id).await {
                    Ok(result) => return Ok(result),
                    Err(error) => match fate(&error, &self.client) {
                        Fate::Passes => tokio::time::sleep(pauses.next()).await,
                        Fate::Stays | Fate::Closed => return Err(Error::from(error)),
                    },
                }
            }
        };
        match tokio::time::timeout(limit, waiting).await {
            Ok(Ok(result)) => Ok(Some(result)),
            Ok(Err(error)) => Err(error),
            Err(_too_late) => self.result(id).await.or_else(|error| match error.kind() {
                ErrorKind::Unavailable => Ok(None),
                _ => Err(error),
            }),
        }
    }

    async fn announced(&self, id: &str) -> romaine::Result<JobResult> {
        // Listening first, then looking: what is stored in between is announced.
        let mut stream = self.client.subscribe([self.keys.results_channel()]).await?;
        loop {
            if let Some(result) = self.kept(id).await? {
                return Ok(result);
            }
            loop {
                match stream.next().await {
                    Some(romaine::Incoming::Message(message)) if message.payload != id.as_bytes() => {}
                    // Ours, a gap, or the end: look.
                    Some(_) => break,
                    None => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        }
    }
}

/// What a job left behind.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobResult {
    /// It was done; what its handler returned.
    Done(Bytes),
    /// It went to the dead letters; why.
    Dead(String),
}

impl JobResult {
    fn decode(bytes: &Bytes) -> Option<Self> {
        match bytes.first()? {
            b'k' => Some(Self::Done(bytes.slice(1..))),
            b'x' => Some(Self::Dead(String::from_utf8_lossy(bytes.get(1..)?).into_owned())),
            _ => None,
        }
    }

    /// The result from JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when the job is dead, or its result is not of this type.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        match self {
            Self::Done(bytes) => serde_json::from_slice(bytes)
                .map_err(|cause| Error::new(ErrorKind::Codec, "the result has another form").with_source(cause)),
            Self::Dead(why) => Err(Error::new(ErrorKind::Codec, format!("the job is dead: {why}"))),
        }
    }
}

impl std::fmt::Debug for JobResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(bytes) => write!(f, "Done({} bytes)", bytes.len()),
            Self::Dead(why) => write!(f, "Dead({why})"),
        }
    }
}
