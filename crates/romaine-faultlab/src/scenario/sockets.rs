//! What the kernel says of a client's connections, so that a client that tells nothing is measured as one that does.
//!
//! A client that is idle, blocked or subscribed has noticed that its peer is gone when all the connections that it had are
//! known to be dead (closed by either side, or given up by keepalive: whoever uses one next fails at once), or when it dials
//! anew.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketType, getpeername, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tokio::task::JoinSet;

use super::moment::Moment;

/// How exactly it is known when.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The state of a TCP connection, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is known against it.
    Established,
    /// Being dialled.
    Dialled,
    /// Closed by one side or the other.
    Closing,
}

/// The connections of a process, by the number of the socket.
type Sockets = BTreeMap<u64, State>;

/// Looks at a process's connections until it is dropped.
#[derive(Debug)]
pub(crate) struct SocketWatch {
    noticed: Arc<OnceLock<Moment>>,
    _looking: JoinSet<()>,
}

impl SocketWatch {
    /// Of the process `pid` and its group, whose connections are well now.
    pub(crate) fn start(pid: u32) -> Self {
        let noticed = Arc::<OnceLock<Moment>>::default();
        let mut looking = JoinSet::new();
        let pids = group(pid);
        let before = sockets(&pids);
        looking.spawn(look_on(pids, before, noticed.clone()));
        Self { noticed, _looking: looking }
    }

    /// When it had noticed.
    pub(crate) fn noticed(&self) -> Option<Moment> {
        self.noticed.get().copied()
    }
}

async fn look_on(pids: Vec<u32>, before: Sockets, noticed: Arc<OnceLock<Moment>>) {
    while noticed.get().is_none() {
        tokio::time::sleep(LOOK_EVERY).await;
        if has_noticed(&before, &sockets(&pids)) {
            // Nobody else sets it.
            let _ = noticed.set(Moment::now());
        }
    }
}

/// Whether a process that had the connections `before` and has those `now` knows that they are dead.
fn has_noticed(before: &Sockets, now: &Sockets) -> bool {
    let is_well = |socket: &u64| now.get(socket) == Some(&State::Established);
    let was_well = || before.iter().filter(|(_, state)| **state == State::Established);
    let is_new = |(socket, state): (&u64, &State)| !before.contains_key(socket) && *state != State::Closing;
    now.iter().any(is_new) || (was_well().next().is_some() && !was_well().any(|(socket, _)| is_well(socket)))
}

/// The process and those of its group: a driver may be started by a script.
fn group(leader: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // pid (name) state ppid pgrp: a name may hold anything, so it is read from behind.
    let leads = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_ascii_whitespace().nth(2).and_then(|group| group.parse().ok()) == Some(leader)
    };
    pids.filter(leads).collect()
}

/// Each socket is asked itself. The kernel's table of all connections (`/proc/net/tcp`) says the same, but is read through
/// from its first bucket to its last: a dozen watches took more of the machine than the clients that they watched.
fn sockets(pids: &[u32]) -> Sockets {
    let mut all = Sockets::new();
    for pid in pids {
        let Some(id) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else { continue };
        // It may have ended.
        let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { continue };
        for file in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let number = file.file_name().to_str().and_then(|name| name.parse().ok());
            let Some((number, socket)) = number.zip(socket_number(&file.path())) else { continue };
            // Held for a moment only: what the client closes meanwhile is closed when this is.
            let Ok(held) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
            if let Some(state) = state_of(&held) {
                all.insert(socket, state);
            }
        }
    }
    all
}

fn socket_number(file: &Path) -> Option<u64> {
    let link = std::fs::read_link(file).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Nothing, if it is no connection by TCP; a listener is nobody's connection.
fn state_of(socket: &OwnedFd) -> Option<State> {
    let is_ip = matches!(sockopt::socket_domain(socket), Ok(AddressFamily::INET | AddressFamily::INET6));
    let is_tcp = matches!(sockopt::socket_type(socket), Ok(SocketType::STREAM));
    if !is_ip || !is_tcp || sockopt::socket_acceptconn(socket).unwrap_or(true) {
        return None;
    }
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut polled, Some(&Timespec::default())).ok()?;
    let is_over = polled[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR);
    Some(match getpeername(socket) {
        _ if is_over => State::Closing,
        Ok(_) => State::Established,
        Err(_) => State::Dialled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_noticed_when_it_dials_or_when_all_it_had_is_dead() {
        let two = Sockets::from([(1, State::Established), (2, State::Established)]);
        assert!(!has_noticed(&two, &two));
        assert!(!has_noticed(&two, &Sockets::from([(1, State::Established), (2, State::Closing)])), "one is left");
        assert!(has_noticed(&two, &Sockets::from([(1, State::Closing)])));
        assert!(has_noticed(&two, &Sockets::new()));
        let mut dialling = two.clone();
        dialling.insert(3, State::Dialled);
        assert!(has_noticed(&two, &dialling));
        assert!(!has_noticed(&Sockets::new(), &Sockets::new()), "who has none has nothing to notice");
    }

    #[test]
    fn a_socket_says_what_it_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let (pair, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let state = |socket: &dyn std::os::fd::AsFd| state_of(&socket.as_fd().try_clone_to_owned().unwrap());
        assert_eq!((state(&listener), state(&pair)), (None, None));
        assert_eq!((state(&client), state(&server)), (Some(State::Established), Some(State::Established)));
        drop(server);
        assert_eq!(state(&client), Some(State::Closing), "the peer's end of stream is there");
        // One waits to be accepted, and there is no room for another: the kernel drops what would make it.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        full.listen(0).unwrap();
        let dial = || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // It is under way.
            let _ = socket.connect(&full.local_addr().unwrap());
            socket
        };
        let dialled = [dial(), dial(), dial()];
        assert_eq!(state(&dialled[2]), Some(State::Dialled));
    }

    #[tokio::test]
    async fn the_kernel_tells_of_a_connection_that_its_peer_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut child = tokio::process::Command::new("bash")
            .args(["-c", "exec 3<>/dev/tcp/127.0.0.1/$0; read -r; read -r -u 3"])
            .arg(listener.local_addr().unwrap().port().to_string())
            .stdin(std::process::Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let pid = child.id().unwrap();
        assert_eq!(sockets(&group(pid)).len(), 1);
        let watch = SocketWatch::start(pid);
        assert_eq!(watch.noticed(), None);
        drop(peer);
        crate::deadline::until(Duration::from_secs(20), "it is noticed", || watch.noticed().is_some()).await.unwrap();
        child.kill().await.unwrap();
    }
}
