//! Every key, as one stream, however many servers hold them.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream::try_unfold;
use romaine_commands::replies::Page;
use romaine_commands::{Cmd, FromValue, cmd};

use crate::call::{Place, Target, ask, ask_in};
use crate::circuit::Patience;
use crate::client::Client;
use crate::error::{ErrorKind, Result};
use crate::server::Server;

/// Where a scan is.
struct Scanning<K> {
    client: Client,
    pattern: Option<String>,
    /// One slot of each shard that is to be scanned yet; `None` for what has no slots. Not known before the first page.
    shards: Option<VecDeque<Option<u16>>>,
    /// The server that gave the cursor: another one does not know it.
    server: Option<Arc<Server>>,
    cursor: u64,
    page: VecDeque<K>,
}

/// See [`Client::scan_all`].
pub(crate) fn scan_all<K: FromValue + Send>(
    client: Client,
    pattern: Option<String>,
) -> impl Stream<Item = Result<K>> + Send {
    let scanning = Scanning { client, pattern, shards: None, server: None, cursor: 0, page: VecDeque::new() };
    try_unfold(scanning, async |mut scanning| {
        loop {
            if let Some(key) = scanning.page.pop_front() {
                return Ok(Some((key, scanning)));
            }
            if !scanning.next_page().await? {
                return Ok(None);
            }
        }
    })
}

/// All that is to be scanned. Before the first view nobody is known, and nobody's keys are none.
async fn all_shards(client: &Client) -> Result<VecDeque<Option<u16>>> {
    match client.place() {
        Place::Fleet(fleet) if fleet.is_cluster() => {
            fleet.primary_in_time(None, fleet.deadline(Patience::Default)).await?;
            Ok(fleet.map().one_slot_of_each().map(Some).collect())
        }
        Place::Fleet(_) | Place::At(_) => Ok(VecDeque::from([None])),
    }
}

impl<K: FromValue> Scanning<K> {
    /// False when there is none.
    async fn next_page(&mut self) -> Result<bool> {
        if self.shards.is_none() {
            self.shards = Some(all_shards(&self.client).await?);
        }
        let Some(slot) = self.shards.as_ref().and_then(|shards| shards.front().copied()) else { return Ok(false) };
        let page = match self.client.place() {
            Place::Fleet(fleet) => {
                // Whatever is read from elsewhere: a cursor means something to the server that gave it, to no other.
                let server = fleet.primary_in_time(slot, fleet.deadline(Patience::Default)).await?;
                if self.server.replace(server.clone()).is_some_and(|before| !Arc::ptr_eq(&before, &server)) {
                    self.cursor = 0;
                }
                match ask(Target::of(&server, &server.commands), self.command(), Patience::Default).await {
                    // It was left for another while it was asked.
                    Err(error) if error.kind() == ErrorKind::Closed && !fleet.common.is_closed() => return Ok(true),
                    page => page?,
                }
            }
            place @ Place::At(_) => ask_in(place, self.command(), Patience::Default).await?,
        };
        self.page.extend(page.items);
        self.cursor = page.cursor;
        if page.cursor == 0 {
            self.shards.as_mut().and_then(VecDeque::pop_front);
            self.server = None;
        }
        Ok(true)
    }

    fn command(&self) -> Cmd<Page<K>> {
        let scan = cmd::<Page<K>>("SCAN").arg(self.cursor);
        let scan = match &self.pattern {
            Some(pattern) => scan.arg("MATCH").arg(pattern.as_str()),
            None => scan,
        };
        scan.arg("COUNT").arg(1_000)
    }
}
