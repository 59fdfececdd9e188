//! "Bad input": of the user before any connection, of the peer at any time; and secrets in neither.

use std::io;
use std::sync::{Arc, Mutex};

use romaine::commands::*;
use romaine::{Client, Config, ConnectionLimits, Credentials, Delivery, ErrorKind, Limits, Tls, cmd};
use romaine_faultlab::{ScriptedServer, Server};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{PATIENCE, attempt_failed, connect, connections, disconnected, fast, issued, up, within};

#[test]
fn a_wrong_url_is_refused_with_the_part_at_fault_and_the_form_expected() {
    for (url, parts) in [
        ("localhost:6379", &["scheme", "redis://"][..]),
        ("", &["scheme", "redis://"]),
        ("http://localhost", &["scheme", "\"http\"", "redis://"]),
        ("redis://", &["host", "redis://"]),
        ("redis://:pw@", &["host", "redis://"]),
        ("redis://host:port", &["port", "1 to 65535", "percent-encoded"]),
        ("redis://host:0", &["port", "1 to 65535"]),
        ("redis://host:65536", &["port", "1 to 65535"]),
        ("redis://::1", &["IPv6", "[::1]"]),
        ("redis://[::1", &["bracket", "[::1]:6379"]),
        ("redis://a:1,b:2", &["several hosts", "redis-cluster://", "redis-sentinel://", "role=discover"]),
        ("redis-sentinel://a:1,b", &["which primary", "/mymaster"]),
        ("redis-cluster://a:1/3", &["database 0"]),
        ("redis-cluster://a,,b", &["no host"]),
        ("redis://a?sentinel_password=s3cret", &["redis-sentinel://"]),
        ("redis-sentinel://a/m?sentinel_user=u", &["sentinel_password"]),
        ("redis-cluster://a?read_from=moon", &["read_from=moon", "replica-preferred"]),
        ("redis://host/zero", &["database", "number"]),
        ("redis://u:s3cret?more@host", &["port", "percent-encoded"]),
        ("redis://u:12?s3cret@host", &["parameter", "percent-encoded"]),
        ("redis://u:12?s3cret", &["parameter", "percent-encoded"]),
        ("redis://u:12/s3cret?x@host", &["database", "percent-encoded"]),
        ("redis://host/-1", &["database", "number"]),
        ("redis://host?db=x", &["db", "number"]),
        ("redis://s3cret@host", &["user without a password", ":password@"]),
        ("redis://u:%ff@host", &["password", "UTF-8"]),
        ("redis://host?timeout=3", &["timeout=3", "500ms"]),
        ("redis://host?timeout=0s", &["timeout=0s", "500ms"]),
        ("redis://host?connect_timeout=soon", &["connect_timeout=soon", "500ms"]),
        ("redis://host?protocol=4", &["protocol=4", "2, 3 or auto"]),
        ("redis://host?liveness=slow", &["liveness=slow", "default, fast, frugal or off"]),
        ("redis://host?offline=maybe", &["offline=maybe", "wait or fail"]),
        ("redis://host?lazy=perhaps", &["lazy=perhaps", "true or false"]),
        ("redis://host?client_name=two%20words", &["client_name", "without spaces"]),
        ("redis://host?tiemout=3s", &["\"tiemout\"", "unknown", "timeout"]),
        ("redis://host?ca=/tmp/ca.pem", &["ca", "rediss://"]),
        ("rediss://host?ca=/nonexistent/ca.pem", &["/nonexistent/ca.pem"]),
        ("rediss://host?cert=/tmp/cert.pem", &["cert", "key"]),
        ("redis+unix://relative/path", &["absolute", "redis+unix:///"]),
    ] {
        let error = Config::from_url(url).expect_err(url);
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Config, Delivery::NotSent), "{url}");
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{url}: {text:?} does not say {part:?}");
        }
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn every_form_of_url_is_understood() {
    for (url, address) in [
        ("redis://localhost", "localhost:6379"),
        ("REDIS://localhost:", "localhost:6379"),
        ("redis://localhost:7000/", "localhost:7000"),
        ("redis://[::1]:7000/5", "[::1]:7000"),
        ("redis://:p%40ss@10.0.0.1/5?protocol=3&liveness=fast&lazy&offline=fail", "10.0.0.1:6379"),
        ("rediss://user:p:a:ss@redis.example?timeout=500ms&connect_timeout=1m&sni=other", "redis.example:6379"),
        ("redis+unix:///run/redis%20one.sock?db=3", "/run/redis one.sock"),
        ("unix://user:pw@/run/redis.sock", "/run/redis.sock"),
    ] {
        let config = Config::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(config.address().to_string(), address);
        assert!(!format!("{config:?}").contains("p:a:ss"));
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_before_any_connection() {
    let server = ScriptedServer::start(|mut conn| async move { conn.silence().await }).await.unwrap();
    let config = || fast(server.address());
    let limits = ConnectionLimits::default();
    let wrong = [
        (config().limits(ConnectionLimits { queued_requests_max: 0, ..limits }), "queued_requests_max"),
        (config().limits(ConnectionLimits { in_flight_max: 0, ..limits }), "in_flight_max"),
        (config().subscription_backlog(0, romaine::Overflow::Close), "subscription_backlog"),
        (config().handshake_timeout(std::time::Duration::ZERO), "handshake_timeout"),
        (config().tls(Tls::default().client_key_file("/tmp/key.pem")), "certificate"),
        (config().tls(Tls::default().server_name("not a name")), "not a name"),
        (Config::unix("/tmp/redis.sock").tls(Tls::default()), "TLS"),
    ];
    for (config, part) in wrong {
        let error = Client::connect(config.lazy()).await.expect_err(part);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(config().client_name("two words").is_err() && config().client_name("").is_err());
    assert_eq!(server.connections(), 0);
}

/// Sends `bytes` in place of the reply to the first of three commands.
async fn everything_in_flight_is_unknown(bytes: &'static [u8], cause: &str, limits: Limits) {
    let server = ScriptedServer::start(move |mut conn| async move {
        conn.greet_resp3().await?;
        if conn.index() > 0 {
            return conn.answer_all(b"+PONG\r\n").await;
        }
        for _ in 0..3 {
            conn.expect("INCR").await?;
        }
        conn.send(bytes).await?;
        conn.silence().await
    })
    .await
    .unwrap();
    let limits = ConnectionLimits { reply: limits, ..ConnectionLimits::default() };
    let client = connect(fast(server.address()).library_info(false).limits(limits)).await;
    let mut events = client.events();
    let calls = (0..3).map(|_| client.incr("counter"));
    let outcomes = within(PATIENCE, "the verdicts", futures_util::future::join_all(calls)).await;
    for outcome in outcomes {
        let error = outcome.expect_err(cause);
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown), "{error:?}");
    }
    let told = disconnected(&mut events).await;
    assert_eq!(told.kind(), ErrorKind::Protocol, "{told:?}");
    assert!(format!("{told:?}").contains(cause), "{cause}: {told:?}");
    up(&client).await;
    client.ping().await.unwrap();
    assert_eq!(connections(&client), 2);
}

#[tokio::test]
async fn bytes_that_are_not_resp_end_everything_in_flight_as_unknown() {
    for garbage in [&b"garbage\r\n"[..], b"$-7\r\n", b":12a\r\n", b"$3\r\nabcde\r\n", b"\0", b"*9999999999999\r\n"] {
        everything_in_flight_is_unknown(garbage, "not RESP", Limits::default()).await;
    }
}

#[tokio::test]
async fn a_reply_that_is_nested_too_deep_ends_everything_in_flight_as_unknown() {
    let limits = Limits { depth_max: 4, ..Limits::default() };
    everything_in_flight_is_unknown(b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "past a limit", limits).await;
    // As deep as the stack would be.
    let deep: &'static [u8] = b"*1\r\n".repeat(100_000).leak();
    everything_in_flight_is_unknown(deep, "past a limit", Limits::default()).await;
}

#[tokio::test]
async fn a_reply_longer_than_the_limit_ends_everything_in_flight_as_unknown() {
    let limits = Limits { reply_bytes_max: 1_000, ..Limits::default() };
    everything_in_flight_is_unknown(b"$1001\r\n", "past a limit", limits).await;
    let long: &'static [u8] = [b"*100\r\n".to_vec(), b"$50\r\n".to_vec(), vec![b'x'; 2_000]].concat().leak();
    everything_in_flight_is_unknown(long, "past a limit", limits).await;
}

#[tokio::test]
async fn a_reply_that_nobody_asked_for_closes_the_connection_and_is_given_to_nobody() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        conn.expect("INCR").await?;
        if conn.index() == 0 {
            // The second is for nobody; the next caller must not get it.
            conn.send(b":1\r\n:2\r\n").await?;
            return conn.silence().await;
        }
        conn.send(b":3\r\n").await?;
        conn.silence().await
    })
    .await
    .unwrap();
    let client = connect(fast(server.address()).library_info(false)).await;
    let mut events = client.events();
    assert_eq!(client.incr("counter").await.unwrap(), 1);
    let cause = disconnected(&mut events).await;
    assert_eq!(cause.kind(), ErrorKind::Protocol);
    assert!(cause.to_string().contains("nobody asked for"), "{cause}");
    assert_eq!(client.incr("counter").await.unwrap(), 3);
}

// The replies before the garbage are good.
#[tokio::test]
async fn replies_before_the_garbage_reach_their_callers() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        conn.expect("INCR").await?;
        conn.expect("INCR").await?;
        conn.send(b":1\r\n?what\r\n").await?;
        conn.silence().await
    })
    .await
    .unwrap();
    let client = connect(fast(server.address()).library_info(false)).await;
    let (first, second) = tokio::join!(client.incr("counter"), client.incr("counter"));
    assert_eq!(first.unwrap(), 1);
    assert_eq!(second.unwrap_err().delivery(), Delivery::Unknown);
}

// A push that nobody wants is no reply.
#[tokio::test]
async fn a_push_on_the_connection_for_commands_shifts_no_reply() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        conn.expect("INCR").await?;
        conn.send(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n:1\r\n>1\r\n+x\r\n").await?;
        conn.expect("INCR").await?;
        conn.send(b":2\r\n").await?;
        conn.silence().await
    })
    .await
    .unwrap();
    let client = connect(fast(server.address()).library_info(false)).await;
    assert_eq!(client.incr("counter").await.unwrap(), 1);
    assert_eq!(client.incr("counter").await.unwrap(), 2);
}

#[tokio::test]
async fn commands_that_would_change_a_shared_connection_are_refused_with_what_to_do_instead() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    for (command, instead) in [
        ("SELECT", "URL"),
        ("AUTH", "credentials"),
        ("HELLO", "credentials"),
        ("MULTI", "transaction()"),
        ("EXEC", "transaction()"),
        ("WATCH", "watch()"),
        ("SUBSCRIBE", "subscribe()"),
        ("PSUBSCRIBE", "psubscribe()"),
        ("SSUBSCRIBE", "ssubscribe()"),
        ("MONITOR", "monitor()"),
        ("RESET", "exclusive()"),
    ] {
        let error = client.issue(cmd::<()>(command).arg("x")).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Usage, Delivery::NotSent), "{command}");
        assert!(error.to_string().contains(instead), "{error}");
        let lower = client.issue(cmd::<()>(&command.to_lowercase()).arg("x")).await.unwrap_err();
        assert_eq!(lower.kind(), ErrorKind::Usage, "{command}, in small letters");
    }
    for (command, sub) in [("CLIENT", "SETNAME"), ("CLIENT", "REPLY"), ("CLIENT", "TRACKING")] {
        let error = client.issue(cmd::<()>(command).arg(sub).arg("OFF")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{command} {sub}");
    }
    assert_eq!(client.echo::<String>("still mine").await.unwrap(), "still mine");
    assert_eq!(connections(&client), 1);
}

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn secrets_and_values_are_in_no_debug_error_event_or_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_max_level(tracing::Level::TRACE);
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    // With only one, what another test's thread says first is taken for uninteresting everywhere.
    let _another = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish());
    let server = Server::builder().acl("alice on >s3cret ~* +@all").start().await.unwrap();
    let mut said = Vec::new();
    let url = format!("redis://alice:s3cret@{}?liveness=fast", server.address());
    said.push(format!("{:?} {:?}", Config::from_url(&url).unwrap(), Credentials::user("alice", "s3cret")));
    let config = fast(server.address()).user("alice", "s3cret");
    let client = connect(config).await;
    let mut events = client.events();
    let value = "v4lue";
    let set = issued(client.set("key", value)).await;
    said.push(format!("{set:?}"));
    set.await.unwrap();
    said.push(format!("{:?}", client.get::<i64>("key").await.unwrap_err()));
    said.push(format!("{:?}", client.lpush("key", [value]).await.unwrap_err()));
    said.push(format!("{:?}", client.issue(cmd::<()>("AUTH").arg(value)).await.unwrap_err()));
    server.command(&["ACL", "SETUSER", "alice", "resetpass", ">other"]).await.unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    let (cause, ..) = attempt_failed(&mut events).await;
    said.push(format!("{cause:?}"));
    // While it waits in the queue, and while the next handshake is under way.
    let queued = issued(client.set("key", value)).await;
    let mut pipeline = client.pipeline();
    let _ticket = pipeline.set("key", value);
    let mut transaction = client.transaction();
    let _ticket = transaction.set("key", value);
    for _ in 0..200 {
        said.push(format!("{client:?} {queued:?} {pipeline:?} {transaction:?}"));
        tokio::task::yield_now().await;
    }
    said.push(format!("{:?}", client.incr("key").timeout(std::time::Duration::from_millis(300)).await.unwrap_err()));
    said.push(format!("{:?} {:?}", client.health().borrow().clone(), client.metrics()));
    while let Some(event) = events.try_next() {
        said.push(format!("{event:?}"));
    }
    said.push(String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned());
    let said = said.join("\n");
    assert!(said.contains("WRONGPASS") && said.contains("WRONGTYPE"), "the test saw nothing");
    assert!(log.0.lock().unwrap().len() > 100, "the log is empty");
    for secret in ["s3cret", value] {
        let at = said.find(secret).map(|at| &said[at.saturating_sub(100)..at]);
        assert_eq!(at, None, "{secret} was said");
    }
}
