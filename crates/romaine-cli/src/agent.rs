//! `romaine agent`: an edge server's side.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use romaine::{Backoff, Client, Config, Liveness};
use romaine_edge::agent::{END_LIMIT, Repeat, Settings, frugal_liveness};
use romaine_edge::{EdgeId, Labels, Probe, Unit, acl_rule, parse_backoff, parse_span, systemd_unit};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Failure, Outcome};
use crate::out::{self, say};

/// What `romaine agent` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = HANDLER)]
pub(crate) struct Args {
    /// Where the hub is, as a URL. Give one with a password as ROMAINE_HUB: arguments are seen by everybody.
    #[arg(long, env = "ROMAINE_HUB", hide_env_values = true, required_unless_present_any = ["print_acl", "print_systemd"])]
    hub: Option<String>,
    /// This edge's id: its queue, its keys and its rights at the hub go by it. One agent at a time may use it.
    #[arg(long)]
    id: EdgeId,
    /// The command that runs a job, for /bin/sh. See below.
    #[arg(long, value_name = "CMD", required_unless_present = "print_acl")]
    exec: Option<String>,
    /// What this edge is known by, as in region=kr,rack=3.
    #[arg(long, default_value = "")]
    labels: Labels,
    /// The ledger's file: what was begun, how it ended, what the hub was not told yet. Default: ID.ledger in
    /// $STATE_DIRECTORY (systemd), or in the current directory.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// How long a handler may take; then it and all it started are ended.
    #[arg(long, default_value = "10m", value_parser = parse_span)]
    timeout: Duration,
    /// A health check: command:CMD, http://host:port/path, docker:/run/docker.sock, podman:/run/podman/podman.sock. May be
    /// given more than once.
    #[arg(long, value_name = "CHECK")]
    health: Vec<Probe>,
    /// How often health is looked at.
    #[arg(long, default_value = "30s", value_parser = parse_span)]
    health_every: Duration,
    /// How long one look may take.
    #[arg(long, default_value = "10s", value_parser = parse_span)]
    health_limit: Duration,
    /// How long what was deployed may take to become healthy.
    #[arg(long, default_value = "2m", value_parser = parse_span)]
    settle: Duration,
    /// The delay before dialling the hub again: constant:5s, linear:1s+2s..1m, exponential:1m..3h, full-jitter:…,
    /// equal-jitter:…, decorrelated-jitter:….
    #[arg(long, default_value = "full-jitter:500ms..30s", value_parser = parse_backoff)]
    backoff: Backoff,
    /// Jobs at the same time. Deployments are one at a time in any case.
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// How soon a dead connection is noticed. Sooner costs the hub more: an idle edge sends between five and six commands a
    /// minute when frugal, and many times as many when normal.
    #[arg(long, value_enum, default_value_t = LivenessArg::Frugal)]
    liveness: LivenessArg,
    /// How often the hub is given a sign of life.
    #[arg(long, default_value = "30s", value_parser = parse_span)]
    heartbeat: Duration,
    /// How long a job stays this agent's without a sign of life.
    #[arg(long, default_value = "60s", value_parser = parse_span)]
    lease: Duration,
    /// How long handlers may go on when the agent is told to end.
    #[arg(long, default_value = "30s", value_parser = parse_span)]
    grace: Duration,
    /// Which jobs are run again after a crash in the middle, or after they failed.
    #[arg(long, value_enum, default_value_t = RepeatArg::Idempotent)]
    repeat: RepeatArg,
    /// Print a systemd unit for these arguments, and do nothing.
    #[arg(long)]
    print_systemd: bool,
    /// Print the ACL rule that lets this edge do its work at the hub and nothing else, and do nothing.
    #[arg(long)]
    print_acl: bool,
    /// The user in that rule. Default: the id.
    #[arg(long, requires = "print_acl")]
    user: Option<String>,
}

const HANDLER: &str = "The handler reads the job as JSON on its standard input: id, kind, payload, attempt, token, edge. \
    ROMAINE_JOB, ROMAINE_KIND, ROMAINE_EDGE, ROMAINE_TOKEN, and for deployments ROMAINE_IMAGE and ROMAINE_GENERATION are in \
    its environment. It ends with 0: done; 75: run me again later; 126 or 127 while the command that --exec begins with is not \
    there or not executable: the job is kept, and tried again; anything else: failed.\n\nExit status: 0 told to end, \
    2 settings, 4 refused by the hub (password, permissions, an id in use), 5 the ledger or another internal error. A hub \
    that is away is waited for.";

/// How long the client's connections may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LivenessArg {
    /// Within 2 s.
    Fast,
    /// Within 10 s.
    Normal,
    /// Within 60 s; within 25 s where the kernel can tell.
    Frugal,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum RepeatArg {
    /// None.
    Never,
    /// Deployments, and jobs whose payload says "idempotent": true.
    Idempotent,
    /// All.
    Always,
}

/// Runs the agent, or prints what is asked for.
pub(crate) async fn run(args: &Args) -> Outcome {
    if args.print_acl {
        let user = args.user.clone().unwrap_or_else(|| args.id.to_string());
        say!("{}", acl_rule(&args.id, &user).await.map_err(Failure::edge)?);
        return Ok(true);
    }
    let settings = settings(args);
    if args.print_systemd {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let stop = args.grace + END_LIMIT + CLOSE_LIMIT;
        let unit = Unit { id: args.id.clone(), program, arguments: own_arguments(), stop_s: stop.as_secs() };
        out::text(format_args!("{}", systemd_unit(&unit)));
        return Ok(true);
    }
    settings.check().map_err(Failure::edge)?;
    let hub = args.hub.as_deref().unwrap_or_default();
    let config = Config::from_url(hub).map_err(Failure::client)?.lazy().backoff(args.backoff.clone());
    let config = config.liveness(match args.liveness {
        LivenessArg::Fast => Liveness::fast(),
        LivenessArg::Normal => Liveness::default(),
        LivenessArg::Frugal => frugal_liveness(),
    });
    let config = config.client_name(format!("romaine-agent:{}", args.id)).map_err(Failure::client)?;
    log();
    let mut end = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let client = Client::connect(config).await.map_err(Failure::client)?;
    let stop = async {
        tokio::select! {
            _told = end.recv() => {}
            _told = interrupt.recv() => {}
        }
    };
    let outcome = romaine_edge::agent::run(&client, settings, stop).await;
    client.close().await;
    outcome.map(|()| true).map_err(Failure::edge)
}

fn settings(args: &Args) -> Settings {
    let ledger = args.ledger.clone().unwrap_or_else(|| {
        let dir = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from).unwrap_or_default();
        dir.join(format!("{}.ledger", args.id))
    });
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    Settings {
        id: args.id.clone(),
        labels: args.labels.clone(),
        command: args.exec.clone().unwrap_or_default(),
        ledger,
        timeout: args.timeout,
        concurrency: args.concurrency,
        heartbeat: args.heartbeat,
        lease: args.lease,
        grace: args.grace,
        repeat: match args.repeat {
            RepeatArg::Never => Repeat::Never,
            RepeatArg::Idempotent => Repeat::Idempotent,
            RepeatArg::Always => Repeat::Always,
        },
        probes: args.health.clone(),
        health_every: args.health_every,
        health_limit: args.health_limit,
        settle: args.settle,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host,
    }
}

/// As they were given, without what a unit must not have: the hub's address, and the wish for a unit.
fn own_arguments() -> Vec<String> {
    let mut kept = Vec::new();
    let mut given = std::env::args().skip(2);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--hub" => drop(given.next()),
            "--print-systemd" => {}
            hub if hub.starts_with("--hub=") => {}
            _ => kept.push(argument),
        }
    }
    kept
}

fn log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // A log that cannot be written would be told of on the same closed pipe: that panics, in the middle of a job.
        .log_internal_errors(false)
        .init();
}
