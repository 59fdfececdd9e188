//! Ten thousand blocked edges on one server: simulated agents in this process, two connections each as far as the limit of
//! open files goes.

use std::time::Duration;

use anyhow::Result;
use romaine_faultlab::eventually;
use romaine_queue::{Failure, Job};
use serde_json::json;

use crate::report::Report;
use crate::{edge, hub, process};

/// The agent's: one for what it says and asks, one that waits for the bell.
const CONNECTIONS: usize = 2;

/// Edges that are started before anything is weighed: the runtime's and the allocator's own memory is not an edge's.
const FIRST: usize = 100;

/// Files that a server keeps for itself (32), and ours beside the edges' connections.
const SPARE: u64 = 64;

/// Longer than they may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The goal: memory of this process per connection.
const MOST: f64 = 8.0 * 1024.0;

pub(crate) async fn measure(is_quick: bool, wanted: usize, report: &mut Report) -> Result<()> {
    let files = usize::try_from(process::open_files().saturating_sub(SPARE)).unwrap_or(usize::MAX);
    // Where there are too few files, some edges speak over a neighbour's connection; all wait at a bell of their own.
    let whole = files.saturating_sub(wanted).clamp(files / 3, files / CONNECTIONS).min(wanted).max(FIRST + 1);
    let beside = wanted.saturating_sub(whole).min(files.saturating_sub(whole * CONNECTIONS)).min(whole - FIRST);
    let count = whole + beside;
    let server = hub::start(whole * CONNECTIONS + beside + 16).await?;
    let empty = hub::sample(&server).await?;
    let handler = |_job: Job| std::future::ready(Ok::<_, Failure>(()));
    let first = edge::start(&server.url(), 0..FIRST, handler).await?;
    let ours_before = process::resident(None)?;
    let others = edge::start(&server.url(), FIRST..whole, handler).await?;
    let neighbours = others.start_beside(whole..count, handler).await?;
    // The server gives the buffers of new connections back within seconds; heartbeats and looks take their turns.
    tokio::time::sleep(Duration::from_secs(if is_quick { 10 } else { 60 })).await;
    let (before, processor_before) = (hub::sample(&server).await?, process::processor()?);
    tokio::time::sleep(Duration::from_secs(if is_quick { 15 } else { 120 })).await;
    let (after, processor_after) = (hub::sample(&server).await?, process::processor()?);
    let ours_after = process::resident(None)?;
    let between = before.until(&after);
    let connections = after.connected.saturating_sub(1);
    let weighed = crate::number(u64::try_from((whole - FIRST) * CONNECTIONS + beside)?);
    let each = crate::number(ours_after.saturating_sub(ours_before)) / weighed;
    let per_client = crate::number(after.memory.saturating_sub(empty.memory)) / crate::number(connections.max(1));
    // Those beside them have the same connections.
    let reconnects = first.reconnects() + others.reconnects();
    let server_resident = process::resident(server.pid())?;
    let details = json!({
        "edges": count, "edges_wanted": wanted, "open_files_limit": process::open_files(),
        "connections": connections, "connections_per_edge": CONNECTIONS, "edges_with_one": beside, "blocked": after.blocked,
        "client_bytes_per_connection": each, "client_resident": ours_after, "lost_connections": reconnects,
        "server_used_memory": after.memory, "server_used_memory_empty": empty.memory,
        "server_resident": server_resident, "server_bytes_per_connection": per_client,
        "server_processor": between.processor, "sent_per_second": between.sent_per_second(),
        "inside_scripts_per_second": between.inside,
        "client_processor": (processor_after - processor_before) / between.seconds,
    });
    let limited = match beside {
        _ if count < wanted => " (all that the limit of open files admits)".to_owned(),
        0 => String::new(),
        _ => format!(
            " ({beside} of them speak over a neighbour's connection: the limit of open files is {})",
            process::open_files()
        ),
    };
    report.goal(
        "agent-side memory per connection",
        "under 8 KiB",
        format!("{:.1} KiB; an edge has {CONNECTIONS} connections, {:.1} KiB in all", each / 1024.0, each / 512.0),
        each < MOST,
        details.clone(),
    );
    report.goal(
        "edges blocked on one server",
        &format!("{wanted}"),
        // A few are on their way back to the bell at any moment.
        format!(
            "{count} edges, {} blocked in that instant, {connections} connections, {reconnects} lost{limited}",
            after.blocked
        ),
        count >= wanted && reconnects == 0 && after.blocked * 100 >= u64::try_from(count * 99)?,
        details.clone(),
    );
    let mib = crate::number(after.memory) / 1_048_576.0;
    report.note(
        "the server meanwhile",
        format!(
            "{:.1} % of a processor, {mib:.0} MiB used ({:.1} KiB per connection), {:.0} commands/s sent, {:.0}/s inside scripts",
            between.processor * 100.0,
            per_client / 1024.0,
            between.sent_per_second(),
            between.inside
        ),
        details,
    );
    drop((first, others, neighbours));
    // The next figure needs the files. So does the question whether they are free.
    let are_gone = async || hub::sample(&server).await.is_ok_and(|sample| sample.connected <= 1);
    eventually(PATIENCE, "the edges' connections to end", are_gone).await
}
