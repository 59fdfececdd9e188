//! A queue behind Sentinels and in a Cluster: the same tests for both.

use std::time::Duration;

use romaine::{Backoff, Client, Config, Liveness};
use romaine_faultlab::{Deployment, Server};
use romaine_queue::Queue;

/// The one queue of these tests, and a key in its slot.
pub(crate) const QUEUE: &str = "test";
pub(crate) const KEY: &str = "rq:{test}:j";

pub(crate) async fn sentinels() -> Deployment {
    Deployment::sentinels(Server::builder()).await.unwrap()
}

pub(crate) async fn cluster() -> Deployment {
    Deployment::cluster(Server::builder()).await.unwrap()
}

pub(crate) async fn queue(lab: &Deployment) -> Queue {
    let config = Config::from_url(&lab.url()).unwrap().liveness(Liveness::fast());
    let config = config.backoff(Backoff::Constant { delay: Duration::from_millis(20) });
    Queue::new(&Client::connect(config).await.unwrap(), QUEUE).unwrap()
}
