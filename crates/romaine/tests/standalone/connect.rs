//! The first connection, and the handshake of every one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use romaine::commands::*;
use romaine::{
    Client, Config, Credentials, CredentialsFuture, CredentialsProvider, Error, ErrorKind, Event, Liveness, Protocol,
    Status, cmd,
};
use romaine_faultlab::{Accept, FaultProxy, ScriptedServer, Server};

use crate::support::{
    PATIENCE, activated, attempt_failed, clients, connect, connections, event, fast, kill_clients, no_clients, now, up,
    within,
};

async fn refused(config: Config) -> Error {
    match within(PATIENCE, "connect to end", Client::connect(config)).await {
        Ok(_client) => panic!("connected"),
        Err(error) => error,
    }
}

fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

// 1
#[tokio::test]
async fn a_connected_client_says_so_and_reconnects_without_a_command() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let health = client.health().borrow().clone();
    assert_eq!((health.status, health.connections, health.attempts), (Status::Connected, 1, 0));
    assert_eq!(health.node.as_deref(), Some(server.address().to_string().as_str()));
    let mut events = client.events();
    kill_clients(&server).await;
    activated(&mut events).await;
    assert_eq!(connections(&client), 2);
    assert_eq!(clients(&server).await.len(), 1);
}

// 2
#[tokio::test]
async fn connecting_to_a_peer_that_stays_silent_fails_within_the_handshakes_time() {
    for liveness in [Liveness::fast(), Liveness::default(), Liveness::off()] {
        let server = ScriptedServer::start(|mut conn| async move { conn.silence().await }).await.unwrap();
        let limit = Duration::from_millis(700);
        let before = now();
        let error = refused(fast(server.address()).liveness(liveness).handshake_timeout(limit)).await;
        let took = now() - before;
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert!(error.to_string().contains("HELLO") && error.to_string().contains("handshake_timeout"), "{error}");
        assert!(took >= limit && took < limit * 3, "{took:?}");
    }
}

// 2
#[tokio::test]
async fn a_silent_handshake_longer_than_the_watchdogs_patience_is_no_connection() {
    let server = ScriptedServer::start(|mut conn| async move { conn.silence().await }).await.unwrap();
    let error = refused(fast(server.address()).handshake_timeout(Duration::from_secs(60))).await;
    assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
    assert!(error.to_string().contains("nothing was received"), "{error}");
}

// 2
#[tokio::test]
async fn connecting_where_nobody_listens_fails_at_once_and_says_where() {
    let server = Server::start().await.unwrap();
    server.kill();
    let error = refused(fast(server.address())).await;
    assert_eq!(error.kind(), ErrorKind::Connect);
    let address = server.address().to_string();
    assert_eq!(error.node(), Some(address.as_str()));
    assert!(causes(&error).contains(&address) && causes(&error).contains("refused"), "{}", causes(&error));
}

// 3
#[tokio::test]
async fn an_authentication_that_is_never_answered_fails_within_the_handshakes_time() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp2().await?;
        conn.silence().await
    })
    .await
    .unwrap();
    let config = fast(server.address()).password("s3cret").handshake_timeout(Duration::from_millis(500));
    let error = refused(config).await;
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("AUTH"), "{error}");
    assert!(!causes(&error).contains("s3cret"));
}

// 3, 4
#[tokio::test]
async fn a_refused_handshake_fails_connect_with_the_servers_words_and_leaves_no_socket() {
    let server = Server::builder().password("right").start().await.unwrap();
    let wrong = refused(fast(server.address()).password("wr0ng")).await;
    assert_eq!(wrong.kind(), ErrorKind::Auth);
    assert_eq!(causes(&wrong).matches("WRONGPASS").count(), 1, "said once: {}", causes(&wrong));
    assert!(!causes(&wrong).contains("wr0ng"), "{}", causes(&wrong));
    let none = refused(fast(server.address())).await;
    assert_eq!(none.kind(), ErrorKind::Auth, "{none:?}");
    assert!(causes(&none).contains("NOAUTH"), "{}", causes(&none));
    let database = refused(fast(server.address()).password("right").database(99)).await;
    assert!(causes(&database).contains("SELECT") && causes(&database).contains("out of range"), "{database:?}");
    no_clients(&server).await;
}

// 5
#[tokio::test]
async fn attempts_that_fail_in_the_handshake_leave_no_socket_behind() {
    let server = Server::builder().acl("alice on >old ~* +@all").start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address()).user("alice", "old")).await;
    server.command(&["ACL", "SETUSER", "alice", "resetpass", ">new"]).await.unwrap();
    let mut events = client.events();
    kill_clients(&server).await;
    for _ in 0..10 {
        let (cause, _, _) = attempt_failed(&mut events).await;
        assert_eq!(cause.kind(), ErrorKind::Auth);
        assert!(clients(&server).await.len() <= 1);
        assert!(proxy.open_connections() <= 2, "one may be closing while the next opens");
    }
    client.close().await;
    no_clients(&server).await;
    romaine_faultlab::eventually(PATIENCE, "no socket", async || proxy.open_connections() == 0).await.unwrap();
}

// 6
#[tokio::test]
async fn garbage_as_the_first_byte_fails_connect() {
    for garbage in ["HTTP/1.1 400 Bad Request\r\n\r\n", "\x16\x03\x01\x02\x00", "\0\0\0\0\r\n"] {
        let server = ScriptedServer::start(move |mut conn| async move {
            conn.next_command().await?;
            conn.send(garbage.as_bytes()).await?;
            conn.silence().await
        })
        .await
        .unwrap();
        let error = refused(fast(server.address())).await;
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error:?}");
        assert!(error.to_string().contains("not RESP"), "{error}");
    }
}

// 6
#[tokio::test]
async fn a_peer_that_answers_the_handshake_with_something_else_is_refused() {
    let server = ScriptedServer::start(|mut conn| async move { conn.answer_all(b":1\r\n").await }).await.unwrap();
    let error = refused(fast(server.address())).await;
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error:?}");
}

// 7
#[tokio::test]
async fn a_server_that_knows_no_resp3_is_spoken_to_in_resp2() {
    for refuses_version in [false, true] {
        let server = ScriptedServer::start(move |mut conn| async move {
            if refuses_version {
                conn.greet_noproto().await?;
            } else {
                conn.greet_resp2().await?;
            }
            conn.expect("AUTH").await?;
            conn.send(b"+OK\r\n").await?;
            conn.expect("GET").await?;
            conn.send(b"$5\r\nvalue\r\n").await?;
            conn.silence().await
        })
        .await
        .unwrap();
        let client = connect(fast(server.address()).password("x").database(2).client_name("old").unwrap()).await;
        assert_eq!(client.get::<String>("key").await.unwrap().unwrap(), "value");
        let transcript = server.transcript(0);
        assert_eq!(transcript[1], "AUTH x");
        assert!(transcript.contains(&"CLIENT SETNAME old".into()) && transcript.contains(&"SELECT 2".into()));
    }
}

// 7
#[tokio::test]
async fn a_failure_after_the_fall_back_is_reported() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp2().await?;
        conn.expect("AUTH").await?;
        conn.send(b"-ERR invalid password\r\n").await?;
        conn.silence().await
    })
    .await
    .unwrap();
    let error = refused(fast(server.address()).password("x")).await;
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_noproto().await?;
        conn.silence().await
    })
    .await
    .unwrap();
    let error = refused(fast(server.address()).protocol(Protocol::Resp3)).await;
    assert!(causes(&error).contains("NOPROTO"), "{}", causes(&error));
}

// 7
#[tokio::test]
async fn either_protocol_can_be_forced() {
    let server = Server::start().await.unwrap();
    for (protocol, map) in [(Protocol::Resp2, '*'), (Protocol::Resp3, '%'), (Protocol::Auto, '%')] {
        let client = connect(fast(server.address()).protocol(protocol)).await;
        client.hset("hash", [("field", "value")]).await.unwrap();
        let value: romaine::Value = client.issue(cmd("HGETALL").arg("hash")).await.unwrap();
        let is_map = matches!(value, romaine::Value::Map(_));
        assert_eq!(is_map, map == '%', "{protocol:?}: {value:?}");
        let typed: std::collections::HashMap<String, String> = client.hgetall("hash").await.unwrap();
        assert_eq!(typed["field"], "value");
        client.close().await;
    }
}

// 8
#[tokio::test]
async fn a_server_that_refuses_what_is_optional_is_connected_to() {
    // A real 7.0 knows no CLIENT SETINFO; a narrow user may not name itself.
    let server = Server::builder().acl("narrow on >x ~* -@all +get +ping +hello").start().await.unwrap();
    let client = connect(fast(server.address()).user("narrow", "x").client_name("me").unwrap()).await;
    assert_eq!(client.get::<String>("key").await.unwrap(), None);
    let scripted = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        conn.answer_introductions(false);
        loop {
            let command = conn.next_command().await?;
            let reply: &[u8] = if command[0] == "CLIENT" { b"-ERR unknown subcommand\r\n" } else { b"+PONG\r\n" };
            conn.send(reply).await?;
        }
    })
    .await
    .unwrap();
    let client = connect(fast(scripted.address())).await;
    client.ping().await.unwrap();
    assert!(scripted.transcript(0).iter().any(|line| line.starts_with("CLIENT SETINFO")));
}

/// What a provider does when it is asked.
enum Provider {
    AfterAWhile(AtomicUsize),
    Fails,
    Panics,
    Hangs,
}

impl CredentialsProvider for Provider {
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async move {
            match self {
                Self::AfterAWhile(asked) => {
                    asked.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Ok(Credentials::user("alice", "s3cret"))
                }
                // Any error of ours will do: the provider's own are its own.
                Self::Fails => Err(Config::from_url("nowhere").expect_err("no URL")),
                Self::Panics => panic!("the provider's bug"),
                Self::Hangs => std::future::pending().await,
            }
        })
    }
}

// 9
#[tokio::test]
async fn the_handshake_waits_for_a_slow_credentials_provider() {
    let server = Server::builder().acl("alice on >s3cret ~* +@all").start().await.unwrap();
    let config = fast(server.address()).credentials(Provider::AfterAWhile(AtomicUsize::new(0)));
    let client = connect(config).await;
    assert_eq!(client.acl_whoami().await.unwrap(), "alice");
    let mut events = client.events();
    kill_clients(&server).await;
    activated(&mut events).await;
    assert_eq!(client.acl_whoami().await.unwrap(), "alice");
}

// 9
#[tokio::test]
async fn a_credentials_provider_that_fails_panics_or_hangs_fails_the_attempt() {
    let server = Server::builder().password("s3cret").start().await.unwrap();
    for (provider, words) in
        [(Provider::Fails, "scheme"), (Provider::Panics, "panicked"), (Provider::Hangs, "did not answer in time")]
    {
        let config = fast(server.address()).handshake_timeout(Duration::from_millis(500));
        let error = refused(config.credentials(provider)).await;
        assert!(causes(&error).contains(words), "{error:?}");
    }
    no_clients(&server).await;
}

// P2: a name that cannot be resolved is tried again like everything else.
#[tokio::test]
async fn a_name_that_cannot_be_resolved_fails_each_attempt_and_is_resolved_again() {
    let config = Config::new("romaine-test.invalid", 6379)
        .resolve_timeout(Duration::from_millis(300))
        .backoff(romaine::Backoff::Constant { delay: Duration::from_millis(10) });
    let error = refused(config.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("resolve"), "{error}");
    let client = connect(config.lazy()).await;
    let mut events = client.events();
    for _ in 0..3 {
        let (cause, ..) = attempt_failed(&mut events).await;
        assert!(cause.to_string().contains("resolve"), "{cause}");
    }
    client.close().await;
}

// P2: the path heals between two attempts.
#[tokio::test]
async fn a_first_connection_that_is_refused_is_made_by_a_lazy_client_when_the_server_comes() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    for mode in [Accept::Refuse, Accept::CloseAtOnce, Accept::Reset, Accept::Silent] {
        proxy.accept(mode).await.unwrap();
        let config = fast(proxy.address()).handshake_timeout(Duration::from_millis(300)).lazy();
        let client = connect(config).await;
        let mut events = client.events();
        drop(attempt_failed(&mut events).await);
        let two = event(&mut events, "another attempt", |event| match event {
            Event::ConnectAttempt { attempt, .. } => Some(*attempt),
            _ => None,
        });
        assert!(two.await >= 2);
        proxy.heal().await.unwrap();
        up(&client).await;
        client.ping().await.unwrap();
        client.close().await;
    }
}
