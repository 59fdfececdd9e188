//! The scripted server keeps to its script, and remembers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::time::Duration;

use romaine_faultlab::{ScriptedServer, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

async fn dial(server: &ScriptedServer, sends: &str) -> TcpStream {
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    client.write_all(sends.as_bytes()).await.unwrap();
    client
}

async fn rest(mut client: TcpStream) -> Result<String, ErrorKind> {
    let mut bytes = Vec::new();
    let ended = timeout(SOON, client.read_to_end(&mut bytes)).await.unwrap();
    ended.map(|_| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| error.kind())
}

#[tokio::test]
async fn a_script_greets_answers_and_goes_silent() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        conn.expect("GET").await?;
        conn.send(b"$3\r\nfoo\r\n").await?;
        conn.silence().await
    })
    .await
    .unwrap();
    let mut client = dial(&server, "HELLO 3\r\nCLIENT ID\r\nCLIENT SETINFO lib-name x\r\nGET key\r\nPING\r\n").await;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b":1\r\n+OK\r\n$3\r\nfoo\r\n") {
        assert_ne!(timeout(SOON, client.read_buf(&mut bytes)).await.unwrap().unwrap(), 0);
    }
    assert!(bytes.starts_with(b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"));
    assert_eq!(server.wait_for_command("ping").await.unwrap(), ["PING"]);
    let transcript = ["HELLO 3", "CLIENT ID", "CLIENT SETINFO lib-name x", "GET key", "PING"];
    assert_eq!(server.transcript(0), transcript);
    drop(client);
    assert_eq!(server.failures(), [""; 0]);
}

#[tokio::test]
async fn another_command_than_expected_is_a_failure_that_names_both() {
    let server = ScriptedServer::start(|mut conn| async move { conn.expect("GET").await.map(drop) }).await.unwrap();
    assert_eq!(rest(dial(&server, "SET a b\r\n").await).await.unwrap(), "");
    eventually(SOON, "the failure", async || !server.failures().is_empty()).await.unwrap();
    let failures = server.failures();
    assert!(failures[0].contains("expected GET") && failures[0].contains("SET"), "{failures:?}");
}

#[tokio::test]
async fn connections_differ_by_their_index() {
    let server = ScriptedServer::start(|mut conn| async move {
        match conn.index() {
            0 => conn.greet_resp2().await,
            1 => conn.greet_noproto().await,
            2 => conn.send(b"\x00garbage").await,
            3 => conn.close().await,
            _ => conn.answer_all(b"+PONG\r\n").await,
        }
    })
    .await
    .unwrap();
    assert!(rest(dial(&server, "HELLO 3\r\n").await).await.unwrap().starts_with("-ERR unknown command"));
    assert!(rest(dial(&server, "HELLO 3\r\n").await).await.unwrap().starts_with("-NOPROTO"));
    assert_eq!(rest(dial(&server, "").await).await.unwrap(), "\0garbage");
    assert_eq!(rest(dial(&server, "").await).await.unwrap(), "");
    let mut client = dial(&server, "*1\r\n$4\r\nPING\r\nPING\r\n").await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(client).await.unwrap(), "+PONG\r\n+PONG\r\n");
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn a_script_can_reset_trickle_and_stop_reading() {
    let server = ScriptedServer::start(|mut conn| async move {
        match conn.index() {
            0 => conn.reset().await,
            1 => conn.trickle(b"+slow\r\n", 2, Duration::from_millis(10)).await,
            _ => conn.stop_reading().await,
        }
    })
    .await
    .unwrap();
    assert_eq!(rest(dial(&server, "").await).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(rest(dial(&server, "").await).await.unwrap(), "+slow\r\n");
    let mut client = dial(&server, "").await;
    server.wait_for_connections(3).await.unwrap();
    let block = vec![b'x'; 1024 * 1024];
    let writes = async {
        for _ in 0..64 {
            client.write_all(&block).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(500), writes).await.is_err(), "the client's writes never blocked");
}
