//! The rollouts that are kept: their list, and how it stays short.

use romaine::Client;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::hub;
use crate::rollout::{View, store, view_of};

/// Rollouts that are kept, not counted those that run still. The oldest are forgotten when a new one is created.
pub const ROLLOUTS_MAX: usize = 100;

/// Of those that are too many, how many are looked at with each new one.
const FORGOTTEN_AT_ONCE: usize = 10;

/// A rollout in the list of all.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Listed {
    /// As it stands, without its story.
    Known(Box<View>),
    /// It cannot be read: another version wrote it, or its records are gone.
    Unreadable {
        /// Its name.
        id: String,
        /// Why.
        unreadable: String,
    },
}

/// The rollouts, the newest first, a hundred at most. One that cannot be read keeps no other from being listed.
///
/// # Errors
/// When the hub cannot be reached, or refuses.
///
/// # Cancel safety
/// Yes.
pub async fn list(client: &Client) -> Result<Vec<Listed>> {
    let now_ms = hub::time_ms(client).await?;
    let mut all = Vec::new();
    for id in store::names(client, 0, ROLLOUTS_MAX).await? {
        all.push(match store::load(client, &id).await {
            Ok(Some(loaded)) => Listed::Known(Box::new(view_of(loaded, now_ms, Vec::new()))),
            Ok(None) => Listed::Unreadable { id, unreadable: "its records are gone".to_owned() },
            Err(error) if is_of_its_records(&error) => Listed::Unreadable { id, unreadable: error.full() },
            Err(error) => return Err(error),
        });
    }
    Ok(all)
}

/// What is wrong is wrong with this rollout alone; a foreign value under one of its keys is refused by the hub.
fn is_of_its_records(error: &Error) -> bool {
    error.kind() == ErrorKind::Record || error.full().contains("WRONGTYPE")
}

/// Forgets a rollout that is over: its plan, how far each edge came, its story. One that cannot be read is forgotten, too,
/// unless somebody drives it. False when there is none.
///
/// # Errors
/// When it is not over, or the hub cannot be reached or refuses.
///
/// # Cancel safety
/// It may be forgotten although the future was dropped, or be half forgotten: then it can be forgotten again.
pub async fn forget(client: &Client, id: &str) -> Result<bool> {
    match store::load(client, id).await {
        Ok(Some(loaded)) if !loaded.engine.progress.stage.is_over() => {
            let stage = loaded.engine.progress.stage;
            return Err(Error::usage(format!("rollout {id} is {stage}: `romaine rollout abort {id}` ends it first")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::Record => {
            if store::driver_until(client, id).await? > hub::time_ms(client).await? {
                return Err(Error::usage(format!("rollout {id} is driven by a process of another version")));
            }
        }
        Err(error) if is_of_its_records(&error) => {}
        Err(error) => return Err(error),
    }
    store::forget(client, id).await
}

/// Forgets the oldest of those that are too many, some at a time; never one that is not over, or that another version
/// wrote and may be driving.
pub(crate) async fn tidy(client: &Client) -> Result<()> {
    let many = store::names(client, ROLLOUTS_MAX, usize::from(u16::MAX)).await?;
    for id in many.iter().rev().take(FORGOTTEN_AT_ONCE) {
        let is_over = match store::load(client, id).await {
            Ok(loaded) => loaded.is_none_or(|loaded| loaded.engine.progress.stage.is_over()),
            Err(error) if is_of_its_records(&error) => false,
            Err(error) => return Err(error),
        };
        if is_over {
            store::forget(client, id).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use romaine::Config;
    use romaine_faultlab::Server;

    use super::*;
    use crate::rollout::{Away, Budget, Stage, Wish, create, names, view};

    async fn hub() -> (Server, Client) {
        let server = Server::start().await.unwrap();
        let address = server.address();
        let client = Client::connect(Config::new(address.ip().to_string(), address.port())).await.unwrap();
        server.command(&["HSET", "edge:{edge:e1}:state", "seen", "1"]).await.unwrap();
        (server, client)
    }

    async fn created(client: &Client, id: &str) {
        let wish = Wish {
            id: Some(id.to_owned()),
            image: format!("app@sha256:{}", "1".repeat(64)).parse().unwrap(),
            targets: "*".parse().unwrap(),
            targets_text: "*".into(),
            waves: "100%".parse().unwrap(),
            budget: Budget { abort_over: None, pause_over: None },
            timeout: std::time::Duration::from_secs(1),
            offline: Away::Wait,
            soak: std::time::Duration::ZERO,
            retries: 0,
            rollback: true,
        };
        assert_eq!(create(client, &wish).await.unwrap(), id);
    }

    async fn end(server: &Server, client: &Client, id: &str) {
        let mut progress = view(client, id).await.unwrap().progress;
        progress.stage = Stage::Done;
        let progress = serde_json::to_string(&progress).unwrap();
        server.command(&["HSET", &format!("rollout:{{{id}}}:plan"), "progress", &progress]).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_is_listed_as_such_among_the_others_and_can_be_forgotten() {
        let (server, client) = hub().await;
        for id in ["good", "gone", "foreign", "newer"] {
            created(&client, id).await;
        }
        server.command(&["DEL", "rollout:{gone}:plan"]).await.unwrap();
        server.command(&["SET", "rollout:{foreign}:plan", "x"]).await.unwrap();
        server
            .command(&["HSET", "rollout:{newer}:plan", "progress", "{}", "driver_until", "9999999999999"])
            .await
            .unwrap();
        let mut unreadable = Vec::new();
        for listed in list(&client).await.unwrap() {
            match listed {
                Listed::Known(view) => assert!(view.plan.id == "good" && view.targets.len() == 1),
                Listed::Unreadable { id, .. } => unreadable.push(id),
            }
        }
        unreadable.sort_unstable();
        assert_eq!(unreadable, ["foreign", "gone", "newer"]);
        assert!(forget(&client, "good").await.unwrap_err().to_string().contains("abort good"));
        assert!(forget(&client, "newer").await.unwrap_err().to_string().contains("driven by"));
        server.command(&["HDEL", "rollout:{newer}:plan", "driver_until"]).await.unwrap();
        end(&server, &client, "good").await;
        for id in ["good", "gone", "foreign", "newer"] {
            assert!(forget(&client, id).await.unwrap(), "{id}");
            assert!(!forget(&client, id).await.unwrap(), "{id}");
        }
        assert_eq!(server.command(&["KEYS", "rollout*"]).await.unwrap().text(), "rollouts:generation");
    }

    #[tokio::test]
    async fn the_oldest_that_are_over_are_forgotten_when_there_are_too_many() {
        let (server, client) = hub().await;
        for n in 0..ROLLOUTS_MAX + 3 {
            let id = format!("r{n:03}");
            created(&client, &id).await;
            // Of the four oldest one runs still.
            if n != 1 {
                end(&server, &client, &id).await;
            }
        }
        created(&client, "newest").await;
        let all = store::names(&client, 0, 1_000).await.unwrap();
        assert_eq!((all.len(), all.last().map(String::as_str)), (ROLLOUTS_MAX + 1, Some("r001")));
        assert_eq!(all[ROLLOUTS_MAX - 1], "r004");
        assert_eq!(names(&client).await.unwrap().len(), ROLLOUTS_MAX);
        assert_eq!(server.command(&["EXISTS", "rollout:{r000}:story"]).await.unwrap().as_int(), Some(0));
    }
}
