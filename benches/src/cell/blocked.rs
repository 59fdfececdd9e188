//! Many connections that each wait in `BRPOP key 0`: what one of them costs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use crate::{address::Address, admin::Admin, data, peer::Block, sample::Sample, usage};

/// Connections that are being set up at the same time.
const OPENING_AT_ONCE: usize = 64;
/// All must be blocked within this time.
const BLOCKED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Opens them, waits until the server says that all are blocked, and reads memory and processor time.
pub(super) async fn measure<B: Block>(address: &Address, connections: usize, settle: Duration) -> Result<Sample> {
    let mut admin = Admin::connect(address)?;
    let (rss_before, cpu_before) = (usage::own_status("VmRSS")?, usage::own_cpu()?);
    let started = Instant::now();

    let permits = Arc::new(Semaphore::new(OPENING_AT_ONCE));
    let mut waiting = JoinSet::new();
    for _ in 0..connections {
        waiting.spawn(wait_in_brpop::<B>(address.clone(), Arc::clone(&permits)));
    }
    while admin.blocked_clients()? < connections {
        if let Some(ended) = waiting.try_join_next() {
            ended.context("a connection panicked")??;
            bail!("BRPOP 0 returned");
        }
        ensure!(started.elapsed() < BLOCKED_WITHIN, "{} of {connections} blocked", admin.blocked_clients()?);
        sleep(POLL).await;
    }
    let (setup, setup_cpu) = (started.elapsed(), usage::own_cpu()?.saturating_sub(cpu_before));

    sleep(settle).await;
    ensure!(admin.blocked_clients()? == connections, "some connections did not stay blocked");
    let per_connection = 1.0 / connections as f64;
    Ok(Sample {
        rss_kib_per_connection: Some((usage::own_status("VmRSS")? - rss_before) * per_connection),
        setup_cpu_us: Some(setup_cpu.as_secs_f64() * 1e6 * per_connection),
        setup_s: Some(setup.as_secs_f64()),
        threads: Some(usage::own_status("Threads")?),
        ..Sample::default()
    })
}

async fn wait_in_brpop<B: Block>(address: Address, permits: Arc<Semaphore>) -> Result<()> {
    let permit = permits.acquire_owned().await?;
    let lane = B::open_lane(&address).await?;
    drop(permit);
    B::brpop(lane, data::LIST_KEY).await
}
