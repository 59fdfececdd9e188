//! Layer 2: many callers on one [`romaine_proto::Connection`] against a model server, in simulated time, over a
//! network that cuts, delays, loses and lies. Everything follows from the seed.
//!
//! A failure prints its seed; `ROMAINE_SEED=… cargo test -p romaine-proto --test simulation` replays it and says what
//! happens as it happens.
#![expect(clippy::disallowed_methods, reason = "a test needs one real instant to count from")]
#![expect(clippy::panic, clippy::unwrap_used, reason = "a checker that is violated ends the test")]

mod callers;
mod server;
mod world;

use world::{Settings, World};

const SEEDS: u64 = 300;

/// Names the seed when its run fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("replay: ROMAINE_SEED={seed} cargo test -p romaine-proto --test simulation -- --nocapture");
        }
    }
}

/// Runs `settings` with every seed, or with the one that is asked for.
fn run(settings: impl Fn(&mut fastrand::Rng) -> Settings) {
    let asked: Option<u64> = std::env::var("ROMAINE_SEED").ok().map(|seed| seed.parse().unwrap());
    let mut total = world::Total::default();
    for seed in asked.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let name = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = settings(&mut random);
        total += World::new(settings, random, asked.is_some()).run();
        drop(name);
    }
    if asked.is_none() {
        // A simulation in which nothing goes wrong proves nothing.
        assert!(total.is_eventful(), "{total:?}");
    }
}

#[test]
fn every_call_ends_once_and_honestly_over_a_network_that_fails_in_every_way() {
    run(Settings::any);
}

#[test]
fn every_call_is_answered_over_a_network_that_only_cuts_and_delays() {
    let liveness = romaine_proto::Liveness::off;
    run(|random| Settings {
        liveness: liveness(),
        faults: false,
        drops: false,
        deadlines: false,
        ..Settings::any(random)
    });
}
