//! Which node a request goes to, and when that must be asked anew: the decisions for Sentinel, primary/replica and
//! Cluster.
//!
//! | file | decides |
//! |---|---|
//! | [`slot_of`], [`Route`] | where a request may go in a cluster |
//! | [`split`], [`merge`] | how a request for several slots or nodes becomes several, and their replies one |
//! | [`Gathering`] | when enough of them have answered |
//! | [`reroute`] | what an error reply says about the node that gave it |
//! | [`Detours`] | how soon a command that may wait for ever follows it |
//! | [`Opinions`] | how many nodes are asked who does, and how long the last is waited for |
//! | [`ClusterView`] | who owns a slot, when nodes disagree |
//! | [`agree`], [`Belief`], [`sentinel_event`] | who is the primary, when Sentinels disagree; what their events mean |
//! | [`SentinelHello`] | what they tell each other, which the data nodes carry when they cannot be reached |
//! | [`Refresh`] | when to ask again |
//! | [`ReadFrom`] | which node of a shard reads |

mod address;
mod cluster;
mod cluster_answer;
mod detour;
mod fields;
mod opinions;
mod reading;
mod redirect;
mod refresh;
mod route;
mod scatter;
mod sentinel;
mod sentinel_event;
mod sentinel_hello;
mod slot;
mod view_error;

pub use address::{AddressError, NodeAddress};
pub use cluster::{ClusterView, ShardView};
pub use cluster_answer::{ClusterAnswer, ClusterNode};
pub use detour::{Detours, Lead, Newcomer, REDIRECTS_AT_ONCE, is_barred};
pub use opinions::Opinions;
pub use reading::{Candidate, ReadFrom};
pub use redirect::{Redirect, Reroute, redirect_of, reroute};
pub use refresh::{Refresh, RefreshSettings, Trigger};
pub use route::Route;
pub use scatter::{Gathering, MergeError, Part, Shortfall, merge, split};
pub use sentinel::{Agreement, Belief, SentinelAnswer, SentinelView, agree};
pub use sentinel_event::{SENTINEL_EVENTS, SentinelEvent, sentinel_event};
pub use sentinel_hello::{SENTINEL_HELLO, SentinelHello};
pub use slot::{SLOTS, slot_of};
pub use view_error::ViewError;
