//! The driver for redis-rs 1.x.

extern crate redis_one as redis;

#[path = "../driver/mod.rs"]
mod driver;

fn main() -> anyhow::Result<()> {
    peer::main::<driver::RedisRs>()
}
