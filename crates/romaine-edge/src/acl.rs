//! What an edge may do at the hub: as little as possible.

use romaine::{Client, Config};
use romaine_queue::Queue;

use crate::error::Result;
use crate::id::EdgeId;

/// The rule (a line for an ACL file, or for `ACL SETUSER` without the first word) with which an edge's user may work on
/// its own queue and its own records, read what is wanted of it, and do nothing else. It needs a password of its own:
/// none is in the rule. `%R~` needs Redis 7.0 or Valkey.
///
/// # Errors
/// When the id makes no queue's name.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn acl_rule(id: &EdgeId, user: &str) -> Result<String> {
    // The queue knows its own rule, and wants a client to be made; nobody is asked anything.
    let nobody = Client::connect(Config::unix("/dev/null").lazy()).await?;
    let rule = Queue::new(&nobody, &id.queue()).map(|queue| queue.acl_rule(user));
    nobody.close().await;
    let own = [id.state_key(), id.session_key(), id.log_key(), id.sent_key()];
    let own: Vec<String> = own.iter().map(|key| format!("~{key}")).collect();
    Ok(format!("{} {} %R~{} +xadd +del +pttl", rule?, own.join(" "), id.desired_key()))
}
