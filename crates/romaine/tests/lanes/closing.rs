//! Pops that nobody waits for any more when the client closes.

use std::pin::pin;

use romaine::commands::*;
use romaine::{Client, Event, EventStream, Liveness};
use romaine_faultlab::{Fault, FaultProxy, Server};

use crate::support::{background, blocked, connect, plain, told};

async fn lab() -> (Server, FaultProxy, Client) {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(plain(proxy.address()).liveness(Liveness::default())).await;
    // The permission to probe is known from here on.
    assert!(client.brpop::<String, String>("q", 0.01).await.unwrap().is_none());
    (server, proxy, client)
}

fn losses(events: &mut EventStream) -> usize {
    told(events).iter().filter(|event| matches!(event, Event::ElementMayBeLost { command: "BRPOP" })).count()
}

#[tokio::test]
async fn the_fate_of_a_pop_that_was_dropped_before_the_client_closed_is_told() {
    let (server, proxy, client) = lab().await;
    let mut events = client.events();
    let call = background({
        let client = client.clone();
        async move { client.brpop::<String, String>("q", 0.0).await }
    });
    blocked(&server, 1).await;
    // Whatever is asked about it is not answered.
    proxy.set_both(Fault::Swallow);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    client.close().await;
    assert_eq!(losses(&mut events), 1);
}

#[tokio::test]
async fn the_fate_of_a_pop_that_is_dropped_after_the_client_closed_is_told() {
    let (server, _proxy, client) = lab().await;
    let mut events = client.events();
    {
        let mut call = pin!(client.brpop::<String, String>("q", 0.0));
        tokio::select! {
            popped = &mut call => panic!("there is nothing: {popped:?}"),
            () = blocked(&server, 1) => {}
        }
        client.close().await;
        assert_eq!(losses(&mut events), 0, "its caller may yet hear of it");
    }
    assert_eq!(losses(&mut events), 1);
}
