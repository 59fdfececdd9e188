//! `romaine drive`: the client under test as a process of its own.

use romaine_faultlab::scenario::serve_lines;

use crate::exit::Outcome;

/// Speaks the line protocol until it is told to stop.
pub(crate) async fn run() -> Outcome {
    serve_lines().await?;
    Ok(true)
}
