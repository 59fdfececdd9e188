//! What was seen of queues, in the text format of Prometheus.

use std::fmt::Write as _;

use crate::status::Status;

/// One metric: its name, kind and meaning, and where its value is.
type Metric = (&'static str, &'static str, &'static str, fn(&Status) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
const fn count(number: u64) -> Option<f64> {
    Some(number as f64)
}

const METRICS: &[Metric] = &[
    ("rq_waiting", "gauge", "Jobs that can be claimed.", |s| count(s.waiting)),
    ("rq_delayed", "gauge", "Jobs whose time has not come.", |s| count(s.delayed)),
    ("rq_leased", "gauge", "Jobs that workers have.", |s| count(s.leased)),
    ("rq_dead", "gauge", "Dead letters.", |s| count(s.dead)),
    ("rq_results", "gauge", "Results that are kept.", |s| count(s.results)),
    ("rq_paused", "gauge", "1 while nothing may be claimed.", |s| count(u64::from(s.paused.is_some()))),
    ("rq_oldest_waiting_seconds", "gauge", "Age of the oldest waiting job.", |s| {
        Some(s.oldest_waiting.map_or(0.0, |age| age.as_secs_f64()))
    }),
    ("rq_consumers", "gauge", "Consumers that keep their promise to be heard of.", |s| {
        count(u64::try_from(s.consumers.iter().filter(|c| c.overdue().is_none()).count()).unwrap_or(0))
    }),
    ("rq_enqueued_total", "counter", "Jobs accepted.", |s| count(s.totals.enqueued)),
    ("rq_refused_total", "counter", "Jobs not accepted.", |s| count(s.totals.refused)),
    ("rq_claimed_total", "counter", "Claims.", |s| count(s.totals.claimed)),
    ("rq_done_total", "counter", "Jobs acknowledged.", |s| count(s.totals.done)),
    ("rq_retried_total", "counter", "Attempts that failed and are repeated.", |s| count(s.totals.retried)),
    ("rq_dead_total", "counter", "Jobs that became dead letters.", |s| count(s.totals.dead)),
    ("rq_redeemed_total", "counter", "Dead letters that were done after all.", |s| count(s.totals.redeemed)),
    ("rq_expired_leases_total", "counter", "Leases that ran out.", |s| count(s.totals.expired_leases)),
    ("rq_fenced_total", "counter", "Reports that came too late.", |s| count(s.totals.fenced)),
    ("rq_given_back_total", "counter", "Jobs given back with their attempt.", |s| count(s.totals.given_back)),
    ("rq_cancelled_total", "counter", "Jobs cancelled.", |s| count(s.totals.cancelled)),
    ("rq_expired_total", "counter", "Jobs that expired before they started.", |s| count(s.totals.expired)),
    ("rq_superseded_total", "counter", "Jobs that a newer generation replaced.", |s| count(s.totals.superseded)),
];

/// The text for `/metrics`, from what [`Watch::statuses`](crate::Watch::statuses) or
/// [`Queue::status`](crate::Queue::status) saw. Ages are as old as the look.
#[must_use]
pub fn prometheus<'a>(statuses: impl IntoIterator<Item = &'a Status>) -> String {
    let statuses: Vec<&Status> = statuses.into_iter().collect();
    let mut out = String::new();
    for (name, kind, help, value) in METRICS {
        let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for status in &statuses {
            if let Some(value) = value(status) {
                let _infallible = writeln!(out, "{name}{{queue=\"{}\"}} {value}", escaped(&status.queue));
            }
        }
    }
    let name = "rq_claim_age_seconds";
    let _infallible = writeln!(out, "# HELP {name} Time since a consumer was heard of.\n# TYPE {name} gauge");
    for status in &statuses {
        for consumer in &status.consumers {
            let (queue, who) = (escaped(&status.queue), escaped(&consumer.name));
            let age = consumer.last_claim.as_secs_f64();
            let _infallible = writeln!(out, "{name}{{queue=\"{queue}\",consumer=\"{who}\"}} {age}");
        }
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_help_its_type_and_a_line_per_queue() {
        let one = Status { queue: "a\"b".into(), waiting: 3, ..Status::default() };
        let other = Status { queue: "c".into(), ..Status::default() };
        let text = prometheus([&one, &other]);
        assert!(
            text.contains("# TYPE rq_waiting gauge\nrq_waiting{queue=\"a\\\"b\"} 3\nrq_waiting{queue=\"c\"} 0\n"),
            "{text}"
        );
        assert_eq!(text.matches("# TYPE ").count(), METRICS.len() + 1);
    }
}
