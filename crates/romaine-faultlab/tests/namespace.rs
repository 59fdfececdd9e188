//! Packets lost by the kernel. Where no namespace can be made, the tests say so and pass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use romaine_faultlab::{DropDirection, Namespace, Server, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(8);
const A_WHILE: Duration = Duration::from_millis(300);

struct Lab {
    namespace: Namespace,
    server: Server,
    client: TcpStream,
}

/// A server in a namespace and a connection to it.
async fn lab() -> Option<Lab> {
    if let Err(reason) = Namespace::available().await {
        eprintln!("skipped: needs a network namespace: {reason}");
        return None;
    }
    let namespace = Namespace::create().await.unwrap();
    let server = Server::builder().in_namespace(&namespace).start().await.unwrap();
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    client.write_all(b"SET counter 0\r\n").await.unwrap();
    client.read_exact(&mut [0; 5]).await.unwrap();
    Some(Lab { namespace, server, client })
}

impl Lab {
    async fn send_incr(&mut self) {
        self.client.write_all(b"INCR counter\r\n").await.unwrap();
    }

    async fn reply(&mut self, within: Duration) -> Option<String> {
        let mut reply = [0; 4];
        timeout(within, self.client.read_exact(&mut reply)).await.ok()?.unwrap();
        Some(String::from_utf8(reply.to_vec()).unwrap())
    }

    /// As the server sees it: the lab's own connection does not go through the network.
    async fn counter(&self) -> String {
        self.server.command(&["GET", "counter"]).await.unwrap().text()
    }
}

#[tokio::test]
async fn loss_both_ways_is_silent_and_heals() {
    let Some(mut lab) = lab().await else { return };
    lab.namespace.drop_packets(DropDirection::Both).await.unwrap();
    lab.send_incr().await;
    assert_eq!(lab.reply(A_WHILE).await, None);
    assert_eq!(lab.counter().await, "0");
    let connecting = timeout(A_WHILE, TcpStream::connect(lab.server.address())).await;
    assert!(connecting.is_err(), "a connect must hang, not fail: {connecting:?}");
    lab.namespace.heal().await.unwrap();
    assert_eq!(lab.reply(SOON).await.unwrap(), ":1\r\n");
}

#[tokio::test]
async fn loss_towards_the_client_lets_commands_be_executed() {
    let Some(mut lab) = lab().await else { return };
    lab.namespace.drop_packets(DropDirection::ToClient).await.unwrap();
    lab.send_incr().await;
    eventually(SOON, "the increment", async || lab.counter().await == "1").await.unwrap();
    assert_eq!(lab.reply(A_WHILE).await, None);
    lab.namespace.heal().await.unwrap();
    assert_eq!(lab.reply(SOON).await.unwrap(), ":1\r\n");
}

#[tokio::test]
async fn loss_towards_the_server_lets_messages_arrive() {
    let Some(mut lab) = lab().await else { return };
    let mut subscriber = TcpStream::connect(lab.server.address()).await.unwrap();
    subscriber.write_all(b"SUBSCRIBE news\r\n").await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b":1\r\n") {
        timeout(SOON, subscriber.read_buf(&mut bytes)).await.unwrap().unwrap();
    }
    lab.namespace.drop_packets(DropDirection::ToServer).await.unwrap();
    lab.send_incr().await;
    lab.server.command(&["PUBLISH", "news", "arrives"]).await.unwrap();
    while !bytes.ends_with(b"arrives\r\n") {
        timeout(SOON, subscriber.read_buf(&mut bytes)).await.unwrap().unwrap();
    }
    assert_eq!(lab.reply(A_WHILE).await, None);
    assert_eq!(lab.counter().await, "0");
    lab.namespace.heal().await.unwrap();
    assert_eq!(lab.reply(SOON).await.unwrap(), ":1\r\n");
}

#[tokio::test]
async fn a_server_in_a_namespace_freezes_and_restarts_as_any_other() {
    let Some(lab) = lab().await else { return };
    lab.server.freeze().await.unwrap();
    lab.server.restart().await.unwrap();
    TcpStream::connect(lab.server.address()).await.unwrap();
    assert_eq!(lab.server.address().ip(), lab.namespace.ip());
}

#[tokio::test]
async fn a_dropped_namespace_is_gone() {
    let Some(lab) = lab().await else { return };
    let name = lab.namespace.name();
    drop(lab);
    let list = tokio::process::Command::new("ip").args(["netns", "list"]).output().await.unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(!list.split_whitespace().any(|word| word == name), "{list}");
}
