//! A real server, disturbed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use romaine_faultlab::{Reply, Server, TlsFiles, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

async fn ping(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) -> String {
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut reply = [0; 7];
    timeout(SOON, stream.read_exact(&mut reply)).await.unwrap().unwrap();
    String::from_utf8(reply.to_vec()).unwrap()
}

#[tokio::test]
async fn a_started_server_answers_on_tcp_and_on_its_unix_socket() {
    let server = Server::start().await.unwrap();
    assert_eq!(ping(&mut TcpStream::connect(server.address()).await.unwrap()).await, "+PONG\r\n");
    assert_eq!(ping(&mut UnixStream::connect(server.unix_path()).await.unwrap()).await, "+PONG\r\n");
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(server.command(&["SET", "key", "value"]).await.unwrap(), Reply::Simple("OK".into()));
    assert_eq!(server.command(&["GET", "key"]).await.unwrap().text(), "value");
    assert!(server.command(&["GET", "nothing"]).await.unwrap().is_nil());
    assert_eq!(server.command(&["DEBUG", "SLEEP", "0"]).await.unwrap().text(), "OK");
    let error = format!("{:#}", server.command(&["INCR", "key"]).await.unwrap_err());
    assert!(error.contains("not an integer"), "{error}");
}

#[tokio::test]
async fn a_dropped_server_leaves_neither_a_process_nor_a_directory() {
    let server = Server::start().await.unwrap();
    let (pid, dir) = (server.pid().unwrap(), server.dir().to_owned());
    server.freeze().await.unwrap();
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_frozen_server_is_silent_until_it_is_thawed() {
    let server = Server::start().await.unwrap();
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    assert_eq!(ping(&mut client).await, "+PONG\r\n");
    server.freeze().await.unwrap();
    client.write_all(b"PING\r\n").await.unwrap();
    let mut reply = [0; 7];
    assert!(timeout(Duration::from_millis(200), client.read_exact(&mut reply)).await.is_err());
    server.thaw().unwrap();
    timeout(SOON, client.read_exact(&mut reply)).await.unwrap().unwrap();
    assert_eq!(&reply, b"+PONG\r\n");
}

#[tokio::test]
async fn a_killed_server_comes_back_on_the_same_port_with_a_new_process() {
    let server = Server::builder().persistent().start().await.unwrap();
    server.command(&["SET", "key", "kept"]).await.unwrap();
    let (port, pid) = (server.port(), server.pid().unwrap());
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    server.kill();
    assert_eq!(server.pid(), None);
    assert_eq!(timeout(SOON, client.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    assert!(TcpStream::connect(server.address()).await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid().unwrap(), pid);
    assert_eq!(server.command(&["GET", "key"]).await.unwrap().text(), "kept");
}

#[tokio::test]
async fn a_server_stops_in_an_orderly_way_and_starts_again() {
    let server = Server::start().await.unwrap();
    server.freeze().await.unwrap();
    server.stop().await.unwrap();
    assert!(server.log_tail().contains("ready to exit"), "{}", server.log_tail());
    server.restart().await.unwrap();
    server.wait_until_ready().await.unwrap();
}

#[tokio::test]
async fn a_password_and_users_apply_to_clients_but_not_to_the_lab() {
    let server = Server::builder().password("se\"cret").acl("alice on >wonder ~* +@all").start().await.unwrap();
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    client.write_all(b"PING\r\nAUTH alice wonder\r\nPING\r\n").await.unwrap();
    let mut replies = Vec::new();
    while !replies.ends_with(b"+PONG\r\n") {
        assert_ne!(timeout(SOON, client.read_buf(&mut replies)).await.unwrap().unwrap(), 0);
    }
    assert!(replies.starts_with(b"-NOAUTH"));
    server.command(&["CONFIG", "SET", "requirepass", "rotated"]).await.unwrap();
    assert_eq!(server.command(&["PING"]).await.unwrap().text(), "PONG");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let error = Server::builder().config_line("no-such-directive 1").start().await.unwrap_err();
    assert!(format!("{error:#}").contains("no-such-directive"), "{error:#}");
    let error = Server::builder().binary("/no/such/redis").start().await.unwrap_err();
    assert!(format!("{error:#}").contains("/no/such/redis"), "{error:#}");
}

#[tokio::test]
async fn a_taken_port_is_reported_when_it_was_asked_for() {
    let server = Server::start().await.unwrap();
    let error = Server::builder().port(server.port()).start().await.unwrap_err();
    assert!(format!("{error:#}").contains("Address already in use"), "{error:#}");
}

#[tokio::test]
async fn a_loading_server_is_seen_while_it_loads() {
    let server = Server::builder()
        .persistent()
        .config_line("key-load-delay 100")
        .config_line("aof-use-rdb-preamble no")
        .start()
        .await
        .unwrap();
    // While it reads its append-only file it looks at clients every 1,024 commands.
    let fill = "for i = 1, 4000 do redis.call('SET', i, string.rep('x', 100)) end";
    server.command(&["EVAL", fill, "0"]).await.unwrap();
    server.start_again().unwrap();
    eventually(SOON, "LOADING", async || {
        server.command(&["PING"]).await.is_err_and(|error| format!("{error:#}").contains("LOADING"))
    })
    .await
    .unwrap();
    server.wait_until_ready().await.unwrap();
    assert_eq!(server.command(&["DBSIZE"]).await.unwrap(), Reply::Int(4000));
}

#[tokio::test]
async fn a_server_with_tls_completes_a_verified_handshake() {
    let files = TlsFiles::generate().unwrap();
    let server = Server::builder().tls(&files).config_line("tls-auth-clients yes").start().await.unwrap();
    let config = client_config(&files);
    drop(files);
    server.restart().await.unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let tcp = TcpStream::connect(server.tls_address().unwrap()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
        let mut tls = timeout(SOON, connector.connect(name.try_into().unwrap(), tcp)).await.unwrap().unwrap();
        assert_eq!(ping(&mut tls).await, "+PONG\r\n");
    }
    let tcp = TcpStream::connect(server.tls_address().unwrap()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(config);
    assert!(connector.connect("other.example".try_into().unwrap(), tcp).await.is_err());
}

fn client_config(files: &TlsFiles) -> Arc<rustls::ClientConfig> {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files.ca_cert()).unwrap()).unwrap();
    let cert = CertificateDer::from_pem_file(files.client_cert()).unwrap();
    let key = PrivateKeyDer::from_pem_file(files.client_key()).unwrap();
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    Arc::new(builder.with_client_auth_cert(vec![cert], key).unwrap())
}
