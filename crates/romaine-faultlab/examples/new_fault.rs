//! A new fault, written by a newcomer: a network that flaps. Run it with
//! `cargo run -p romaine-faultlab --example new_fault`.

use std::time::Duration;

use anyhow::Context as _;
use romaine_faultlab::scenario::{Driver, Field, Load, Observation, Order, Pace, Subject};
use romaine_faultlab::{Accept, FaultProxy, Server};
use tokio::time::{sleep, timeout};

/// The fault: five times, all connections are reset and nobody listens for a while.
async fn flap(proxy: &FaultProxy) -> anyhow::Result<()> {
    for _ in 0..5 {
        proxy.accept(Accept::Refuse).await?;
        proxy.reset_all().await?;
        sleep(Duration::from_millis(100)).await;
        proxy.heal().await?;
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A real server, a way to it that can be broken, and a client with 64 callers of INCR. `Driver::Program` puts any
    // program that speaks the line protocol in romaine's place.
    let field = Field::behind_proxy(Server::builder()).await?;
    let order = Order::new(field.url(), Pace::Default, &[Load::Callers]);
    let (_client, mut seen) = Subject::start(&Driver::Here, order).await?;
    while !matches!(seen.recv().await.context("the client ended")?.what, Observation::Worked { .. }) {}

    flap(field.proxy().context("the way is a proxy")?).await?;

    // What must be true afterwards: the client says that it lost its connection, and then that it works.
    let mut lost = 0;
    let back = async {
        while let Some(seen) = seen.recv().await {
            match seen.what {
                Observation::Disconnected { .. } => lost += 1,
                Observation::Worked { .. } if lost > 0 => return true,
                _ => {}
            }
        }
        false
    };
    let is_back = timeout(Duration::from_secs(10), back).await.context("it never came back")?;
    anyhow::ensure!(is_back, "the client ended");
    println!("lost its connection {lost} time(s), and works");
    Ok(())
}
