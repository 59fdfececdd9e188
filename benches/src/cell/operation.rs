//! One turn of a caller. Every reply is checked by its size, so that no client can be fast by being wrong.

use std::{future::Future, sync::Arc};

use anyhow::{Result, ensure};
use bytes::Bytes;

use crate::{data, peer::Peer};

/// What a caller does each turn.
pub(super) trait Operation: Clone + Send + 'static {
    /// Does it.
    fn perform<P: Peer>(&self, peer: &mut P) -> impl Future<Output = Result<()>> + Send;
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
    async fn perform<P: Peer>(&self, peer: &mut P) -> Result<()> {
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
    async fn perform<P: Peer>(&self, peer: &mut P) -> Result<()> {
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
    async fn perform<P: Peer>(&self, peer: &mut P) -> Result<()> {
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
    async fn perform<P: Peer>(&self, peer: &mut P) -> Result<()> {
        let values = peer.mget(&self.keys).await?;
        ensure!(values == self.keys.len(), "MGET gave {values} values");
        Ok(())
    }
}

/// HGETALL.
#[derive(Clone)]
pub(super) struct Hgetall;

impl Operation for Hgetall {
    async fn perform<P: Peer>(&self, peer: &mut P) -> Result<()> {
        let fields = peer.hgetall(data::HASH_KEY).await?;
        ensure!(fields == data::COLLECTION_LENGTH, "HGETALL gave {fields} fields");
        Ok(())
    }
}
