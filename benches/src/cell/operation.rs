//! One turn of a caller. Every reply is checked by its size, so that no client can be fast by being wrong.

use std::{future::Future, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;

use crate::{data, peer::Peer};

/// What a caller does each turn.
pub(super) trait Operation: Clone + Send + 'static {
    /// The operation of the caller with this number.
    fn for_caller(&self, _at: usize) -> Self {
        self.clone()
    }

    /// Does it.
    fn perform<P: Peer>(&mut self, peer: &mut P) -> impl Future<Output = Result<()>> + Send;
}

/// GET.
#[derive(Clone)]
pub(super) struct Get {
    key: String,
    bytes: usize,
}

impl Get {
    /// GET of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { key: data::string_key(bytes), bytes }
    }
}

impl Operation for Get {
    async fn perform<P: Peer>(&mut self, peer: &mut P) -> Result<()> {
        let bytes = peer.get(&self.key).await?;
        ensure!(bytes == self.bytes, "GET gave {bytes} bytes");
        Ok(())
    }
}

/// SET.
#[derive(Clone)]
pub(super) struct Set {
    key: String,
    value: Bytes,
}

impl Set {
    /// SET of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { key: data::string_key(bytes), value: data::value(bytes).into() }
    }
}

impl Operation for Set {
    async fn perform<P: Peer>(&mut self, peer: &mut P) -> Result<()> {
        peer.set(&self.key, &self.value).await
    }
}

/// A pipeline of GETs.
#[derive(Clone)]
pub(super) struct Pipeline {
    key: String,
    count: usize,
}

impl Pipeline {
    const VALUE_BYTES: usize = 16;

    /// So many GETs.
    pub(super) fn new(count: usize) -> Self {
        Self { key: data::string_key(Self::VALUE_BYTES), count }
    }
}

impl Operation for Pipeline {
    async fn perform<P: Peer>(&mut self, peer: &mut P) -> Result<()> {
        let bytes = peer.pipeline_of_gets(&self.key, self.count).await?;
        ensure!(bytes == self.count * Self::VALUE_BYTES, "the pipeline gave {bytes} bytes");
        Ok(())
    }
}

/// MGET.
#[derive(Clone)]
pub(super) struct Mget {
    keys: Arc<[String]>,
}

impl Mget {
    /// MGET of all items.
    pub(super) fn new() -> Self {
        Self { keys: data::collection_keys().into() }
    }
}

impl Operation for Mget {
    async fn perform<P: Peer>(&mut self, peer: &mut P) -> Result<()> {
        let values = peer.mget(&self.keys).await?;
        ensure!(values == self.keys.len(), "MGET gave {values} values");
        Ok(())
    }
}

/// HGETALL.
#[derive(Clone)]
pub(super) struct Hgetall;

impl Operation for Hgetall {
    async fn perform<P: Peer>(&mut self, peer: &mut P) -> Result<()> {
        let fields = peer.hgetall(data::HASH_KEY).await?;
        ensure!(fields == data::COLLECTION_LENGTH, "HGETALL gave {fields} fields");
        Ok(())
    }
}

/// GET of one key after the other. Every caller goes through all of them, in an order of its own.
#[derive(Clone)]
pub(super) struct MixedGet {
    keys: Arc<[String]>,
    next: usize,
    stride: usize,
}

impl MixedGet {
    /// GETs of these keys.
    pub(super) fn new(keys: Vec<String>) -> Self {
        Self { keys: keys.into(), next: 0, stride: 1 }
    }

    fn next_key(&mut self) -> usize {
        let at = self.next;
        self.next += self.stride;
        if self.next >= self.keys.len() {
            self.next -= self.keys.len();
        }
        at
    }
}

impl Operation for MixedGet {
    fn for_caller(&self, at: usize) -> Self {
        let length = self.keys.len();
        // With a stride that has no divisor in common with the number of keys, a caller meets every key once a round.
        let mut strides = (1..=length).map(|stride| (at.wrapping_mul(SCATTER) + stride) % length);
        let stride = strides.find(|stride| greatest_common_divisor(*stride, length) == 1);
        let next = at.wrapping_mul(SCATTER) % length.max(1);
        Self { keys: Arc::clone(&self.keys), next, stride: stride.unwrap_or(0) }
    }

    async fn perform<P: Peer>(&mut self, peer: &mut P) -> Result<()> {
        let at = self.next_key();
        let key = self.keys.get(at).context("there are no keys")?;
        let bytes = peer.get(key).await?;
        ensure!(bytes == data::MIXED_VALUE_BYTES, "GET gave {bytes} bytes");
        Ok(())
    }
}

/// A prime, so that neighbours among the callers start far apart.
const SCATTER: usize = 7_919;

fn greatest_common_divisor(left: usize, right: usize) -> usize {
    if right == 0 { left } else { greatest_common_divisor(right, left % right) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_caller_goes_through_all_keys_in_an_order_of_its_own() {
        for length in [1, 2, 997, 3_000] {
            let all = MixedGet::new(vec![String::new(); length]);
            let mut orders = HashSet::new();
            for caller in 0..64 {
                let mut operation = all.for_caller(caller);
                let order: Vec<usize> = (0..length).map(|_| operation.next_key()).collect();
                assert_eq!(order.iter().collect::<HashSet<_>>().len(), length, "caller {caller} of {length} keys");
                orders.insert(order);
            }
            assert!(length < 997 || orders.len() == 64);
        }
    }
}
