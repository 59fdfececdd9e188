//! P3: every accepted command ends, honestly.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, ConnectionLimits, Delivery, ErrorKind, RetryPolicy, cmd};
use romaine_faultlab::{Accept, Direction, Fault, FaultProxy, ScriptedServer, Server, eventually};
use tokio::task::JoinSet;

use crate::support::{
    PATIENCE, activated, attempt_failed, clients, connect, connections, down, executions, fast, issued, stored, up,
    wait_stored, within,
};

/// A server behind a proxy, and a client of it.
async fn behind_proxy() -> (Server, FaultProxy, Client) {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    (server, proxy, client)
}

/// Ends the client's connection and lets it find no other.
async fn outage(proxy: &FaultProxy, client: &Client) {
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.cut_all().await.unwrap();
    down(client).await;
}

// 13
#[tokio::test]
async fn a_command_issued_once_is_executed_once() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    assert_eq!(client.incr("counter").await.unwrap(), 1);
    assert_eq!(stored(&server, "counter").await, "1");
    assert_eq!(executions(&server, "incr").await, 1);
}

// 14: romaine's encoding cannot fail; what can is a command that does not belong on a shared connection.
#[tokio::test]
async fn a_command_that_cannot_be_issued_fails_alone_and_shifts_no_reply() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let before = client.echo::<String>("before");
    let wrong = cmd::<()>("SELECT").arg(3);
    let after = client.echo::<String>("after");
    let (before, wrong, after) = tokio::join!(before, client.issue(wrong), after);
    assert_eq!(before.unwrap(), "before");
    let wrong = wrong.unwrap_err();
    assert_eq!((wrong.kind(), wrong.delivery()), (ErrorKind::Usage, Delivery::NotSent));
    assert_eq!(wrong.command(), Some("SELECT"));
    assert_eq!(after.unwrap(), "after");
    assert_eq!(executions(&server, "select").await, 0);
}

// 15
#[tokio::test]
async fn a_reply_of_another_type_fails_its_call_as_executed_and_leaves_the_connection_usable() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    server.command(&["SET", "text", "seven"]).await.unwrap();
    let error = client.get::<i64>("text").await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Conversion, Delivery::Executed));
    assert_eq!(error.command(), Some("GET"));
    assert!(!format!("{error}{error:?}").contains("seven"), "values do not belong in errors: {error:?}");
    assert_eq!(client.get::<String>("text").await.unwrap().unwrap(), "seven");
    assert_eq!(connections(&client), 1);
}

// 16
#[tokio::test]
async fn a_command_that_was_not_sent_when_its_connection_ended_runs_on_the_next_one() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    // One in flight: the second command stays in the queue.
    let limits = ConnectionLimits { in_flight_max: 1, ..ConnectionLimits::default() };
    let client = connect(fast(proxy.address()).limits(limits)).await;
    proxy.set(Direction::ToClient, Fault::Stall);
    let first = issued(client.incr("sent")).await;
    let second = issued(client.incr("unsent")).await;
    wait_stored(&server, "sent", "1").await;
    proxy.cut_all().await.unwrap();
    proxy.heal().await.unwrap();
    let first = first.await.unwrap_err();
    assert_eq!((first.kind(), first.delivery()), (ErrorKind::Closed, Delivery::Unknown));
    assert_eq!(second.await.unwrap(), 1);
    assert_eq!(stored(&server, "unsent").await, "1");
}

// 17
#[tokio::test]
async fn a_write_whose_reply_was_lost_is_unknown_and_not_executed_twice() {
    let (server, proxy, client) = behind_proxy().await;
    proxy.set(Direction::ToClient, Fault::Stall);
    let call = issued(client.incr("counter")).await;
    wait_stored(&server, "counter", "1").await;
    proxy.cut_all().await.unwrap();
    proxy.heal().await.unwrap();
    let error = within(PATIENCE, "the verdict", call).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown));
    assert!(error.to_string().contains("it may have been executed"), "{error}");
    assert!(std::error::Error::source(&error).is_some(), "why the connection ended: {error:?}");
    up(&client).await;
    assert_eq!(client.incr("counter").await.unwrap(), 2);
}

// 17
#[tokio::test]
async fn a_read_whose_reply_was_lost_is_asked_again_and_so_is_a_write_that_the_caller_vouches_for() {
    let (server, proxy, client) = behind_proxy().await;
    server.command(&["SET", "key", "value"]).await.unwrap();
    proxy.set(Direction::ToClient, Fault::Stall);
    let read = issued(client.get::<String>("key")).await;
    let set = issued(client.set("plain", "1")).await;
    let vouched = issued(client.incr("counter").retry(RetryPolicy::Idempotent)).await;
    wait_stored(&server, "counter", "1").await;
    proxy.cut_all().await.unwrap();
    proxy.heal().await.unwrap();
    assert_eq!(read.await.unwrap().unwrap(), "value");
    set.await.unwrap();
    assert_eq!(vouched.await.unwrap(), 2, "executed twice, as the caller allowed");
    assert_eq!(client.metrics().commands.retries, 3);
}

// 18
#[tokio::test]
async fn a_command_that_timed_out_while_disconnected_is_never_executed() {
    let (server, proxy, client) = behind_proxy().await;
    outage(&proxy, &client).await;
    let error = client.incr("late").timeout(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent));
    assert!(error.to_string().contains("it was not sent"), "{error}");
    proxy.heal().await.unwrap();
    assert_eq!(client.incr("other").await.unwrap(), 1);
    assert_eq!(stored(&server, "late").await, "");
}

// 19
#[tokio::test]
async fn a_command_issued_while_disconnected_is_executed_once_when_the_connection_is_back() {
    let (server, proxy, client) = behind_proxy().await;
    outage(&proxy, &client).await;
    let call = issued(client.incr("counter")).await;
    assert_eq!(client.metrics().queued, 1);
    proxy.heal().await.unwrap();
    assert_eq!(call.await.unwrap(), 1);
    assert_eq!(executions(&server, "incr").await, 1);
}

// 20
#[tokio::test]
async fn a_call_that_must_not_be_repeated_ends_with_a_definite_error_although_it_only_reads() {
    for policy in [RetryPolicy::Never, RetryPolicy::Unsent] {
        let (server, proxy, client) = behind_proxy().await;
        proxy.set(Direction::ToClient, Fault::Stall);
        let call = issued(client.get::<String>("key").retry(policy)).await;
        eventually(PATIENCE, "the read", async || executions(&server, "get").await == 1).await.unwrap();
        proxy.cut_all().await.unwrap();
        proxy.heal().await.unwrap();
        let error = within(PATIENCE, "the verdict", call).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown));
        up(&client).await;
        assert_eq!(executions(&server, "get").await, 1);
        assert_eq!(client.metrics().commands.retries, 0);
    }
}

// 21
#[tokio::test]
async fn commands_queued_during_an_outage_are_executed_in_their_order() {
    let (server, proxy, client) = behind_proxy().await;
    outage(&proxy, &client).await;
    let mut calls = Vec::new();
    for number in 0..100 {
        calls.push(issued(client.rpush("list", [number])).await);
    }
    proxy.heal().await.unwrap();
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), i64::try_from(number).unwrap() + 1);
    }
    let list = server.command(&["LRANGE", "list", "0", "-1"]).await.unwrap().text();
    assert_eq!(list, (0..100).map(|number| number.to_string()).collect::<Vec<_>>().join("\n"));
}

// 22
#[tokio::test]
async fn a_call_that_is_dropped_before_it_was_sent_never_is() {
    let (server, proxy, client) = behind_proxy().await;
    outage(&proxy, &client).await;
    let dropped = issued(client.incr("dropped")).await;
    let kept = issued(client.incr("kept")).await;
    drop(dropped);
    assert_eq!(client.metrics().queued, 1);
    proxy.heal().await.unwrap();
    assert_eq!(kept.await.unwrap(), 1);
    assert_eq!(executions(&server, "incr").await, 1);
    assert_eq!(stored(&server, "dropped").await, "");
}

// 22
#[tokio::test]
async fn a_call_that_is_dropped_after_it_was_sent_is_not_repeated() {
    let (server, proxy, client) = behind_proxy().await;
    proxy.set(Direction::ToClient, Fault::Stall);
    let dropped = issued(client.get::<String>("key")).await;
    eventually(PATIENCE, "the read", async || executions(&server, "get").await == 1).await.unwrap();
    drop(dropped);
    let mut events = client.events();
    proxy.cut_all().await.unwrap();
    proxy.heal().await.unwrap();
    activated(&mut events).await;
    client.ping().await.unwrap();
    assert_eq!(executions(&server, "get").await, 1);
}

// 23
#[tokio::test]
async fn the_handshake_is_made_anew_on_each_connection_and_nothing_else_is_repeated() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        conn.expect("INCR").await?;
        conn.send(b":1\r\n").await?;
        if conn.index() == 0 { conn.close().await } else { conn.silence().await }
    })
    .await
    .unwrap();
    let config = fast(server.address()).database(5).client_name("reborn").unwrap().library_info(false);
    let client = connect(config).await;
    let mut events = client.events();
    assert_eq!(client.incr("first").await.unwrap(), 1);
    activated(&mut events).await;
    assert_eq!(client.incr("second").await.unwrap(), 1);
    let handshake = ["HELLO 3 SETNAME reborn", "SELECT 5"];
    let expected = |command| [&handshake[..], &[command]].concat();
    assert_eq!(server.transcript(0), expected("INCR first"));
    assert_eq!(server.transcript(1)[..3], expected("INCR second"));
}

// 24
#[tokio::test]
async fn queued_commands_run_in_their_database_as_their_user_but_for_the_one_that_was_cancelled() {
    let server = Server::builder().password("s3cret").start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address()).password("s3cret").database(5)).await;
    outage(&proxy, &client).await;
    let first = issued(client.set("first", "1")).await;
    let cancelled = issued(client.set("cancelled", "1")).await;
    let last = issued(client.set("last", "1")).await;
    drop(cancelled);
    proxy.heal().await.unwrap();
    first.await.unwrap();
    last.await.unwrap();
    let mut keys: Vec<String> = client.keys("*").await.unwrap();
    keys.sort();
    assert_eq!(keys, ["first", "last"]);
    let line = clients(&server).await.join("\n");
    assert!(line.contains(" db=5 ") && line.contains("user=default"), "{line}");
}

// P3: a reply can never reach another caller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_come_and_go_never_see_each_others_replies() {
    let (_server, proxy, client) = behind_proxy().await;
    let mut callers = JoinSet::new();
    for caller in 0..16_u32 {
        let client = client.clone();
        callers.spawn(async move {
            let mut answered = 0;
            for number in 0..300_u32 {
                let mine = format!("{caller}-{number}");
                let call = client.echo::<String>(&mine);
                // Some are dropped at once, some after a moment, some time out.
                match number % 4 {
                    0 => drop(issued_or_over(call).await),
                    1 => {
                        if let Ok(reply) = tokio::time::timeout(Duration::from_micros(200), call).await {
                            assert_eq!(reply.unwrap(), mine);
                        }
                    }
                    2 => match call.timeout(Duration::from_millis(1)).await {
                        Ok(reply) => assert_eq!(reply, mine),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}"),
                    },
                    _ => {
                        assert_eq!(call.await.unwrap(), mine);
                        answered += 1;
                    }
                }
            }
            answered
        });
    }
    proxy.set(Direction::ToClient, Fault::Delay(Duration::from_millis(2)));
    let answered: usize = within(PATIENCE, "the callers", callers.join_all()).await.into_iter().sum();
    assert_eq!(answered, 16 * 75);
    assert_eq!(connections(&client), 1);
    let metrics = client.metrics();
    assert_eq!((metrics.queued, metrics.commands.disconnected), (0, 0));
}

async fn issued_or_over<F: Future + Unpin>(mut call: F) -> F {
    let _over_or_not = futures_util::poll!(&mut call);
    call
}

// P3: what is known of the effect is known of all attempts together.
#[tokio::test]
async fn a_call_that_may_have_been_executed_stays_unknown_whatever_becomes_of_its_repetition() {
    let (server, proxy, client) = behind_proxy().await;
    proxy.set(Direction::ToClient, Fault::Stall);
    let limit = Duration::from_millis(800);
    let call = issued(client.incr("counter").retry(RetryPolicy::Idempotent).timeout(limit)).await;
    let set = issued(client.set("key", "value").timeout(limit)).await;
    wait_stored(&server, "key", "value").await;
    outage(&proxy, &client).await;
    for error in [call.await.unwrap_err(), set.await.unwrap_err()] {
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown), "{error:?}");
    }
    assert_eq!(stored(&server, "counter").await, "1");
}

// P3
#[tokio::test]
async fn a_pipeline_that_may_have_been_executed_stays_unknown_whatever_becomes_of_its_repetition() {
    let (server, proxy, client) = behind_proxy().await;
    proxy.set(Direction::ToClient, Fault::Stall);
    let mut pipeline = client.pipeline().timeout(Duration::from_millis(800));
    let _first = pipeline.set("first", "1");
    let _second = pipeline.set("second", "1");
    let execute = issued(Box::pin(pipeline.execute())).await;
    wait_stored(&server, "second", "1").await;
    outage(&proxy, &client).await;
    let error = execute.await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown), "{error:?}");
}

// 105
#[tokio::test]
async fn a_request_that_was_cut_in_half_may_have_been_executed_and_those_behind_it_were_not() {
    let (server, proxy, client) = behind_proxy().await;
    let mut events = client.events();
    proxy.set(Direction::ToServer, Fault::CloseAfter(40));
    proxy.accept(Accept::Refuse).await.unwrap();
    let value = vec![b'x'; 16 << 20];
    let half = client.rpush("list", [&value]).retry(RetryPolicy::Never);
    let behind = client.incr("behind").retry(RetryPolicy::Never);
    let (half, behind) = tokio::join!(half, behind);
    let half = half.unwrap_err();
    assert_eq!((half.kind(), half.delivery()), (ErrorKind::Closed, Delivery::Unknown));
    let behind = behind.unwrap_err();
    assert_eq!((behind.kind(), behind.delivery()), (ErrorKind::Closed, Delivery::NotSent));
    let _still_down = attempt_failed(&mut events).await;
    assert_eq!(stored(&server, "behind").await, "");
    assert_eq!(server.command(&["LLEN", "list"]).await.unwrap().as_int(), Some(0));
}

// 106
#[tokio::test]
async fn a_transaction_whose_exec_was_lost_is_unknown_and_its_body_is_not_repeated() {
    let (server, proxy, client) = behind_proxy().await;
    proxy.set(Direction::ToClient, Fault::Stall);
    let mut transaction = client.transaction();
    let _first = transaction.incr("first");
    let _second = transaction.set("second", "1");
    let execute = issued(Box::pin(transaction.execute())).await;
    wait_stored(&server, "second", "1").await;
    proxy.cut_all().await.unwrap();
    proxy.heal().await.unwrap();
    let error = within(PATIENCE, "the verdict", execute).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown), "{error:?}");
    up(&client).await;
    client.ping().await.unwrap();
    assert_eq!(executions(&server, "incr").await, 1);
    assert_eq!(executions(&server, "exec").await, 1);
}

// 106
#[tokio::test]
async fn a_transaction_that_is_cut_before_its_exec_is_not_executed_piecemeal() {
    let (server, proxy, client) = behind_proxy().await;
    // MULTI and INCR arrive, EXEC does not.
    proxy.set(Direction::ToServer, Fault::CloseAfter(60));
    proxy.accept(Accept::Refuse).await.unwrap();
    let mut transaction = client.transaction();
    let _first = transaction.incr("first");
    let _second = transaction.incr("second");
    let error = within(PATIENCE, "the verdict", transaction.execute()).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown), "{error:?}");
    proxy.heal().await.unwrap();
    up(&client).await;
    client.ping().await.unwrap();
    assert_eq!(stored(&server, "first").await, "");
    assert_eq!(executions(&server, "exec").await, 0);
}

// P3: a deadline that never comes does not keep a call from ending.
#[tokio::test]
async fn a_call_without_a_deadline_ends_with_its_connection() {
    let (server, _proxy, client) = behind_proxy().await;
    server.command(&["CLIENT", "PAUSE", "60000", "ALL"]).await.unwrap();
    let call = issued(client.incr("counter").no_timeout()).await;
    eventually(PATIENCE, "the command to be in flight", async || client.metrics().in_flight > 0).await.unwrap();
    server.kill();
    let error = within(PATIENCE, "the end", call).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown));
}
