//! The tables.

use std::fmt::Write as _;

use super::{
    Cell, WORKERS,
    report::{Ratio, Ratios, Report, Row},
    stats::median,
};

/// All tables.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, report);
    text
}

fn write(text: &mut String, report: &Report) -> std::fmt::Result {
    let (machine, plan) = (&report.machine, &report.plan);
    writeln!(text, "# Work queues\n")?;
    writeln!(text, "`{}`, {}, {:.0} s.", machine.command, machine.date, report.seconds)?;
    writeln!(text, "{}, {} processors, {}, {}.", machine.cpu, machine.cpus, machine.kernel, machine.server)?;
    writeln!(text, "{}. Revision {}, load {}.", machine.tools.join(", "), machine.revision, machine.load)?;

    if report.contestants.iter().any(|row| !row.drained.is_empty() || row.failures.keys().any(|cell| cell != "latency"))
    {
        writeln!(text, "\n## Empty jobs per second\n")?;
        writeln!(
            text,
            "{} jobs, enqueued and then drained by workers of concurrency {}; medians of {} runs.\n",
            plan.jobs, plan.concurrency, plan.runs
        )?;
        writeln!(text, "| queue | enqueued | 1 worker | 8 workers |\n|---|--:|--:|--:|")?;
        for row in report.contestants.iter().filter(|row| !row.drained.is_empty() || !row.failures.is_empty()) {
            throughput(text, row)?;
        }
        ratios(text, "first / best other with a lease per job", &report.with_leases)?;
        ratios(text, "first / best other of all", &report.with_all)?;
    }

    if report.contestants.iter().any(|row| !row.latency.is_empty()) {
        writeln!(text, "\n## From push to start, ms\n")?;
        writeln!(
            text,
            "One idle worker, {} single jobs a second, {} in each of {} runs.\n",
            plan.rate, plan.pushes, plan.runs
        )?;
        writeln!(text, "| queue | p50 | p99 | max |\n|---|--:|--:|--:|")?;
        for row in &report.contestants {
            latency(text, row)?;
        }
    }

    writeln!(text, "\n## Settings\n\n| queue | version | language | settings |\n|---|---|---|---|")?;
    for row in &report.contestants {
        let fewer = row.jobs_max.map(|most| format!("; {most} jobs, it cannot do with more")).unwrap_or_default();
        writeln!(text, "| {} | {} | {} | {}{fewer} |", row.name, row.version, row.language, row.settings)?;
    }
    Ok(())
}

fn throughput(text: &mut String, row: &Row) -> std::fmt::Result {
    let enqueued = median(row.enqueued.iter().copied()).map_or_else(|| "–".to_owned(), |rate| format!("{rate:.0}"));
    write!(text, "| {} | {enqueued} |", row.name)?;
    for workers in WORKERS {
        let rates = row.drained.get(&workers).into_iter().flatten().copied();
        match (row.failures.get(&Cell::Drain(workers).to_string()), median(rates)) {
            (Some(why), _) => write!(text, " {why} |")?,
            (None, Some(rate)) => write!(text, " {rate:.0} |")?,
            (None, None) => write!(text, " – |")?,
        }
    }
    writeln!(text)
}

fn ratios(text: &mut String, name: &str, ratios: &Ratios) -> std::fmt::Result {
    write!(text, "| {name} | {} |", times(ratios.enqueued.as_ref()))?;
    for workers in WORKERS {
        write!(text, " {} |", times(ratios.drained.get(&workers)))?;
    }
    writeln!(text)
}

fn latency(text: &mut String, row: &Row) -> std::fmt::Result {
    if let Some(why) = row.failures.get(&Cell::Latency.to_string()) {
        return writeln!(text, "| {} | {why} | | |", row.name);
    }
    let at = |share| row.latency_at(share).map_or_else(|| "–".to_owned(), |micros| format!("{:.2}", micros / 1e3));
    writeln!(text, "| {} | {} | {} | {} |", row.name, at(0.5), at(0.99), at(1.0))
}

fn times(ratio: Option<&Ratio>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("**{:.2}** ({})", ratio.times, ratio.best))
}
