//! A network of its own for a server, so that the kernel can lose packets: no reset, no end of file, nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Output, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::claim::Claim;
use crate::watchdog::Watchdog;

/// The /30 subnets of 10.213.0.0/16.
const SUBNETS: std::ops::Range<u16> = 0..16_384;

/// Which packets are lost, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropDirection {
    /// All of them.
    Both,
    /// What the client sends; what the server sends arrives.
    ToServer,
    /// What the server sends; what the client sends arrives.
    ToClient,
}

/// A network namespace joined to ours by a virtual cable with a private subnet. Goes away, cable and all, with its last
/// clone (a [`Server`](crate::Server) inside holds one).
#[derive(Debug, Clone)]
pub struct Namespace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    claim: Claim,
    tool: FilterTool,
    _watchdog: Watchdog,
}

/// What loses packets here.
#[derive(Debug, Clone, Copy)]
enum FilterTool {
    Nft,
    Iptables,
}

/// The end of the cable at which packets are lost. Always the receiving one: a packet dropped where it is *sent* comes
/// back to the sender's TCP as a local error, and that TCP then behaves otherwise than under loss.
#[derive(Debug, Clone, Copy)]
enum End {
    Outside,
    Inside,
}

impl Namespace {
    /// Whether namespaces can be made here: tried, not guessed. A test prints the reason and returns:
    ///
    /// ```no_run
    /// # async fn test() -> anyhow::Result<()> {
    /// use romaine_faultlab::Namespace;
    /// if let Err(reason) = Namespace::available().await {
    ///     eprintln!("skipped: needs a network namespace: {reason}");
    ///     return Ok(());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The reason why not: not root, a tool is missing, or what the tool said. `cargo xtask test` counts a test that asked
    /// in vain as skipped.
    pub async fn available() -> Result<(), String> {
        let probed = Self::probe().await;
        if let Err(reason) = &probed {
            note_skipped(&format!("needs a network namespace: {reason}"));
        }
        probed
    }

    /// The same for those who are no test that is now going to be skipped.
    pub(crate) async fn probe() -> Result<(), String> {
        let probe = async {
            let namespace = Self::create().await?;
            namespace.drop_packets(DropDirection::Both).await?;
            namespace.heal().await
        };
        probe.await.map_err(|error| format!("{error:#}"))
    }

    /// Makes the namespace and its cable.
    ///
    /// # Errors
    ///
    /// See [`Namespace::available`].
    pub async fn create() -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("not root");
        }
        run(&["ip", "-Version"]).await?;
        let tool = if run(&["nft", "--version"]).await.is_ok() {
            FilterTool::Nft
        } else if run(&["iptables", "--version"]).await.is_ok() {
            FilterTool::Iptables
        } else {
            bail!("neither nft nor iptables is installed");
        };
        let mut last_error = None;
        // Something else may use an address or a name of ours, say after a change of the lock directory.
        for _ in 0..5 {
            let claim = Claim::any("subnet", SUBNETS, |_| true)?;
            let watchdog = Watchdog::start(CLEAN_UP, &clean_up_arguments(claim.number, tool))?;
            let namespace = Self { inner: Arc::new(Inner { claim, tool, _watchdog: watchdog }) };
            match namespace.set_up().await {
                Ok(()) => return Ok(namespace),
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.context("no attempt was made")?)
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        let name = self.name();
        let (outside, inside) = (outer(self.inner.claim.number), inner(self.inner.claim.number));
        let [client, server] = [format!("{}/30", self.client_ip()), format!("{}/30", self.ip())];
        if !run(&["ip", "-o", "addr", "show", "to", &client]).await?.stdout.is_empty() {
            bail!("{client} is already in use");
        }
        let steps: [&[&str]; 7] = [
            &["ip", "netns", "add", &name],
            &["ip", "link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", &name],
            &["ip", "addr", "add", &client, "dev", &outside],
            &["ip", "link", "set", &outside, "up"],
            &["ip", "-n", &name, "addr", "add", &server, "dev", &inside],
            &["ip", "-n", &name, "link", "set", &inside, "up"],
            &["ip", "-n", &name, "link", "set", "lo", "up"],
        ];
        for step in steps {
            run(step).await?;
        }
        Ok(())
    }

    /// The namespace's name, for `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("romaine-lab-{}", self.inner.claim.number)
    }

    /// The address inside, at which a server is reached.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        IpAddr::V4(subnet_ip(self.inner.claim.number, 2))
    }

    /// Our own address on the cable, which the server sees.
    #[must_use]
    pub fn client_ip(&self) -> IpAddr {
        IpAddr::V4(subnet_ip(self.inner.claim.number, 1))
    }

    /// Loses all packets of that direction from now on, in place of what was lost before. Neighbour discovery keeps
    /// working: to both sides this looks like a silent peer, never like an unreachable one.
    ///
    /// # Errors
    ///
    /// When the packet filter refuses.
    pub async fn drop_packets(&self, direction: DropDirection) -> anyhow::Result<()> {
        self.heal().await?;
        match direction {
            DropDirection::ToServer => self.block(End::Inside).await,
            DropDirection::ToClient => self.block(End::Outside).await,
            DropDirection::Both => {
                self.block(End::Inside).await?;
                self.block(End::Outside).await
            }
        }
    }

    /// Lets all packets through again.
    ///
    /// # Errors
    ///
    /// When the packet filter refuses.
    pub async fn heal(&self) -> anyhow::Result<()> {
        for end in [End::Inside, End::Outside] {
            match self.inner.tool {
                // Declared first, so that deleting it succeeds whether it was there or not.
                FilterTool::Nft => {
                    let table = table(self.inner.claim.number);
                    let script = format!("add table ip {table}; delete table ip {table}");
                    self.run_at(end, &["nft", &script]).await?;
                }
                FilterTool::Iptables => {
                    let rule = self.iptables_rule(end);
                    while self.run_at(end, &rule.command("-C")).await.is_ok() {
                        self.run_at(end, &rule.command("-D")).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn block(&self, end: End) -> anyhow::Result<()> {
        match self.inner.tool {
            FilterTool::Nft => {
                let table = table(self.inner.claim.number);
                let device = self.device(end);
                let script = format!(
                    "add table ip {table}; \
                     add chain ip {table} arriving {{ type filter hook prerouting priority -300; }}; \
                     add rule ip {table} arriving iifname \"{device}\" drop"
                );
                self.run_at(end, &["nft", &script]).await
            }
            FilterTool::Iptables => self.run_at(end, &self.iptables_rule(end).command("-I")).await,
        }
    }

    async fn run_at(&self, end: End, command: &[&str]) -> anyhow::Result<()> {
        let name = self.name();
        let words = match end {
            End::Outside => command.to_vec(),
            End::Inside => [&["ip", "netns", "exec", &name], command].concat(),
        };
        run(&words).await.map(drop)
    }

    fn device(&self, end: End) -> String {
        match end {
            End::Outside => outer(self.inner.claim.number),
            End::Inside => inner(self.inner.claim.number),
        }
    }

    fn iptables_rule(&self, end: End) -> IptablesRule {
        IptablesRule { device: self.device(end) }
    }
}

struct IptablesRule {
    device: String,
}

impl IptablesRule {
    fn command(&self, verb: &'static str) -> [&str; 10] {
        ["iptables", "-w", "-t", "raw", verb, "PREROUTING", "-i", &self.device, "-j", "DROP"]
    }
}

/// Deletes namespace `$1`, cable `$2`, and the rules at our end made with tool `$3`.
const CLEAN_UP: &str = r#"
ip netns del "$1"
ip link del "$2"
case "$3" in
    nft) nft delete table ip "romaine_lab_${1##*-}" ;;
    iptables) while iptables -w -t raw -D PREROUTING -i "$2" -j DROP; do :; done ;;
esac
"#;

fn clean_up_arguments(number: u16, tool: FilterTool) -> [String; 3] {
    let tool = match tool {
        FilterTool::Nft => "nft",
        FilterTool::Iptables => "iptables",
    };
    [format!("romaine-lab-{number}"), outer(number), tool.to_owned()]
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", CLEAN_UP, "faultlab"]).args(clean_up_arguments(self.claim.number, self.tool));
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Nobody to tell: a later run with the same number meets the leftovers and takes another.
        let _ = shell.status();
    }
}

/// Interface names have at most 15 characters.
fn outer(number: u16) -> String {
    format!("rlab{number}o")
}

fn inner(number: u16) -> String {
    format!("rlab{number}i")
}

fn table(number: u16) -> String {
    format!("romaine_lab_{number}")
}

fn subnet_ip(number: u16, host: u32) -> Ipv4Addr {
    let base = u32::from(Ipv4Addr::new(10, 213, 0, 0));
    Ipv4Addr::from(base + u32::from(number) * 4 + host)
}

/// Notes that the test of this thread is skipped, in the file that `cargo xtask test` names: a skipped test looks like a
/// passed one to the test runner, and its output is not shown.
fn note_skipped(reason: &str) {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("ROMAINE_SKIPPED") else { return };
    let program = std::env::current_exe().ok();
    let stem = program.as_deref().and_then(std::path::Path::file_stem).unwrap_or_default().to_string_lossy();
    // Without the hash that cargo appends.
    let binary = stem.rsplit_once('-').map_or(&*stem, |(name, _)| name);
    let thread = std::thread::current();
    let line = format!("{binary}: {}\t{}\n", thread.name().unwrap_or("?"), reason.replace('\n', " "));
    let file = std::fs::File::options().create(true).append(true).open(path);
    // It is a courtesy to whoever reads the summary.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

async fn run(words: &[&str]) -> anyhow::Result<Output> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}
