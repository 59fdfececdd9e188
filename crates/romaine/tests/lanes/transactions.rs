//! MULTI … EXEC, pipelines, WATCH, scripts.

use romaine::commands::*;
use romaine::{Client, Delivery, ErrorKind, Lane, Script, cmd, command};
use romaine_faultlab::{Direction, Fault, FaultProxy, ScriptedServer, Server};

use crate::support::{
    PATIENCE, activated, ask, background, calls, connect, disconnected, ended, fast, now, plain, within,
};

// 106.
#[tokio::test]
async fn a_transaction_cut_in_its_middle_fails_as_a_whole_and_is_not_sent_again() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(plain(proxy.address())).await;
    let mut events = client.events();
    // So many bytes of it arrive: after MULTI, after the first command, before the last byte of EXEC.
    for cut in [15, 60, 100] {
        proxy.set(Direction::ToServer, Fault::CloseAfter(cut));
        let mut transaction = client.transaction();
        let _first = transaction.set("a", "1");
        let _second = transaction.set("b", "1");
        let _third = transaction.incr("c");
        let error = within(PATIENCE, "its end", transaction.execute()).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown), "{cut}: {error}");
        assert!(error.to_string().contains("EXEC"), "{error}");
        disconnected(&mut events, Lane::Commands).await;
        proxy.heal().await.unwrap();
        activated(&mut events, Lane::Commands).await;
        assert_eq!(client.exists(["a", "b", "c"]).await.unwrap(), 0, "not a piece of it was executed");
    }
    // All of it arrives, and the answer does not.
    proxy.set(Direction::ToClient, Fault::CloseAfter(3));
    let mut transaction = client.transaction();
    let _ticket = transaction.incr("c");
    let error = within(PATIENCE, "its end", transaction.execute()).await.unwrap_err();
    assert_eq!(error.delivery(), Delivery::Unknown);
    proxy.heal().await.unwrap();
    assert_eq!(client.get::<i64>("c").await.unwrap(), Some(1), "once");
}

#[tokio::test]
async fn a_command_that_cannot_be_queued_refuses_the_whole_and_says_why() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut transaction = client.transaction();
    let _first = transaction.set("a", "1");
    let _second = transaction.issue(cmd::<()>("GET").arg("too").arg("many"));
    let error = transaction.execute().await.unwrap_err();
    assert_eq!(error.delivery(), Delivery::Refused, "{error}");
    assert!(error.server().unwrap().as_str().contains("wrong number of arguments"), "{error}");
    assert!(!client.exists("a").await.is_ok_and(|count| count > 0));
}

#[tokio::test]
async fn an_error_within_a_transaction_is_its_own_tickets() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    client.set("text", "no list").await.unwrap();
    let mut transaction = client.transaction();
    let set = transaction.set("a", "1");
    let push = transaction.lpush("text", "x");
    let get = transaction.get::<i64>("a");
    assert_eq!(transaction.len(), 3);
    let mut replies = transaction.execute().await.unwrap();
    replies.take(set).unwrap();
    let error = replies.take(push).unwrap_err();
    assert_eq!(error.server().unwrap().code(), "WRONGTYPE");
    assert_eq!(replies.take(get).unwrap(), Some(1));
    let replies = client.transaction().execute().await.unwrap();
    drop(replies);
}

// Without MULTI the commands behind it are executed one by one: that must not be called a refusal.
#[tokio::test]
async fn a_user_without_multi_is_told_that_the_commands_may_have_been_executed() {
    let server = Server::builder().acl("app on >pw ~* &* +@all -multi").start().await.unwrap();
    let client = connect(plain(server.address()).user("app", "pw")).await;
    let mut transaction = client.transaction();
    let _ticket = transaction.set("a", "1");
    let error = transaction.execute().await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Auth, Delivery::Unknown), "{error}");
    assert_eq!(client.get::<i64>("a").await.unwrap(), Some(1));
}

async fn increment(client: &Client) {
    let result = client
        .watch(["counter"], async |connection, transaction| {
            let value: Option<i64> = connection.get("counter").await?;
            let _ticket = transaction.issue(command::set("counter", value.unwrap_or(0) + 1));
            Ok(())
        })
        .await;
    result.unwrap();
}

#[tokio::test]
async fn sixteen_concurrent_increments_under_watch_count_to_the_last_one() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let workers: Vec<_> = (0..16)
        .map(|_| {
            background({
                let client = client.clone();
                async move {
                    for _ in 0..4 {
                        increment(&client).await;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        ended(worker).await;
    }
    assert_eq!(client.get::<i64>("counter").await.unwrap(), Some(64));
}

#[tokio::test]
async fn a_watch_whose_connection_is_lost_before_exec_starts_over() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut rounds = 0;
    let (_, value) = client
        .watch(["k"], async |connection, transaction| {
            rounds += 1;
            if rounds < 3 {
                ask(&server, &["CLIENT", "KILL", "TYPE", "normal"]).await;
            }
            let value: Option<String> = connection.get("k").await?;
            let _ticket = transaction.issue(command::set("k", rounds));
            Ok(value)
        })
        .await
        .unwrap();
    assert_eq!((rounds, value), (3, None));
    assert_eq!(client.get::<i64>("k").await.unwrap(), Some(3));
}

#[tokio::test]
async fn a_watch_ends_with_its_bodys_error_and_never_spins() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let other = connect(plain(server.address())).await;
    other.close().await;
    let mut rounds = 0;
    let result = client
        .watch(["k"], async |_, _| {
            rounds += 1;
            // A closed connection, but not this one.
            other.get::<String>("k").await
        })
        .await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(rounds, 1);
}

#[tokio::test]
async fn a_watch_during_an_outage_waits_and_gives_up_with_the_clients_deadline() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    server.kill();
    let (done, restarted) = tokio::join!(increment(&client), server.restart());
    restarted.unwrap();
    let () = done;
    let hurried = connect(plain(server.address()).timeout(std::time::Duration::from_millis(300))).await;
    server.kill();
    let start = now();
    let result = hurried.watch(["k"], async |connection, _| connection.get::<String>("k").await).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Connect);
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_pipeline_gives_each_command_its_own_reply() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let big = vec![b'x'; 300_000];
    let mut pipeline = client.pipeline();
    let set = pipeline.set("text", "v");
    let wrong = pipeline.incr("text");
    let none = pipeline.get::<String>("none");
    let stored = pipeline.set("big", &big);
    let read = pipeline.get::<Vec<u8>>("big");
    let count = pipeline.incr("count");
    assert_eq!(pipeline.len(), 6);
    let mut replies = pipeline.execute().await.unwrap();
    assert_eq!(replies.take(count).unwrap(), 1, "in any order");
    replies.take(set).unwrap();
    assert!(replies.take(wrong).unwrap_err().to_string().contains("not an integer"));
    assert_eq!(replies.take(none).unwrap(), None);
    replies.take(stored).unwrap();
    assert_eq!(replies.take(read).unwrap().unwrap(), big);
    assert!(client.pipeline().is_empty());
    client.pipeline().execute().await.unwrap();
}

#[tokio::test]
async fn what_does_not_belong_in_a_batch_is_refused_before_anything_is_sent() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    for misuse in ["SUBSCRIBE", "MULTI", "WATCH", "MONITOR", "SELECT", "AUTH", "HELLO", "RESET", "QUIT"] {
        let mut pipeline = client.pipeline();
        let _first = pipeline.set("a", "1");
        let _second = pipeline.issue(cmd::<()>(misuse).arg("1"));
        let error = pipeline.execute().await.unwrap_err();
        assert_eq!((error.kind(), error.command()), (ErrorKind::Usage, Some(misuse)), "{error}");
    }
    let mut transaction = client.transaction();
    let _popped = transaction.brpop::<String, String>("q", 0.0);
    let error = transaction.execute().await.unwrap_err();
    assert_eq!((error.kind(), error.command()), (ErrorKind::Usage, Some("BRPOP")), "{error}");
    assert_eq!(client.exists("a").await.unwrap(), 0);
    assert_eq!(calls(&server, "multi").await, 0);

    let mut one = client.pipeline();
    let _kept = one.get::<String>("a");
    let foreign = one.get::<String>("a");
    let mut other = client.pipeline();
    let _own = other.get::<String>("a");
    let mut replies = other.execute().await.unwrap();
    assert_eq!(replies.take(foreign).unwrap_err().kind(), ErrorKind::Usage);
    drop(one);
}

#[tokio::test]
async fn a_pipeline_that_only_reads_is_sent_again_and_one_that_writes_is_not() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    client.set("k", "v").await.unwrap();
    for writes in [false, true] {
        proxy.set(Direction::ToClient, Fault::CloseAfter(3));
        let mut pipeline = client.pipeline();
        let read = pipeline.get::<String>("k");
        if writes {
            let _write = pipeline.incr("count");
        }
        let (replies, ()) = tokio::join!(pipeline.execute(), async {
            proxy.wait_for_connections(proxy.connections() + 1).await.unwrap();
            proxy.heal().await.unwrap();
        });
        if writes {
            assert_eq!(replies.unwrap_err().delivery(), Delivery::Unknown);
            assert_eq!(client.get::<i64>("count").await.unwrap(), Some(1));
        } else {
            assert_eq!(replies.unwrap().take(read).unwrap().unwrap(), "v");
        }
    }
}

#[tokio::test]
async fn a_script_is_sent_by_digest_and_by_text_only_when_the_server_does_not_have_it() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    let reading = Script::read_only("return redis.call('GET', KEYS[1])");
    for round in 1..=3_i64 {
        for n in 0..5 {
            let sum: i64 = client.script(&script, ["sum"], [1]).await.unwrap();
            assert_eq!(sum, (round - 1) * 5 + n + 1);
            assert_eq!(client.script::<i64>(&reading, ["sum"], [""; 0]).await.unwrap(), sum);
        }
        assert_eq!(calls(&server, "eval").await, u64::try_from(round).unwrap());
        assert_eq!(calls(&server, "eval_ro").await, u64::try_from(round).unwrap());
        ask(&server, &["SCRIPT", "FLUSH"]).await;
    }
    let wrong = Script::new("return redis.call('NOSUCH')");
    assert!(client.script::<i64>(&wrong, [""; 0], [""; 0]).await.unwrap_err().server().is_some());
}

// A transaction on a connection that dies while its bytes still lie in our buffer was not sent, and is sent again.
#[tokio::test]
async fn a_transaction_issued_during_an_outage_is_executed_once_afterwards() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    server.kill();
    disconnected(&mut events, Lane::Commands).await;
    let mut transaction = client.transaction();
    let ticket = transaction.incr("c");
    let (replies, restarted) = tokio::join!(transaction.execute(), server.restart());
    restarted.unwrap();
    assert_eq!(replies.unwrap().take(ticket).unwrap(), 1);
}

#[tokio::test]
async fn an_answer_to_exec_that_is_none_is_a_protocol_error() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        conn.expect("MULTI").await?;
        conn.expect("INCR").await?;
        conn.expect("EXEC").await?;
        conn.send(b"+OK\r\n+QUEUED\r\n+WHAT\r\n").await?;
        conn.silence().await
    })
    .await
    .unwrap();
    let client = connect(plain(server.address())).await;
    let mut transaction = client.transaction();
    let _ticket = transaction.incr("c");
    let error = transaction.execute().await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Protocol, Delivery::Unknown), "{error}");
}
