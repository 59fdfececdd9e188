//! The figures as tables for a page.

use std::fmt::Write as _;

use super::{
    contestant::Contestant,
    report::{CellReport, Entry, Report},
};
use crate::sample::Sample;

/// Renders everything.
pub(super) fn render(report: &Report) -> String {
    let mut page = String::new();
    conditions(&mut page, report);
    for (runtime, transport) in settings(report) {
        let cells = |figure: fn(&Sample) -> Option<f64>| -> Vec<&CellReport> {
            let chosen = report.cells.iter().filter(|cell| (cell.runtime, cell.transport) == (runtime, transport));
            chosen.filter(|cell| cell.entries.iter().any(|entry| figure(&entry.median).is_some())).collect()
        };
        let (speed, slow_shard) = (cells(|median| median.ops_per_s), cells(|median| median.before_ops_per_s));
        let name = if runtime == "ct" { "current_thread" } else { "multi_thread, 2 workers" };
        if !speed.is_empty() || !slow_shard.is_empty() {
            let _ = write!(page, "\n## {name}, {transport}\n");
            speed_tables(&mut page, &speed);
            slow_shard_tables(&mut page, &slow_shard);
        }
    }
    topic_table(&mut page, report, "allocs", "Allocations per command (bytes allocated per command)", |median| {
        Some(format!("{:.1} ({:.0})", median.allocations_per_op?, median.allocated_bytes_per_op?))
    });
    let blocked = "Connections blocked in BRPOP: resident memory per connection · processor time to set one up · time until all blocked · threads";
    topic_table(&mut page, report, "blocked", blocked, |median| {
        let (rss, cpu) = (median.rss_kib_per_connection?, median.setup_cpu_us?);
        Some(format!("{rss:.1} KiB · {cpu:.0} µs · {:.2} s · {:.0}", median.setup_s?, median.threads?))
    });
    errors(&mut page, report);
    page
}

/// The chief figure of a cell, short enough for a terminal.
pub(super) fn brief(median: &Sample) -> String {
    let speed = median.ops_per_s.zip(median.cpu_us_per_op).map(|(ops, cpu)| format!("{} {} µs", rate(ops), time(cpu)));
    let allocations = || median.allocations_per_op.map(|calls| format!("{calls:.1} allocations"));
    let memory = || median.rss_kib_per_connection.map(|rss| format!("{rss:.1} KiB"));
    let slow_shard = || {
        let (p99, ops) = (median.frozen_p99_ratio?, median.frozen_ops_ratio?);
        Some(format!("p99 ×{p99:.2} calls/s ×{ops:.2}"))
    };
    speed.or_else(slow_shard).or_else(allocations).or_else(memory).unwrap_or_else(|| "-".to_owned())
}

fn conditions(page: &mut String, report: &Report) {
    let machine = &report.machine;
    let _ = write!(
        page,
        "# Comparison of {}\n\n`{}`\n\n{} ({} cpus), {}, load {} at the start; {}, {}, {}; revision {}.\n\
         Medians of {} runs, {} ms each after {} ms of warm-up; every run in a process of its own, all contestants in turn, \
         every second time in reverse. The whole took {:.0} s. Ratios are taken run by run, then their median. \
         The best rival is the client other than romaine with the best median that lost nothing and failed nowhere. {}\n",
        machine.date,
        machine.command,
        machine.cpu,
        machine.cpus,
        machine.kernel,
        machine.load,
        machine.server,
        machine.rustc,
        machine.tokio,
        machine.revision,
        report.runs,
        report.window_ms,
        report.warm_up_ms,
        report.seconds,
        if report.cells.iter().all(|cell| cell.transport == "cluster") { OF_A_CLUSTER } else { OF_THE_REFERENCE },
    );
}

const OF_THE_REFERENCE: &str = "The reference is redis-benchmark with one connection and as deep a pipeline; of pubsub and \
                                blocked it is a bare socket.";
const OF_A_CLUSTER: &str = "Of slow-shard, half of the callers go through the keys of the primary that is frozen (SIGSTOP), the \
                            others, which are measured, through all other keys; its p99 counts the calls that a waiting \
                            caller would have made meanwhile, and calls that had not ended.";

/// Runtimes and transports, each pair once, in order.
fn settings(report: &Report) -> Vec<(&'static str, &'static str)> {
    let mut settings = Vec::new();
    for cell in &report.cells {
        let setting = (cell.runtime, cell.transport);
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    settings
}

fn speed_tables(page: &mut String, cells: &[&CellReport]) {
    let title = if has_reference(cells) { "operations/s (ratio to the reference)" } else { "operations/s" };
    table(page, title, cells, |entry| {
        let ops = rate(entry.median.ops_per_s?);
        let ratio = entry.ratios.ops_to_reference.filter(|_| !entry.contestant.is_reference());
        let lost =
            entry.runs.iter().flatten().filter_map(|sample| sample.lost).reduce(f64::max).filter(|lost| *lost > 0.0);
        let ratio = ratio.map(|ratio| format!(" ({ratio:.2})")).unwrap_or_default();
        Some(format!("{ops}{ratio}{}", lost.map(|lost| format!(", lost up to {lost:.0}")).unwrap_or_default()))
    });
    table(page, "operations/s over those of the best rival", cells, |entry| {
        entry.ratios.ops_to_fastest_rival.map(|ratio| format!("{ratio:.2}"))
    });
    table(page, "client's processor time per operation, µs (ratio to the best rival)", cells, |entry| {
        let ratio = entry.ratios.cpu_to_leanest_rival.map(|ratio| format!(" ({ratio:.2})")).unwrap_or_default();
        Some(format!("{}{ratio}", time(entry.median.cpu_us_per_op?)))
    });
    table(page, "latency p50 / p99, µs", cells, |entry| {
        Some(format!("{} / {}", time(entry.median.p50_us?), time(entry.median.p99_us?)))
    });
}

fn slow_shard_tables(page: &mut String, cells: &[&CellReport]) {
    let ms = cells.iter().find_map(|cell| cell.frozen_ms).unwrap_or_default();
    let windows = format!("{ms} ms before, {ms} ms with one primary frozen");
    let latency = "p99 of calls to the other primaries, µs, before → while frozen (ratio) · longest call while frozen";
    table(page, &format!("{windows}: {latency}"), cells, |entry| {
        let (before, frozen) = (entry.median.before_p99_us?, entry.median.frozen_p99_us?);
        let (ratio, longest) = (entry.median.frozen_p99_ratio?, entry.median.frozen_longest_us?);
        Some(format!("{} → {} ({ratio:.2}) · {}", time(before), time(frozen), time(longest)))
    });
    let throughput = "calls/s to the other primaries, before → while frozen (ratio) · failed while frozen · calls to the \
                      frozen one given up";
    table(page, &format!("{windows}: {throughput}"), cells, |entry| {
        let (before, frozen) = (entry.median.before_ops_per_s?, entry.median.frozen_ops_per_s?);
        let (ratio, failed) = (entry.median.frozen_ops_ratio?, entry.median.frozen_failed?);
        let given_up = entry.median.frozen_given_up?;
        Some(format!("{} → {} ({ratio:.2}) · {failed:.0} · {given_up:.0}", rate(before), rate(frozen)))
    });
}

fn topic_table(
    page: &mut String,
    report: &Report,
    topic: &str,
    title: &str,
    figure: impl Fn(&Sample) -> Option<String>,
) {
    let cells: Vec<&CellReport> = report.cells.iter().filter(|cell| cell.topic == topic).collect();
    if let Some(cell) = cells.first() {
        let _ = write!(page, "\n## {topic}, {}, {}\n", cell.runtime, cell.transport);
        table(page, title, &cells, |entry| figure(&entry.median));
    }
}

/// One table: a row for each cell, a column for each contestant that appears in any, the references merged into one column.
fn table(page: &mut String, title: &str, cells: &[&CellReport], figure: impl Fn(&Entry) -> Option<String>) {
    let mut columns: Vec<Contestant> = Vec::new();
    for entry in cells.iter().flat_map(|cell| &cell.entries) {
        if !columns.contains(&entry.contestant) && !entry.contestant.is_reference() {
            columns.push(entry.contestant);
        }
    }
    let rows: Vec<Vec<String>> = cells.iter().map(|cell| row(cell, &columns, has_reference(cells), &figure)).collect();
    if rows.iter().all(|row| row.iter().all(|value| value == NOTHING)) {
        return;
    }
    let reference = if has_reference(cells) { " reference |" } else { "" };
    let _ = write!(page, "\n{title}\n\n| cell |{reference}");
    for column in &columns {
        let _ = write!(page, " {} |", column.label());
    }
    let _ = write!(page, "\n|---|{}\n", "---|".repeat(rows.first().map_or(0, Vec::len)));
    for (cell, row) in cells.iter().zip(rows) {
        let _ = writeln!(page, "| {} | {} |", cell.title(), row.join(" | "));
    }
}

fn has_reference(cells: &[&CellReport]) -> bool {
    cells.iter().flat_map(|cell| &cell.entries).any(|entry| entry.contestant.is_reference())
}

const NOTHING: &str = "-";

fn row(
    cell: &CellReport,
    columns: &[Contestant],
    has_reference: bool,
    figure: impl Fn(&Entry) -> Option<String>,
) -> Vec<String> {
    let text = |entry: Option<&Entry>| entry.and_then(&figure).unwrap_or_else(|| NOTHING.to_owned());
    let reference = cell.entries.iter().find(|entry| entry.contestant.is_reference());
    let clients = columns.iter().map(|column| cell.entries.iter().find(|entry| entry.contestant == *column));
    has_reference.then_some(reference).into_iter().chain(clients).map(text).collect()
}

fn errors(page: &mut String, report: &Report) {
    let mut heading = "\n## Failures\n\n";
    for cell in &report.cells {
        for entry in &cell.entries {
            for error in &entry.errors {
                let _ = writeln!(
                    page,
                    "{heading}- {} {} {}, {}: {error}",
                    cell.title(),
                    cell.runtime,
                    cell.transport,
                    entry.name
                );
                heading = "";
            }
        }
    }
}

fn rate(per_second: f64) -> String {
    match per_second {
        ops if ops >= 10_000.0 => format!("{:.0}k", ops / 1e3),
        ops if ops >= 1_000.0 => format!("{:.1}k", ops / 1e3),
        ops => format!("{ops:.0}"),
    }
}

fn time(microseconds: f64) -> String {
    match microseconds {
        us if us >= 100.0 => format!("{us:.0}"),
        us if us >= 10.0 => format!("{us:.1}"),
        us => format!("{us:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_two_or_three_significant_digits() {
        assert_eq!([rate(1_234_567.0), rate(4_321.0), rate(12.3)], ["1235k", "4.3k", "12"]);
        assert_eq!([time(0.134), time(12.34), time(1_234.5)], ["0.13", "12.3", "1234"]);
    }
}
