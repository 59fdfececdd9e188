//! What a blocked connection is answered after it was given up. No real server can be brought to answer at such moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use romaine::commands::*;
use romaine_faultlab::ScriptedServer;
use tokio::sync::Notify;

use crate::support::{PATIENCE, connect, fast, within};

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
