//! What an error reply of one of several servers means for whoever asked it.

use std::sync::Arc;

use romaine_commands::Request;
use romaine_proto::{Reroute, Trigger, is_barred, reroute};
use romaine_resp::ServerError;

use super::Fleet;
use crate::batch::{Batch, Replies};
use crate::call::refusal;
use crate::cells::{Ended, ReplyBytes};
use crate::circuit::Patience;
use crate::error::Result;
use crate::server::Server;

/// Where to go on.
#[derive(Debug)]
pub(crate) enum Elsewhere {
    /// Nowhere: the error is not about the topology.
    No,
    /// At this server.
    At(Arc<Server>),
    /// At this server this once, ASKING first.
    Asking(Arc<Server>),
    /// The right server is not known yet, or cannot serve it yet.
    Later,
}

impl Fleet {
    /// Follows what `error` says: the map learns from it, the topology is asked, a server that is no primary is left.
    pub(crate) fn elsewhere(&self, server: &Arc<Server>, error: &ServerError) -> Elsewhere {
        match reroute(error, &server.address) {
            Reroute::No => Elsewhere::No,
            Reroute::Moved { slot, to: Some(to) } => Elsewhere::At(self.moved(slot, &to, server)),
            Reroute::Ask { to: Some(to), .. } => {
                self.count_redirect();
                let other = self.server_at(&to);
                if !self.map().has_primary(&other) {
                    other.set_importing(true);
                }
                Elsewhere::Asking(other)
            }
            Reroute::Moved { to: None, .. } | Reroute::Ask { to: None, .. } => {
                self.trigger(Trigger::UnknownNode);
                Elsewhere::Later
            }
            Reroute::Later => {
                if matches!(error.code(), "CLUSTERDOWN" | "MASTERDOWN") {
                    self.trigger(Trigger::Uncovered);
                }
                Elsewhere::Later
            }
            Reroute::WrongRole => {
                server.demoted();
                Elsewhere::Later
            }
        }
    }
}

/// Holds for the next command of the connection.
pub(crate) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// ASKING and the request in one write: ASKING holds for the next command only. How the request ended.
///
/// # Errors
/// When it was not accepted.
pub(crate) async fn asking(server: Arc<Server>, request: Box<Request>, patience: Patience) -> Result<Ended> {
    server.start_commands();
    let mut batch = Batch::default();
    batch.push_raw(ASKING);
    batch.push(&request);
    let ticketed = batch.issue(&server.commands, patience)?;
    Ok(match batch.collect(&server.commands, ticketed).await {
        Ok(replies) => Ended::Reply(behind_asking(&replies)),
        Err((kind, delivery)) => Ended::Failed(kind, delivery),
    })
}

/// The reply to the request behind ASKING; that to ASKING where it says more.
pub(crate) fn behind_asking(replies: &Replies) -> ReplyBytes {
    let [asking, own] = [0, 1].map(|index| ReplyBytes::copy(replies.frame(index).unwrap_or_default()));
    match (refusal(&asking), refusal(&own)) {
        (Some(of_asking), Some(error)) if is_barred(&of_asking, &error) => asking,
        _ => own,
    }
}
