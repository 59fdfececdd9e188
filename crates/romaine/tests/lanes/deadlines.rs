//! Blocking calls whose time passes before they are blocked.

use std::fmt::Debug;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Config, Credentials, CredentialsFuture, CredentialsProvider, Delivery, ErrorKind, command};
use romaine_faultlab::{Accept, FaultProxy, Server};

use crate::support::{PATIENCE, Stopwatch, ask, background, connect, ended, now, plain, within};

const SHORT: Duration = Duration::from_millis(200);

/// Less than any step of connecting may take.
const SOON: Duration = Duration::from_millis(700);

/// Two pops, one by its own time-out and one by its caller's: both end when they are to.
async fn end_in_time(client: &Client) {
    let (own, callers) = tokio::join!(
        ends_after(Duration::from_millis(1_100), client.brpop::<String, String>("q", 1.1)),
        ends_after(SHORT, client.brpop::<String, String>("q", 0.0).timeout(SHORT)),
    );
    for error in [own, callers] {
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent), "{error}");
        assert!(!error.may_have_lost_element());
    }
}

/// Not before, and soon.
async fn ends_after<T: Debug>(limit: Duration, call: impl IntoFuture<Output = romaine::Result<T>>) -> romaine::Error {
    let (start, watch) = (now(), Stopwatch::start());
    let error = within(PATIENCE, "the end of its time", call.into_future()).await.unwrap_err();
    assert!(start.elapsed() + Duration::from_millis(2) >= limit, "{:?}", start.elapsed());
    watch.within(limit + SOON, "it took");
    error
}

/// Knows the password for the first connection only.
struct Forgetful(AtomicUsize);

impl CredentialsProvider for Forgetful {
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async move {
            if self.0.fetch_add(1, Ordering::SeqCst) > 0 {
                std::future::pending::<()>().await;
            }
            Ok(Credentials::password("pw"))
        })
    }
}

#[tokio::test]
async fn a_pop_keeps_its_time_out_while_its_connection_is_made() {
    let server = Server::builder().password("pw").start().await.unwrap();
    let client = connect(plain(server.address()).credentials(Forgetful(AtomicUsize::new(0)))).await;
    end_in_time(&client).await;
}

#[tokio::test]
async fn a_pop_keeps_its_time_out_while_its_connection_is_greeted() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(plain(proxy.address())).await;
    proxy.accept(Accept::Silent).await.unwrap();
    end_in_time(&client).await;
}

fn without_hurry(server: &FaultProxy) -> Config {
    plain(server.address()).timeout(Duration::from_millis(100))
}

// The newest entry is asked for first.
#[tokio::test]
async fn reading_a_stream_from_its_end_is_as_patient_in_an_outage_as_it_is_told_to_be() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(without_hurry(&proxy)).await;
    let impatient = connect(plain(proxy.address())).await;
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.cut_all().await.unwrap();
    let read = || command::xread::<String>([("s", "$")]);
    let errors = [
        ends_after(SHORT, impatient.issue(read().block(0)).timeout(SHORT)).await,
        ends_after(Duration::from_millis(1_100), impatient.issue(read().block(1_100)).no_timeout()).await,
    ];
    for error in errors {
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent), "{error}");
    }
    let waiting = background({
        let client = client.clone();
        async move { client.issue(command::xread::<String>([("s", "$")]).block(0)).await }
    });
    for _ in 0..5 {
        let error = client.get::<String>("key").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    assert!(!waiting.is_finished(), "however long the outage is");
    proxy.heal().await.unwrap();
    let writer = background(async move {
        loop {
            ask(&server, &["XADD", "s", "*", "k", "v"]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(!ended(waiting).await.unwrap().is_empty());
    writer.abort();
}
