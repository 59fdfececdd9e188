//! `ReliablePop`: nothing is lost, nothing comes twice.

use std::time::Duration;

use romaine::{Client, ErrorKind, Event, Lane, ReliablePop};
use romaine_faultlab::{Direction, DropDirection, Fault, FaultProxy, Server};

use crate::support::{
    PATIENCE, ask, background, blocked, connect, disconnected, ended, event, fast, namespace, now, plain, within,
};

const FOR_EVER: Duration = Duration::ZERO;

fn jobs(client: &Client) -> ReliablePop<String> {
    client.reliable_pop("jobs", "jobs:mine")
}

async fn next(jobs: &mut ReliablePop<String>) -> String {
    let job = within(PATIENCE, "a job", jobs.next(FOR_EVER)).await.unwrap().expect("never nil");
    jobs.acknowledge(&job).await.unwrap();
    job.value
}

async fn push(server: &Server, job: &str) {
    ask(server, &["LPUSH", "jobs", job]).await;
}

#[tokio::test]
async fn an_element_stays_in_the_processing_list_until_it_is_acknowledged() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut pop = jobs(&client);
    for job in ["a", "b"] {
        push(&server, job).await;
    }
    let first = pop.next(FOR_EVER).await.unwrap().unwrap();
    assert_eq!((first.value.as_str(), &first.raw()[..]), ("a", &b"a"[..]));
    assert_eq!(ask(&server, &["LRANGE", "jobs:mine", "0", "-1"]).await, "a");
    let second = pop.next(FOR_EVER).await.unwrap().unwrap();
    pop.acknowledge(&first).await.unwrap();
    assert_eq!(ask(&server, &["LRANGE", "jobs:mine", "0", "-1"]).await, "b");
    assert_eq!(pop.acknowledge(&first).await.unwrap_err().kind(), ErrorKind::Usage, "once is enough");
    pop.acknowledge(&second).await.unwrap();
    assert_eq!(ask(&server, &["LLEN", "jobs:mine"]).await, "0");
    let start = now();
    assert!(pop.next(Duration::from_millis(300)).await.unwrap().is_none());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(298) && took < PATIENCE, "{took:?}");
}

#[tokio::test]
async fn what_a_consumer_left_behind_is_recovered_by_the_next_one() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    for job in ["a", "a", "b", "c"] {
        push(&server, job).await;
    }
    let mut dead = jobs(&client);
    for _ in 0..3 {
        dead.next(FOR_EVER).await.unwrap().unwrap();
    }
    drop(dead);
    let mut pop = jobs(&client);
    let recovered = pop.recover().await.unwrap();
    assert_eq!(recovered.iter().map(|job| job.value.as_str()).collect::<Vec<_>>(), ["a", "a", "b"], "the oldest first");
    assert!(pop.recover().await.unwrap().is_empty(), "once");
    for job in &recovered {
        pop.acknowledge(job).await.unwrap();
    }
    assert_eq!(next(&mut pop).await, "c");
    assert_eq!(ask(&server, &["LLEN", "jobs:mine"]).await, "0");
    // Who does not ask for it gets new elements only, and may ask later.
    push(&server, "d").await;
    jobs(&client).next(FOR_EVER).await.unwrap().unwrap();
    push(&server, "e").await;
    let mut pop = jobs(&client);
    assert_eq!(next(&mut pop).await, "e");
    assert_eq!(pop.recover().await.unwrap()[0].value, "d");
}

// S4, 100: nothing lost, nothing twice, whatever the path does.
#[tokio::test]
async fn an_element_pushed_while_the_path_is_dead_is_delivered_once() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut events = client.events();
    let mut pop = jobs(&client);
    push(&server, "before").await;
    assert_eq!(next(&mut pop).await, "before");
    for round in 0..3 {
        let waiting = background(async move {
            let job = pop.next(FOR_EVER).await;
            (pop, job)
        });
        blocked(&server, 1).await;
        // The ghost moves it, and its answer is lost for good.
        proxy.set(Direction::ToClient, Fault::Swallow);
        let during = format!("during {round}");
        push(&server, &during).await;
        assert_eq!(ask(&server, &["LRANGE", "jobs:mine", "0", "-1"]).await, during);
        disconnected(&mut events, Lane::Blocking).await;
        proxy.heal().await.unwrap();
        let (mut again, job) = ended(waiting).await;
        let job = job.unwrap().unwrap();
        assert_eq!(job.value, during);
        // An equal one is another one.
        push(&server, &during).await;
        let twin = within(PATIENCE, "the twin", again.next(FOR_EVER)).await.unwrap().unwrap();
        assert_eq!(twin, job);
        again.acknowledge(&job).await.unwrap();
        again.acknowledge(&twin).await.unwrap();
        assert!(again.next(Duration::from_millis(50)).await.unwrap().is_none(), "nothing twice");
        assert_eq!(ask(&server, &["LLEN", "jobs:mine"]).await, "0");
        pop = again;
    }
}

// The same with packets that the kernel loses, and time-outs that pass meanwhile.
#[tokio::test]
async fn a_consumer_with_time_outs_gets_everything_once_through_outages() {
    let Some(namespace) = namespace().await else { return };
    let server = Server::builder().in_namespace(&namespace).start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    let mut pop = jobs(&client);
    let consumer = background(async move {
        let mut popped = Vec::new();
        while popped.last().is_none_or(|last| last != "end") {
            if let Some(job) = pop.next(Duration::from_millis(700)).await.unwrap() {
                while let Err(error) = pop.acknowledge(&job).await {
                    assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Timeout), "{error}");
                }
                popped.push(job.value);
            }
        }
        popped
    });
    let mut pushed = Vec::new();
    for (round, direction) in
        [DropDirection::Both, DropDirection::ToClient, DropDirection::ToServer].into_iter().enumerate()
    {
        blocked(&server, 1).await;
        namespace.drop_packets(direction).await.unwrap();
        for n in 0..3 {
            pushed.push(format!("{round}-{n}"));
            push(&server, &format!("{round}-{n}")).await;
        }
        disconnected(&mut events, Lane::Commands).await;
        namespace.heal().await.unwrap();
        event(&mut events, "the commands", |event| match event {
            Event::Activated { lane: Lane::Commands, .. } => Some(()),
            _ => None,
        })
        .await;
    }
    pushed.push("end".into());
    push(&server, "end").await;
    let mut popped = ended(consumer).await;
    // One that a ghost moved may come after a later one; each comes once.
    popped.sort();
    pushed.sort();
    assert_eq!(popped, pushed);
    assert_eq!(ask(&server, &["LLEN", "jobs:mine"]).await, "0");
}

#[tokio::test]
async fn dropping_next_at_any_moment_loses_nothing() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut pop = jobs(&client);
    let producer = background({
        let client = client.clone();
        async move {
            use romaine::commands::*;
            for n in 0..300 {
                client.lpush("jobs", n).await.unwrap();
                tokio::time::sleep(Duration::from_micros(700)).await;
            }
        }
    });
    let mut popped = Vec::new();
    let collect = async {
        let mut round = 0_u64;
        while popped.len() < 300 {
            round += 1;
            let patience = Duration::from_micros(round * 37 % 3_000);
            if let Ok(job) = tokio::time::timeout(patience, pop.next(FOR_EVER)).await {
                let job = job.unwrap().unwrap();
                pop.acknowledge(&job).await.unwrap();
                popped.push(job.value.parse::<u32>().unwrap());
            }
        }
    };
    within(PATIENCE, "all of them", collect).await;
    ended(producer).await;
    assert_eq!(popped, (0..300).collect::<Vec<_>>());
    assert_eq!(ask(&server, &["LLEN", "jobs:mine"]).await, "0");
}

#[tokio::test]
async fn an_acknowledgement_of_unknown_fate_is_repeated_without_harm_to_a_twin() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut pop = jobs(&client);
    push(&server, "same").await;
    push(&server, "same").await;
    let first = pop.next(FOR_EVER).await.unwrap().unwrap();
    let _second = pop.next(FOR_EVER).await.unwrap().unwrap();
    proxy.set(Direction::ToClient, Fault::Swallow);
    let error = within(PATIENCE, "the error", pop.acknowledge(&first)).await.unwrap_err();
    assert_eq!(error.delivery(), romaine::Delivery::Unknown);
    assert_eq!(ask(&server, &["LLEN", "jobs:mine"]).await, "1", "it had arrived");
    proxy.heal().await.unwrap();
    pop.acknowledge(&first).await.unwrap();
    assert_eq!(ask(&server, &["LLEN", "jobs:mine"]).await, "1", "the twin is not done");
}

#[tokio::test]
async fn nothing_is_lost_where_ghosts_may_not_be_fenced() {
    let acl = "app on >pw ~* &* +@all -client|unblock -client|kill";
    let server = Server::builder().acl(acl).start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address()).user("app", "pw")).await;
    let mut pop = jobs(&client);
    let waiting = background(async move {
        let job = pop.next(FOR_EVER).await;
        (pop, job)
    });
    blocked(&server, 1).await;
    proxy.set(Direction::ToClient, Fault::Swallow);
    push(&server, "during").await;
    let mut events = client.events();
    disconnected(&mut events, Lane::Blocking).await;
    proxy.heal().await.unwrap();
    let (mut pop, job) = ended(waiting).await;
    let job = job.unwrap().unwrap();
    assert_eq!(job.value, "during");
    pop.acknowledge(&job).await.unwrap();
    push(&server, "after").await;
    assert_eq!(next(&mut pop).await, "after");
}

#[tokio::test]
async fn an_element_of_another_type_is_an_error_and_stays_where_it_is() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut pop = client.reliable_pop::<u32>("jobs", "jobs:mine");
    push(&server, "seven").await;
    push(&server, "8").await;
    assert_eq!(pop.next(FOR_EVER).await.unwrap_err().kind(), ErrorKind::Conversion);
    assert_eq!(pop.next(FOR_EVER).await.unwrap().unwrap().value, 8);
    assert_eq!(ask(&server, &["LRANGE", "jobs:mine", "0", "-1"]).await, "8\nseven");
    client.close().await;
    assert_eq!(pop.next(FOR_EVER).await.unwrap_err().kind(), ErrorKind::Closed);
}
