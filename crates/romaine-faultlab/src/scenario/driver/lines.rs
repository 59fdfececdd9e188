//! The driver's end of the line protocol.

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::scenario::protocol::{Control, Seen};

/// Drives romaine by what comes on standard input: the order, then the controls, each one line of JSON. Observations go to
/// standard output. Ends with [`Control::Stop`] or the end of the input.
///
/// # Errors
///
/// When a line is not what it should be, or the first connection cannot be made.
pub async fn serve_lines() -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let order = lines.next_line().await?.context("no order came")?;
    let order = serde_json::from_str(&order).context("the order is not understood")?;
    let (tell, controls) = mpsc::channel(16);
    let (witness, seen) = mpsc::channel(4_096);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(control) = serde_json::from_str::<Control>(&line) else { break };
            if tell.send(control).await.is_err() {
                break;
            }
        }
    });
    let mut writing = JoinSet::new();
    writing.spawn(write(seen));
    super::drive(order, controls, witness).await?;
    // All observations are written before the end.
    while let Some(written) = writing.join_next().await {
        written??;
    }
    // Standard input cannot be cancelled: a blocked read would hold the process. What is left is nobody's.
    std::process::exit(0)
}

async fn write(mut seen: mpsc::Receiver<Seen>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(tokio::io::stdout());
    while let Some(observation) = seen.recv().await {
        let mut line = serde_json::to_vec(&observation)?;
        line.push(b'\n');
        out.write_all(&line).await?;
        if seen.is_empty() {
            out.flush().await?;
        }
    }
    out.flush().await?;
    Ok(())
}
