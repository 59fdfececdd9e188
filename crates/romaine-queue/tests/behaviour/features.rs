//! What is behind features.

#[cfg(feature = "cron")]
mod cron {
    use std::time::Duration;

    use romaine_queue::{NewJob, Schedule, Scheduler};

    use crate::support::{Runs, end, queue, quick, until_empty};

    #[tokio::test]
    async fn a_schedule_kept_by_several_processes_runs_each_occurrence_once() {
        let (_server, queue) = queue().await;
        let runs = Runs::default();
        let worker = quick(&queue, &runs).start().unwrap();
        let every_second = || Schedule::new("beat", "* * * * * *", || NewJob::new("tick", "")).unwrap();
        let keepers = [0, 1, 2].map(|_| Scheduler::start(&queue.producer(), [every_second()]));
        runs.wait_for(3).await;
        drop(keepers);
        assert_eq!(runs.most(), 1);
        let status = queue.status().await.unwrap();
        assert!(status.next_due.is_some_and(|due| due <= Duration::from_secs(1)), "{status:?}");
        queue.purge(romaine_queue::Purge::Delayed, usize::MAX).await.unwrap();
        until_empty(&queue).await;
        end(worker).await;
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::sync::Arc;
    use std::time::Duration;

    use romaine_queue::{NewJob, Outbox as _, Priority, Relay, SqliteOutbox};

    use romaine_faultlab::eventually;

    use crate::support::{PATIENCE, Runs, end, queue, quick, until_empty};

    #[tokio::test]
    async fn an_outbox_is_relayed_once_even_by_two_relays_and_over_a_dead_server() {
        let (server, queue) = queue().await;
        let dir = tempfile::tempdir().unwrap();
        let outbox = SqliteOutbox::open(dir.path().join("jobs.db")).unwrap();
        server.kill();
        let job = |n: i32| NewJob::new("k", n.to_string()).id(format!("j{n}")).priority(Priority::High);
        for n in 0..50 {
            outbox.put("test", job(n)).await.unwrap();
        }
        let relays = [0, 1].map(|_| Relay::start(queue.client(), Arc::new(outbox.clone())));
        server.restart().await.unwrap();
        let runs = Runs::default();
        let worker = quick(&queue, &runs).start().unwrap();
        runs.wait_for(50).await;
        // Written again after it was relayed: the same id, so nothing happens twice.
        outbox.put("test", job(7)).await.unwrap();
        relays[0].nudge();
        eventually(PATIENCE, "an empty outbox", async || outbox.pending(1).await.unwrap().is_empty()).await.unwrap();
        until_empty(&queue).await;
        end(worker).await;
        assert_eq!((runs.jobs(), runs.most()), (50, 1));
    }

    #[tokio::test]
    async fn an_entry_that_can_never_be_accepted_is_set_aside_and_holds_up_nobody() {
        let (_server, queue) = queue().await;
        let dir = tempfile::tempdir().unwrap();
        let outbox = SqliteOutbox::open(dir.path().join("jobs.db")).unwrap();
        let late = NewJob::new("k", "").id("late").delay(Duration::from_secs(60)).expires_in(Duration::from_secs(90));
        outbox.put("test", NewJob::new("k", vec![0; 300 * 1024]).id("large")).await.unwrap();
        outbox.put("test", late.unique("u").generation("g", 3)).await.unwrap();
        let _relay = Relay::start(queue.client(), Arc::new(outbox.clone()));
        eventually(PATIENCE, "the good one", async || queue.status().await.unwrap().delayed == 1).await.unwrap();
        let seen = queue.job("late").await.unwrap().unwrap();
        assert_eq!((seen.unique.as_deref(), seen.generation), (Some("u"), Some(3)));
        let refused = outbox.refused_entries().await.unwrap();
        assert_eq!((refused.len(), refused[0].2.as_str()), (1, "large"));
        assert!(refused[0].3.contains("payload_max"), "{refused:?}");
    }
}

#[cfg(feature = "webhook")]
mod webhook {
    use romaine_queue::{Alarm, Notifier as _, Thresholds, Webhook};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn an_alert_is_posted_as_json() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook = Webhook::new(format!("http://{}/secret", listener.local_addr().unwrap())).unwrap();
        assert!(!format!("{webhook:?}").contains("secret"));
        let mut alarm =
            Alarm::new("push", Thresholds { unreachable: Some(std::time::Duration::ZERO), ..Thresholds::default() });
        let alert = alarm.unseen("no answer", crate::support::now()).remove(0);
        let receive = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            let mut chunk = [0; 4096];
            while !text.contains("}") {
                let size = socket.read(&mut chunk).await.unwrap();
                text.push_str(&String::from_utf8_lossy(&chunk[..size]));
            }
            socket.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            text
        };
        let (told, request) = tokio::join!(webhook.notify(&alert), receive);
        told.unwrap();
        assert!(request.starts_with("POST /secret HTTP/1.1"), "{request}");
        for part in [r#""queue":"push""#, r#""alert":"unreachable""#, r#""state":"firing""#] {
            assert!(request.contains(part), "{request}");
        }
    }
}
