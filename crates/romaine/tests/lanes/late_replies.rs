//! What a blocked connection is answered after it was given up, and whom its number belongs to. No real server can be
//! brought to answer at such moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use romaine::Event;
use romaine::commands::*;
use romaine_faultlab::{ScriptedServer, Server, eventually};
use tokio::sync::Notify;

use crate::support::{PATIENCE, ask, background, blocked, calls, connect, ended, fast, told, within};

const RUN_ID: &[u8] = b"$15\r\nrun_id:scripted\r\n";

fn is(command: &[Bytes], words: &[&str]) -> bool {
    command.len() >= words.len() && command.iter().zip(words).all(|(word, wanted)| word == wanted)
}

/// The first pop stays silent until the order to kill it has come, which is not answered.
async fn answers_only_whom_it_is_told_to_kill() -> ScriptedServer {
    let (ordered, was_blocked) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    ScriptedServer::start(move |mut conn| {
        let (ordered, was_blocked) = (ordered.clone(), was_blocked.clone());
        async move {
            conn.greet_resp3().await?;
            conn.answer_introductions(false);
            let mut kills = false;
            loop {
                let command = conn.next_command().await?;
                kills |= is(&command, &["CLIENT", "KILL"]);
                let reply: &[u8] = match &command[0][..] {
                    b"BRPOP" => {
                        if !was_blocked.swap(true, Ordering::Relaxed) {
                            ordered.notified().await;
                        }
                        b"*2\r\n$1\r\nq\r\n$3\r\njob\r\n"
                    }
                    b"EXEC" if kills => {
                        ordered.notify_one();
                        return conn.silence().await;
                    }
                    b"EXEC" => b"*2\r\n:0\r\n:0\r\n",
                    b"INFO" => RUN_ID,
                    b"EVAL" => b"+QUEUED\r\n",
                    b"CLIENT" if !is(&command, &["CLIENT", "SETINFO"]) => b"+QUEUED\r\n",
                    _ => b"+OK\r\n",
                };
                conn.send(reply).await?;
            }
        }
    })
    .await
    .unwrap()
}

// The next pop would be served on it, and its element lost with it, when the order is executed.
#[tokio::test]
async fn a_connection_that_answers_while_the_order_to_kill_it_is_on_its_way_is_not_used_again() {
    let server = answers_only_whom_it_is_told_to_kill().await;
    let client = connect(fast(server.address())).await;
    for _ in 0..2 {
        let popped = within(PATIENCE, "a pop", client.brpop::<String, String>("q", 0.0)).await.unwrap();
        assert_eq!(popped.unwrap().1, "job");
    }
    let transcripts = (0..server.connections()).map(|connection| server.transcript(connection));
    let pops: Vec<_> = transcripts.map(|lines| lines.iter().filter(|line| line.starts_with("BRPOP")).count()).collect();
    assert_eq!(pops.iter().filter(|pops| **pops == 1).count(), 2, "each on a connection of its own: {pops:?}");
}

/// A server that was started anew behind the blocked connection's back: its number is a stranger's. Which process it is,
/// users like ours may not know.
async fn knows_another_by_that_number() -> ScriptedServer {
    ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        conn.answer_introductions(false);
        let mut own = String::new();
        loop {
            let command = conn.next_command().await?;
            let own_id = (conn.index() + 1).to_string();
            if is(&command, &["CLIENT", "LIST", "ID"]) {
                // Of itself the asking connection is told the truth.
                let address = if command[3] == own_id { conn.peer()?.to_string() } else { "10.9.8.7:6".into() };
                let line = format!("id={} addr={address} flags=b\n", own_id);
                own = format!("${}\r\n{line}\r\n", line.len());
            }
            let reply: &[u8] = match &command[0][..] {
                b"BRPOP" => return conn.silence().await,
                b"EXEC" => b"*2\r\n:0\r\n:0\r\n",
                b"INFO" => b"-NOPERM this user has no permissions to run the 'info' command\r\n",
                b"EVAL" => b"+QUEUED\r\n",
                b"CLIENT" if is(&command, &["CLIENT", "LIST"]) => own.as_bytes(),
                b"CLIENT" if !is(&command, &["CLIENT", "SETINFO"]) => b"+QUEUED\r\n",
                _ => b"+OK\r\n",
            };
            conn.send(reply).await?;
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_stranger_that_has_the_number_is_not_unblocked() {
    let server = knows_another_by_that_number().await;
    let client = connect(fast(server.address())).await;
    let error = within(PATIENCE, "a verdict", client.brpop::<String, String>("q", 0.0)).await.unwrap_err();
    assert!(error.may_have_lost_element(), "{error}");
    let all = (0..server.connections()).flat_map(|connection| server.transcript(connection));
    let orders: Vec<_> =
        all.filter(|line| line.starts_with("CLIENT UNBLOCK") || line.starts_with("CLIENT KILL")).collect();
    assert_eq!(orders, ["CLIENT UNBLOCK 0 ERROR"], "the question whether it is permitted");
}

// Without +info a connection is known by its address.
#[tokio::test]
async fn who_may_not_ask_which_process_it_is_has_its_connections_probed_all_the_same() {
    let server = Server::builder().acl("app on >pw ~* &* +@all -info").start().await.unwrap();
    let client = connect(fast(server.address()).user("app", "pw")).await;
    let call = background({
        let client = client.clone();
        async move { client.brpop::<String, String>("q", 0.0).await }
    });
    eventually(PATIENCE, "four probes", async || calls(&server, "client|unblock").await >= 5).await.unwrap();
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(call).await.unwrap().unwrap().1, "job");
}

// It cannot be cancelled, only closed; what arrives at that very moment may be nothing.
#[tokio::test]
async fn a_dropped_pop_that_is_answered_with_nothing_has_lost_nothing() {
    let (is_over, was_left) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notices = (is_over.clone(), was_left.clone());
    let server = ScriptedServer::start(move |mut conn| {
        let (is_over, was_left) = notices.clone();
        async move {
            conn.greet_resp3().await?;
            conn.answer_introductions(false);
            loop {
                let command = conn.next_command().await?;
                let reply: &[u8] = match &command[0][..] {
                    b"BRPOP" => {
                        is_over.notified().await;
                        conn.send(b"_\r\n").await?;
                        let ended = conn.silence().await;
                        was_left.notify_one();
                        return ended;
                    }
                    b"EXEC" => b"-EXECABORT Transaction discarded because of previous errors.\r\n",
                    _ => b"+OK\r\n",
                };
                conn.send(reply).await?;
            }
        }
    })
    .await
    .unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    let call = background({
        let client = client.clone();
        async move { client.brpop::<String, String>("q", 0.0).await }
    });
    server.wait_for_command("BRPOP").await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    is_over.notify_one();
    within(PATIENCE, "the end of its connection", was_left.notified()).await;
    let losses: Vec<_> =
        told(&mut events).into_iter().filter(|event| matches!(event, Event::ElementMayBeLost { .. })).collect();
    assert!(losses.is_empty(), "{losses:?}");
}
