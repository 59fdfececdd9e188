//! TCP, TLS and Unix sockets, each with and without authentication: connecting, and connecting again.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Config, Error, ErrorKind, Protocol, Tls};
use romaine_faultlab::{Accept, FaultProxy, Server, ServerBuilder, TlsFiles};

use crate::support::{PATIENCE, activated, clients, connect, fast, kill_clients, no_clients, now, within};

fn with_users(builder: ServerBuilder) -> ServerBuilder {
    builder.password("s3cret").acl("alice on >wonder/land@:% ~* +@all")
}

/// Connects, is cut off, connects again, and is the same user each time.
async fn connects_twice(server: &Server, config: Config, user: &str) {
    let client = connect(config).await;
    for _ in 0..2 {
        assert_eq!(client.acl_whoami().await.unwrap(), user);
        let mut events = client.events();
        kill_clients(server).await;
        activated(&mut events).await;
    }
    assert_eq!(client.acl_whoami().await.unwrap(), user);
    client.close().await;
    no_clients(server).await;
}

fn quick(config: Config) -> Config {
    config.backoff(romaine::Backoff::Constant { delay: Duration::from_millis(20) })
}

async fn refused(config: Config) -> Error {
    match within(PATIENCE, "connect to end", Client::connect(config)).await {
        Ok(_client) => panic!("connected"),
        Err(error) => error,
    }
}

// 10
#[tokio::test]
async fn tcp_connects_and_reconnects_with_a_password_and_with_a_user_in_both_protocols() {
    let server = with_users(Server::builder()).start().await.unwrap();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let config = || fast(server.address()).protocol(protocol);
        connects_twice(&server, config().password("s3cret"), "default").await;
        connects_twice(&server, config().user("alice", "wonder/land@:%"), "alice").await;
    }
    let url = format!("redis://alice:wonder%2Fland%40%3A%25@{}/3?client_name=by-url", server.address());
    connects_twice(&server, quick(Config::from_url(&url).unwrap()), "alice").await;
}

// 10
#[tokio::test]
async fn a_unix_socket_connects_and_reconnects_with_a_password_and_with_a_user() {
    let server = with_users(Server::builder()).start().await.unwrap();
    let path = server.unix_path();
    connects_twice(&server, quick(Config::unix(&path).password("s3cret")), "default").await;
    let url = format!("redis+unix://alice:wonder%2Fland%40%3A%25@{}?db=4", path.display());
    connects_twice(&server, quick(Config::from_url(&url).unwrap()), "alice").await;
}

// 10
#[tokio::test]
async fn a_unix_socket_whose_server_restarts_is_connected_again() {
    let server = Server::start().await.unwrap();
    let client = connect(quick(Config::unix(server.unix_path()))).await;
    let mut events = client.events();
    server.restart().await.unwrap();
    activated(&mut events).await;
    client.ping().await.unwrap();
    let missing = refused(Config::unix("/nonexistent/redis.sock")).await;
    assert_eq!((missing.kind(), missing.node()), (ErrorKind::Connect, Some("/nonexistent/redis.sock")));
}

/// A server with TLS, and a client's settings that trust it.
async fn secured(files: &TlsFiles, builder: ServerBuilder) -> (Server, Config) {
    let server = builder.tls(files).start().await.unwrap();
    let config = fast(server.tls_address().unwrap()).tls(Tls::default().ca_file(files.ca_cert()));
    (server, config)
}

// 10, 11
#[tokio::test]
async fn tls_connects_and_reconnects_with_a_password_and_with_a_user() {
    let files = TlsFiles::generate().unwrap();
    let (server, config) = secured(&files, with_users(Server::builder())).await;
    connects_twice(&server, config.clone().password("s3cret"), "default").await;
    connects_twice(&server, config.user("alice", "wonder/land@:%"), "alice").await;
    let url = format!("{}?ca={}&db=2", server.tls_url().unwrap(), files.ca_cert().display());
    connects_twice(&server, quick(Config::from_url(&url).unwrap()), "default").await;
}

// 11
#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_and_no_command_leaves() {
    let files = TlsFiles::generate().unwrap();
    let others = TlsFiles::generate().unwrap();
    let (server, config) = secured(&files, Server::builder()).await;
    for config in [config.clone().tls(Tls::default().ca_file(others.ca_cert())), config.tls(Tls::default())] {
        let error = refused(config).await;
        assert_eq!(error.kind(), ErrorKind::Tls);
        assert!(format!("{error:?}").contains("InvalidCertificate"), "{error:?}");
    }
    no_clients(&server).await;
}

// 11
#[tokio::test]
async fn a_certificate_for_another_name_is_refused_unless_that_name_is_asked_for() {
    let files = TlsFiles::generate_for(&["redis.example"]).unwrap();
    let (_server, config) = secured(&files, Server::builder()).await;
    let error = refused(config.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(format!("{error:?}").contains("NotValidForName"), "{error:?}");
    let tls = Tls::default().ca_file(files.ca_cert()).server_name("redis.example");
    connect(config.tls(tls)).await.ping().await.unwrap();
}

// 11
#[tokio::test]
async fn a_tls_handshake_that_does_not_end_is_given_up_in_time() {
    let files = TlsFiles::generate().unwrap();
    let (server, _config) = secured(&files, Server::builder()).await;
    let proxy = FaultProxy::start(server.tls_address().unwrap()).await.unwrap();
    proxy.accept(Accept::Silent).await.unwrap();
    let limit = Duration::from_millis(300);
    let tls = Tls::default().ca_file(files.ca_cert());
    let before = now();
    let error = refused(fast(proxy.address()).tls(tls).tls_timeout(limit)).await;
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.to_string().contains("tls_timeout"), "{error}");
    let took = now() - before;
    assert!(took >= limit && took < limit * 4, "{took:?}");
}

// 11
#[tokio::test]
async fn a_server_that_speaks_no_tls_is_refused() {
    let files = TlsFiles::generate().unwrap();
    let (server, _config) = secured(&files, Server::builder()).await;
    let tls = Tls::default().ca_file(files.ca_cert());
    let error = refused(fast(server.address()).tls(tls).tls_timeout(Duration::from_millis(500))).await;
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    // And the other way round: plain text to a TLS port.
    let error = refused(fast(server.tls_address().unwrap())).await;
    assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Protocol | ErrorKind::Connect), "{error:?}");
}

// 11
#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_one_on_every_connection() {
    let files = TlsFiles::generate().unwrap();
    let builder = Server::builder().config_line("tls-auth-clients yes");
    let (server, config) = secured(&files, builder).await;
    let tls = Tls::default()
        .ca_file(files.ca_cert())
        .client_certificate_file(files.client_cert())
        .client_key_file(files.client_key());
    connects_twice(&server, config.clone().tls(tls), "default").await;
    let error = refused(config).await;
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
}

// 11
#[tokio::test]
async fn a_large_value_goes_both_ways_over_tls_while_others_use_the_connection() {
    let files = TlsFiles::generate().unwrap();
    let (server, config) = secured(&files, Server::builder()).await;
    let client = connect(config).await;
    let value = vec![b'x'; 8 << 20];
    let (set, echo, get, last) = tokio::join!(
        client.set("large", &value),
        client.echo::<String>("among"),
        client.get::<bytes::Bytes>("large"),
        client.echo::<String>("behind"),
    );
    set.unwrap();
    assert_eq!(echo.unwrap(), "among");
    assert_eq!(get.unwrap().unwrap(), value);
    assert_eq!(last.unwrap(), "behind");
    assert_eq!(clients(&server).await.len(), 1);
}
