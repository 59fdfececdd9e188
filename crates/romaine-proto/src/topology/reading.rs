//! Which node of a shard reads.

use std::sync::Arc;
use std::time::Duration;

/// Which node of a shard answers what only reads. What writes always goes to the primary.
///
/// Among nodes that are equally right, connected ones come first, and one of these is drawn by lot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReadFrom {
    /// The primary: what was written is read. The default.
    #[default]
    Primary,
    /// The primary; a replica while the primary is not connected.
    PrimaryPreferred,
    /// A replica, never the primary: an error when there is none.
    Replica,
    /// A replica; the primary when no replica is connected.
    ReplicaPreferred,
    /// Whichever has answered fastest, the primary included.
    Nearest,
    /// Any, the primary included.
    Any,
    /// One in this zone, replicas before the primary; then any other replica; then the primary.
    Zone(String),
}

/// What is known of a node that could read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate {
    /// Its address.
    pub node: Arc<str>,
    /// Whether it is the shard's primary.
    pub is_primary: bool,
    /// Whether a request could be sent at once.
    pub is_connected: bool,
    /// How long it takes to answer, once measured.
    pub latency: Option<Duration>,
    /// Its availability zone, if it says one.
    pub zone: Option<Arc<str>>,
}

impl ReadFrom {
    /// The index of the node to read from. Nothing when no candidate may: with [`Primary`](Self::Primary) there is no
    /// primary, with [`Replica`](Self::Replica) no replica.
    #[must_use]
    pub fn choose(&self, candidates: &[Candidate], random: &mut fastrand::Rng) -> Option<usize> {
        let mut best: Option<(Rank, usize)> = None;
        let mut equals: usize = 0;
        for (index, candidate) in candidates.iter().enumerate() {
            let Some(rank) = self.rank(candidate) else { continue };
            match best {
                Some((before, _)) if rank > before => {}
                Some((before, _)) if rank == before => {
                    // Each of n equals ends up chosen with the same chance.
                    equals += 1;
                    if random.usize(0..equals) == 0 {
                        best = Some((rank, index));
                    }
                }
                Some(_) | None => {
                    equals = 1;
                    best = Some((rank, index));
                }
            }
        }
        best.map(|(_, index)| index)
    }

    /// The lower the better; nothing for what must not read.
    fn rank(&self, candidate: &Candidate) -> Option<Rank> {
        let primary = candidate.is_primary;
        let (allowed, preference) = match self {
            Self::Primary => (primary, 0),
            Self::Replica => (!primary, 0),
            Self::PrimaryPreferred => (true, u8::from(!primary)),
            Self::ReplicaPreferred => (true, u8::from(primary)),
            Self::Nearest | Self::Any => (true, 0),
            Self::Zone(zone) => {
                let away = candidate.zone.as_deref() != Some(zone);
                (true, 2 * u8::from(away) + u8::from(primary))
            }
        };
        let latency = match self {
            // One that was never measured is behind all that were.
            Self::Nearest => candidate.latency.unwrap_or(Duration::MAX),
            Self::Primary
            | Self::Replica
            | Self::PrimaryPreferred
            | Self::ReplicaPreferred
            | Self::Any
            | Self::Zone(_) => Duration::ZERO,
        };
        allowed.then_some((!candidate.is_connected, preference, latency))
    }
}

/// Not connected; how far from what is wanted; latency.
type Rank = (bool, u8, Duration);

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: &str) -> Candidate {
        Candidate {
            node: kind.into(),
            is_primary: kind.contains('P'),
            is_connected: !kind.contains('-'),
            latency: None,
            zone: kind.contains('z').then(|| Arc::from("z")),
        }
    }

    /// Every index that comes up in many draws.
    fn chosen(read: &ReadFrom, kinds: &[&str]) -> Vec<usize> {
        let candidates: Vec<_> = kinds.iter().map(|kind| node(kind)).collect();
        let mut random = fastrand::Rng::with_seed(11);
        let mut seen = vec![0; candidates.len()];
        for _ in 0..3_000 {
            if let Some(index) = read.choose(&candidates, &mut random) {
                seen[index] += 1;
            }
        }
        let drawn: Vec<_> = (0..seen.len()).filter(|index| seen[*index] > 0).collect();
        for index in &drawn {
            assert!(seen[*index] * drawn.len() > 2_500, "the draw is fair: {seen:?}");
        }
        drawn
    }

    #[test]
    fn each_preference_chooses_as_its_name_says() {
        use ReadFrom::{Any, Primary, PrimaryPreferred, Replica, ReplicaPreferred};
        let zone = ReadFrom::Zone("z".into());
        // P primary, R replica, - not connected, z in the zone.
        for (read, nodes, expected) in [
            (&Primary, &["P", "R", "R"][..], &[0][..]),
            (&Primary, &["P-", "R"], &[0]),
            (&Primary, &["R"], &[]),
            (&PrimaryPreferred, &["P", "R"], &[0]),
            (&PrimaryPreferred, &["P-", "R", "R", "R-"], &[1, 2]),
            (&PrimaryPreferred, &["P-", "R-"], &[0]),
            (&PrimaryPreferred, &["R"], &[0]),
            (&Replica, &["P", "R", "R"], &[1, 2]),
            (&Replica, &["P", "R-", "R"], &[2]),
            (&Replica, &["P", "R-", "R-"], &[1, 2]),
            (&Replica, &["P"], &[]),
            (&ReplicaPreferred, &["P", "R", "R-"], &[1]),
            (&ReplicaPreferred, &["P", "R-"], &[0]),
            (&ReplicaPreferred, &["P-", "R-"], &[1]),
            (&ReplicaPreferred, &["P"], &[0]),
            (&Any, &["P", "R", "R-"], &[0, 1]),
            (&Any, &["P-", "R-"], &[0, 1]),
            (&Any, &[], &[]),
            (&zone, &["Pz", "Rz", "R", "Rz"], &[1, 3]),
            (&zone, &["Pz", "R"], &[0]),
            (&zone, &["P", "R", "R", "Rz-"], &[1, 2]),
            (&zone, &["P", "Rz-"], &[0]),
        ] {
            assert_eq!(chosen(read, nodes), expected, "{read:?} {nodes:?}");
        }
    }

    #[test]
    fn the_nearest_is_the_fastest_that_is_connected() {
        let mut candidates = vec![node("P"), node("R"), node("R"), node("R-")];
        let mut random = fastrand::Rng::with_seed(2);
        candidates[1].latency = Some(Duration::from_micros(300));
        candidates[2].latency = Some(Duration::from_micros(200));
        candidates[3].latency = Some(Duration::from_micros(100));
        assert_eq!(ReadFrom::Nearest.choose(&candidates, &mut random), Some(2));
        candidates[2].is_connected = false;
        assert_eq!(ReadFrom::Nearest.choose(&candidates, &mut random), Some(1));
    }
}
