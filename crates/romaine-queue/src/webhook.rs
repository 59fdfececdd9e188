//! Alerts by HTTP POST.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;

use crate::alarm::Alert;
use crate::error::{Error, ErrorKind, Result};
use crate::watch::Notifier;

/// Posts each alert as JSON: `queue`, `alert`, `state` (`firing` or `resolved`), `message`, and `text`, the same in one
/// line, which is what chat systems show.
pub struct Webhook {
    url: String,
    agent: ureq::Agent,
}

#[derive(Serialize)]
struct Body<'a> {
    queue: &'a str,
    alert: &'a str,
    state: &'a str,
    message: &'a str,
    text: String,
}

impl Webhook {
    /// To this URL, `http` or `https`. A post may take 10 s.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it is neither.
    pub fn new(url: impl Into<String>) -> Result<Self> {
        let url = url.into();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::config("a webhook's URL begins with http:// or https://"));
        }
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build();
        Ok(Self { url, agent: config.into() })
    }
}

impl Notifier for Webhook {
    fn notify<'a>(&'a self, alert: &'a Alert) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        let body = Body {
            queue: &alert.queue,
            alert: alert.trouble.name(),
            state: if alert.resolved { "resolved" } else { "firing" },
            message: &alert.message,
            text: alert.to_string(),
        };
        let body = serde_json::to_vec(&body);
        let (url, agent) = (self.url.clone(), self.agent.clone());
        Box::pin(async move {
            let failed = |what: &'static str| Error::new(ErrorKind::Unavailable, what);
            let body = body.map_err(|cause| failed("an alert has no form in JSON").with_source(cause))?;
            let posted = tokio::task::spawn_blocking(move || {
                agent.post(&url).content_type("application/json").send(&body[..]).map(drop)
            });
            match posted.await {
                Ok(Ok(())) => Ok(()),
                // The URL may hold a secret: it is not shown.
                Ok(Err(ureq::Error::StatusCode(code))) => {
                    Err(Error::new(ErrorKind::Unavailable, format!("the webhook answered {code}")))
                }
                Ok(Err(_cause)) => Err(failed("the webhook could not be reached")),
                Err(cause) => Err(failed("the webhook's task ended").with_source(cause)),
            }
        })
    }
}

impl std::fmt::Debug for Webhook {
    /// Shows no URL: it may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}
