//! Nothing is left behind, even by a test process that was killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use romaine_faultlab::{FaultProxy, Namespace, Server, eventually};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(10);
const VICTIM: &str = "FAULTLAB_VICTIM";

#[tokio::test]
async fn a_killed_test_process_leaves_no_server_directory_or_namespace() {
    if std::env::var_os(VICTIM).is_some() {
        return be_the_victim().await;
    }
    // This very test, in a process of its own.
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "a_killed_test_process_leaves_no_server_directory_or_namespace"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let found = eventually(SOON, "the victim's server", async || {
        let line = lines.next_line().await.unwrap().unwrap();
        line.split_once("VICTIM ").map(|(_, found)| found.to_owned())
    });
    let found = found.await.unwrap();
    let [pid, dir, namespace] = found.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let process = format!("/proc/{pid}");
    assert!(Path::new(&process).exists() && Path::new(dir).exists());
    victim.kill().await.unwrap();
    eventually(SOON, "the end of what the victim had", async || {
        // A killed orphan may stay as a zombie where nobody waits for it, without a command line.
        let is_running = std::fs::read(format!("{process}/cmdline")).is_ok_and(|line| !line.is_empty());
        !is_running && !Path::new(dir).exists() && !Path::new("/run/netns").join(namespace).exists()
    })
    .await
    .unwrap();
}

async fn be_the_victim() {
    let namespace = match Namespace::available().await {
        Ok(()) => Some(Namespace::create().await.unwrap()),
        Err(_) => None,
    };
    let mut builder = Server::builder();
    if let Some(namespace) = &namespace {
        builder = builder.in_namespace(namespace);
    }
    let server = builder.start().await.unwrap();
    let name = namespace.as_ref().map_or("none".to_owned(), Namespace::name);
    println!("VICTIM {} {} {name}", server.pid().unwrap(), server.dir().display());
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_and_a_proxy_can_be_disturbed_from_other_tasks() {
    let server = std::sync::Arc::new(Server::start().await.unwrap());
    let proxy = std::sync::Arc::new(FaultProxy::start(server.address()).await.unwrap());
    let mut tasks = JoinSet::new();
    let theirs = std::sync::Arc::clone(&server);
    tasks.spawn(async move {
        theirs.freeze().await?;
        theirs.restart().await?;
        theirs.stop().await
    });
    tasks.spawn(async move {
        proxy.keep_acknowledging_with_dead_upstream().await?;
        proxy.cut_all().await?;
        proxy.heal().await
    });
    for outcome in tasks.join_all().await {
        outcome.unwrap();
    }
    server.restart().await.unwrap();
}
