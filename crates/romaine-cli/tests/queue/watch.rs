//! `romaine queue watch`, on a terminal and without one.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use romaine_queue::NewJob;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::support::{PATIENCE, Running, queue};

/// The program on a terminal of its own: the keyboard, and what is written to the screen.
fn on_a_terminal(url: &str, arguments: &[&str]) -> (Child, File, mpsc::Receiver<Vec<u8>>) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let inside = File::options().read(true).write(true).open(name).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_romaine"));
    command.arg("queue").args(arguments).env("REDIS_URL", url).env("TERM", "xterm").kill_on_drop(true);
    command.stdin(inside.try_clone().unwrap()).stdout(inside.try_clone().unwrap()).stderr(inside);
    let child = command.spawn().unwrap();
    let keyboard = File::from(terminal);
    let mut screen = keyboard.try_clone().unwrap();
    let (tell, shown) = mpsc::channel(1_000);
    std::thread::spawn(move || {
        let mut some = [0; 4_096];
        // Until the program has ended.
        while let Ok(size) = screen.read(&mut some) {
            if size == 0 || tell.blocking_send(some[..size].to_vec()).is_err() {
                return;
            }
        }
    });
    (child, keyboard, shown)
}

#[tokio::test]
async fn on_a_terminal_watch_ends_by_its_key_while_the_server_does_not_answer() {
    let (server, _queue) = queue("q").await;
    let url = format!("{}?timeout=60s", server.url());
    let (mut watch, mut keyboard, mut shown) = on_a_terminal(&url, &["watch", "q", "--every", "50ms"]);
    let mut next = async |limit: Duration| tokio::time::timeout(limit, shown.recv()).await;
    for _ in 0..5 {
        next(PATIENCE).await.unwrap().expect("it shows something");
    }
    server.freeze().await.unwrap();
    // When it draws no more, a look is under way.
    while next(Duration::from_millis(500)).await.is_ok() {}
    keyboard.write_all(b"q").unwrap();
    // Its connections have some time to close.
    let ended = tokio::time::timeout(Duration::from_secs(20), watch.wait()).await;
    server.thaw().unwrap();
    assert!(ended.expect("it ends").unwrap().success());
}

#[tokio::test]
async fn watch_goes_on_through_an_outage_and_says_that_it_is_not_up_to_date() {
    let (server, queue) = queue("q").await;
    queue.producer().enqueue(NewJob::new("k", "x")).await.unwrap();
    // A look ends soon.
    let url = format!("{}?timeout=500ms", server.url());
    let mut table = Running::start(&url, &["watch", "q", "--every", "50ms"]);
    let mut lines = Running::start(&url, &["watch", "q", "--every", "50ms", "--json"]);
    table.says("NOBODY WORKS").await;
    let seen: Value = serde_json::from_str(&lines.says("waiting").await).unwrap();
    assert_eq!(seen[0]["waiting"], 1);
    server.stop().await.unwrap();
    table.says("not up to date").await;
    let seen: Value = serde_json::from_str(&lines.says("error").await).unwrap();
    assert!(seen["error"].is_string(), "{seen}");
    server.restart().await.unwrap();
    table.says("workers").await;
    lines.says("waiting").await;
}
