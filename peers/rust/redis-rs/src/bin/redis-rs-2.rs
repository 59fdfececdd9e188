//! The driver for redis-rs 2.x.

extern crate redis_two as redis;

#[path = "../driver/mod.rs"]
mod driver;

fn main() -> anyhow::Result<()> {
    peer::main::<driver::RedisRs>()
}
