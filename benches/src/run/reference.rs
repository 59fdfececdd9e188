//! redis-benchmark with one connection and a pipeline as deep as there are callers: the limit of what the server gives one
//! connection, reached by a client that decodes nothing.

use std::{cell::RefCell, collections::HashMap, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::server::{CLIENT_CPU, pinned};
use crate::{
    address::Address,
    sample::Sample,
    usage,
    workload::{Action, Workload},
};

/// Fewest batches that a run may be made of.
const BATCHES_MIN: f64 = 20.0;

/// Runs redis-benchmark.
pub(super) struct Reference {
    program: PathBuf,
    window: Duration,
    pin: bool,
    /// Commands per second of the last run of each cell, from which the next run's length follows.
    rates: RefCell<HashMap<(String, Workload, usize), f64>>,
}

impl Reference {
    /// A reference whose runs last about as long as a window.
    pub(super) fn new(program: PathBuf, window: Duration, pin: bool) -> Self {
        Self { program, window, pin, rates: RefCell::default() }
    }

    /// One run. Processor time is that of the whole process, its start included.
    pub(super) fn measure(&self, address: &Address, workload: Workload, callers: usize) -> Result<Sample> {
        let depth = callers * workload.commands_per_turn();
        let cell = (address.to_string(), workload, callers);
        let known = self.rates.borrow().get(&cell).copied();
        let rate = known.unwrap_or_else(|| expected_rate(workload, depth));
        let batches = (rate * self.window.as_secs_f64() / depth as f64).max(BATCHES_MIN).round();
        let requests = format!("{:.0}", batches * depth as f64);

        let cpu_before = usage::children_cpu()?;
        let output = pinned(&self.program, self.pin.then_some(CLIENT_CPU))
            .args(address.benchmark_options())
            .args(["-c", "1", "-P", &depth.to_string(), "-n", &requests, "--csv"])
            .args(workload.command())
            .stdin(Stdio::null())
            .output()
            .with_context(|| self.program.display().to_string())?;
        let cpu = usage::children_cpu()?.saturating_sub(cpu_before);
        ensure!(output.status.success(), "redis-benchmark: {}", String::from_utf8_lossy(&output.stderr).trim());

        let [rate, p50_ms, p99_ms] = parse(&String::from_utf8_lossy(&output.stdout))?;
        self.rates.borrow_mut().insert(cell, rate);
        Ok(Sample {
            ops_per_s: Some(rate),
            cpu_us_per_op: Some(cpu.as_secs_f64() * 1e6 / (batches * depth as f64)),
            p50_us: Some(p50_ms * 1e3),
            p99_us: Some(p99_ms * 1e3),
            ..Sample::default()
        })
    }
}

/// Commands per second to be expected of a first run, to within a factor of a few.
fn expected_rate(workload: Workload, depth: usize) -> f64 {
    let most = match workload.action() {
        Action::Get(bytes) | Action::Set(bytes) => (1.5e9 / (bytes as f64 + 700.0)).min(2e6),
        Action::Pipeline(_) => 1.4e6,
        Action::Mget => 5.5e3,
        Action::Hgetall => 3.6e3,
    };
    most.min(3e4 * depth as f64)
}

/// Requests per second, and the median and 99th percentile of latency in milliseconds, from the last line of `--csv`:
/// `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"`.
fn parse(csv: &str) -> Result<[f64; 3]> {
    let line = csv.lines().last().context("redis-benchmark said nothing")?;
    let fields: Vec<&str> = line.split(',').map(|field| field.trim_matches('"')).collect();
    let number = |from_end: usize| -> Result<f64> {
        let text = fields.len().checked_sub(from_end).and_then(|at| fields.get(at)).with_context(|| line.to_owned())?;
        text.parse().with_context(|| line.to_owned())
    };
    Ok([number(7)?, number(4)?, number(2)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_read_from_the_last_line() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                   \"GET a, b\",\"1000000.00\",\"0.052\",\"0.024\",\"0.047\",\"0.079\",\"0.103\",\"0.191\"\n";
        assert_eq!(parse(csv).unwrap(), [1_000_000.0, 0.047, 0.103]);
        assert!(parse("").is_err());
        assert!(parse("no figures").is_err());
    }
}
