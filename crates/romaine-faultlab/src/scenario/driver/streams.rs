//! The consumer and the subscriber.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Delivery, Incoming, Subscription};

use super::Ground;
use crate::scenario::moment::Moment;
use crate::scenario::protocol::{JOBS, Link, NEWS, Observation};

/// `BRPOP jobs 0`, again and again.
pub(super) async fn consume(ground: Ground) {
    loop {
        match ground.client.brpop::<String, String>(JOBS, 0.0).await {
            Ok(Some((_key, value))) => match value.parse() {
                Ok(element) => ground.witness.tell(Observation::Element(element)).await,
                Err(_) => ground.witness.tell(Observation::Trouble(format!("not an element: {value}"))).await,
            },
            Ok(None) => ground.witness.tell(Observation::Trouble("BRPOP jobs 0 answered nil".into())).await,
            // The event that comes with it says the same, and each call is announced once.
            Err(error) if error.may_have_lost_element() => {}
            Err(error) => {
                if error.delivery() == Delivery::Unknown {
                    let cause = error.to_string();
                    ground.witness.tell(Observation::Broken { link: Link::Blocking, cause }).await;
                }
                ground.witness.tell(Observation::Trouble(format!("the consumer: {error}"))).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Subscribes, and returns once the server has confirmed.
pub(super) async fn subscribe(ground: &Ground) -> romaine::Result<Subscription> {
    if ground.order.shard { ground.client.ssubscribe([NEWS]).await } else { ground.client.subscribe([NEWS]).await }
}

/// Reads what is published, from when it is told to.
pub(super) async fn listen(mut ground: Ground, mut subscription: Subscription) {
    if ground.reading.wait_for(|reading| *reading).await.is_err() {
        return;
    }
    while let Some(incoming) = subscription.next().await {
        let what = match incoming {
            Incoming::Message(message) => {
                // What comes after the number is ballast.
                let text = String::from_utf8_lossy(&message.payload);
                match text.split(' ').next().unwrap_or_default().parse() {
                    Ok(number) => Observation::Message(number),
                    Err(_) => Observation::Trouble(format!("not a message: {text:.40}")),
                }
            }
            Incoming::Gap { since, until, .. } => {
                Observation::Gap { since: Moment::of(since), until: Moment::of(until) }
            }
            Incoming::Dropped(count) => Observation::Dropped(count),
            _ => continue,
        };
        ground.witness.tell(what).await;
    }
    let why = subscription.ended_by().map_or_else(String::new, |error| format!(": {error}"));
    ground.witness.tell(Observation::Trouble(format!("the subscription ended{why}"))).await;
}
