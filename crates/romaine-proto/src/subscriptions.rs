//! What is wanted, what is confirmed. Subscriptions are intents: they outlive every connection.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use romaine_commands::{Command, Request, cmd};
use romaine_resp::{Reader, Token};

/// How a subscription matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubscriptionKind {
    /// SUBSCRIBE: one channel.
    Channel,
    /// PSUBSCRIBE: every channel that matches a glob pattern.
    Pattern,
    /// SSUBSCRIBE: one shard channel (7.0 and later).
    Shard,
}

impl SubscriptionKind {
    const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Shard];

    /// The command that subscribes.
    #[must_use]
    pub const fn subscribe_command(self) -> &'static str {
        match self {
            Self::Channel => "SUBSCRIBE",
            Self::Pattern => "PSUBSCRIBE",
            Self::Shard => "SSUBSCRIBE",
        }
    }

    /// The command that ends it.
    #[must_use]
    pub const fn unsubscribe_command(self) -> &'static str {
        match self {
            Self::Channel => "UNSUBSCRIBE",
            Self::Pattern => "PUNSUBSCRIBE",
            Self::Shard => "SUNSUBSCRIBE",
        }
    }
}

/// What a push on a subscriber connection means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// A message.
    Message {
        /// How the subscription matched.
        kind: SubscriptionKind,
        /// What was subscribed: the channel or the pattern.
        topic: Bytes,
        /// Where it was published.
        channel: Bytes,
        /// What was published.
        payload: Bytes,
    },
    /// The server confirmed a subscription.
    Confirmed {
        /// Its kind.
        kind: SubscriptionKind,
        /// The channel or pattern.
        topic: Bytes,
        /// When and how long it was interrupted, if it was in force before.
        interrupted_since: Option<Instant>,
    },
    /// The server ended a subscription that is still wanted (a slot moved): it must be asked for again.
    Revoked {
        /// Its kind.
        kind: SubscriptionKind,
        /// The channel or pattern.
        topic: Bytes,
    },
    /// Nothing to act on: the end of a subscription that nobody wants, an invalidation, a kind we do not know.
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// How many subscribers share it.
    subscribers: usize,
    confirmed: bool,
    /// Since when it has not been in force, once it had been.
    interrupted: Option<Instant>,
}

/// Wanted and confirmed subscriptions of one client.
#[derive(Debug, Default)]
pub struct Subscriptions {
    // Ordered, so that what is sent does not depend on a hash seed.
    wanted: BTreeMap<(SubscriptionKind, Bytes), Entry>,
}

impl Subscriptions {
    /// Nothing wanted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nobody wants anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Number of topics wanted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Whether the server has confirmed the topic on the present connection.
    #[must_use]
    pub fn is_confirmed(&self, kind: SubscriptionKind, topic: &Bytes) -> bool {
        self.wanted.get(&(kind, topic.clone())).is_some_and(|entry| entry.confirmed)
    }

    /// One more subscriber wants `topic`. True when the server must be asked.
    pub fn want(&mut self, kind: SubscriptionKind, topic: Bytes) -> bool {
        let entry =
            self.wanted.entry((kind, topic)).or_insert(Entry { subscribers: 0, confirmed: false, interrupted: None });
        entry.subscribers += 1;
        entry.subscribers == 1
    }

    /// One subscriber fewer. True when the server must be told.
    pub fn unwant(&mut self, kind: SubscriptionKind, topic: &Bytes) -> bool {
        let key = (kind, topic.clone());
        let Some(entry) = self.wanted.get_mut(&key) else { return false };
        entry.subscribers -= 1;
        if entry.subscribers > 0 {
            return false;
        }
        self.wanted.remove(&key);
        true
    }

    /// The connection is gone; it was known to be alive at `since`.
    pub fn disconnected(&mut self, since: Instant) {
        for entry in self.wanted.values_mut() {
            if std::mem::take(&mut entry.confirmed) && entry.interrupted.is_none() {
                entry.interrupted = Some(since);
            }
        }
    }

    /// A connection is ready: everything wanted, in requests of at most `chunk` topics.
    #[must_use]
    pub fn restore(&self, chunk: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        for kind in SubscriptionKind::ALL {
            let topics: Vec<&Bytes> =
                self.wanted.keys().filter(|(wanted, _)| *wanted == kind).map(|(_, topic)| topic).collect();
            for topics in topics.chunks(chunk.max(1)) {
                requests.push(request(kind.subscribe_command(), topics.iter().copied()));
            }
        }
        requests
    }

    /// Interprets a push frame.
    pub fn push(&mut self, frame: &[u8], now: Instant) -> Delivered {
        parse(frame).map_or(Delivered::Other, |push| self.interpret(push, now))
    }

    fn interpret(&mut self, push: Push<'_>, now: Instant) -> Delivered {
        let (kind, confirmed) = match push.word {
            b"message" => return push.message(SubscriptionKind::Channel),
            b"pmessage" => return push.pattern_message(),
            b"smessage" => return push.message(SubscriptionKind::Shard),
            b"subscribe" => (SubscriptionKind::Channel, true),
            b"psubscribe" => (SubscriptionKind::Pattern, true),
            b"ssubscribe" => (SubscriptionKind::Shard, true),
            b"unsubscribe" => (SubscriptionKind::Channel, false),
            b"punsubscribe" => (SubscriptionKind::Pattern, false),
            b"sunsubscribe" => (SubscriptionKind::Shard, false),
            _ => return Delivered::Other,
        };
        let topic = Bytes::copy_from_slice(push.first);
        let Some(entry) = self.wanted.get_mut(&(kind, topic.clone())) else {
            return Delivered::Other;
        };
        if confirmed {
            entry.confirmed = true;
            return Delivered::Confirmed { kind, topic, interrupted_since: entry.interrupted.take() };
        }
        // Somebody may have subscribed anew while our own UNSUBSCRIBE was on its way: asking again is right then too.
        if std::mem::take(&mut entry.confirmed) {
            entry.interrupted = Some(now);
        }
        Delivered::Revoked { kind, topic }
    }
}

/// SUBSCRIBE, UNSUBSCRIBE and their kin for `topics`.
#[must_use]
pub fn subscription_request(command: &str, topics: &[Bytes]) -> Request {
    request(command, topics.iter())
}

fn request<'a>(command: &str, topics: impl Iterator<Item = &'a Bytes>) -> Request {
    let mut request = cmd::<()>(command).into_request();
    for topic in topics {
        request.push(topic);
    }
    request
}

struct Push<'a> {
    word: &'a [u8],
    first: &'a [u8],
    second: &'a [u8],
    third: &'a [u8],
}

impl Push<'_> {
    fn message(&self, kind: SubscriptionKind) -> Delivered {
        let channel = Bytes::copy_from_slice(self.first);
        Delivered::Message { kind, topic: channel.clone(), channel, payload: Bytes::copy_from_slice(self.second) }
    }

    fn pattern_message(&self) -> Delivered {
        Delivered::Message {
            kind: SubscriptionKind::Pattern,
            topic: Bytes::copy_from_slice(self.first),
            channel: Bytes::copy_from_slice(self.second),
            payload: Bytes::copy_from_slice(self.third),
        }
    }
}

fn parse(frame: &[u8]) -> Option<Push<'_>> {
    let mut reader = Reader::new(frame);
    let (Token::Push(n) | Token::Array(n)) = reader.token().ok()? else { return None };
    let mut text = |index: usize| -> Option<&[u8]> {
        if index >= n {
            return Some(&[]);
        }
        match reader.token().ok()? {
            Token::Bulk(bytes) | Token::Simple(bytes) => Some(bytes),
            Token::Integer(_) | Token::Null => Some(&[]),
            _ => None,
        }
    };
    Some(Push { word: text(0)?, first: text(1)?, second: text(2)?, third: text(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(sigil: char, parts: &[&str]) -> Vec<u8> {
        let mut out = format!("{sigil}{}\r\n", parts.len());
        for part in parts {
            if let Some(number) = part.strip_prefix(':') {
                out.push_str(&format!(":{number}\r\n"));
            } else {
                out.push_str(&format!("${}\r\n{part}\r\n", part.len()));
            }
        }
        out.into_bytes()
    }

    const NEWS: Bytes = Bytes::from_static(b"news");

    #[test]
    fn messages_are_understood_in_both_protocols() {
        let mut subscriptions = Subscriptions::new();
        let now = Instant::now();
        for sigil in ['>', '*'] {
            let Delivered::Message { kind, topic, channel, payload } =
                subscriptions.push(&frame(sigil, &["pmessage", "n*", "news", "hi"]), now)
            else {
                panic!("a message");
            };
            assert_eq!(kind, SubscriptionKind::Pattern);
            assert_eq!((&topic[..], &channel[..], &payload[..]), (&b"n*"[..], &b"news"[..], &b"hi"[..]));
        }
    }

    #[test]
    fn an_interruption_is_reported_with_its_start_when_the_server_confirms_again() {
        let mut subscriptions = Subscriptions::new();
        let start = Instant::now();
        assert!(subscriptions.want(SubscriptionKind::Channel, NEWS));
        let confirmation = frame('>', &["subscribe", "news", ":1"]);
        assert!(matches!(
            subscriptions.push(&confirmation, start),
            Delivered::Confirmed { interrupted_since: None, .. }
        ));
        let lost = start + Duration::from_secs(3);
        subscriptions.disconnected(lost);
        subscriptions.disconnected(lost + Duration::from_secs(5));
        assert!(!subscriptions.is_confirmed(SubscriptionKind::Channel, &NEWS));
        assert!(matches!(
            subscriptions.push(&confirmation, lost),
            Delivered::Confirmed { interrupted_since: Some(since), .. } if since == lost
        ));
    }

    #[test]
    fn a_topic_is_asked_for_once_and_ended_with_its_last_subscriber() {
        let mut subscriptions = Subscriptions::new();
        assert!(subscriptions.want(SubscriptionKind::Channel, NEWS));
        assert!(!subscriptions.want(SubscriptionKind::Channel, Bytes::copy_from_slice(b"news")), "equal by content");
        assert!(subscriptions.want(SubscriptionKind::Pattern, NEWS), "another kind is another subscription");
        assert!(!subscriptions.unwant(SubscriptionKind::Channel, &NEWS));
        assert!(subscriptions.unwant(SubscriptionKind::Channel, &NEWS));
        assert_eq!(subscriptions.restore(10).len(), 1);
    }

    #[test]
    fn everything_wanted_is_restored_in_chunks_by_kind() {
        let mut subscriptions = Subscriptions::new();
        for n in 0..5 {
            subscriptions.want(SubscriptionKind::Channel, Bytes::from(format!("c{n}")));
        }
        subscriptions.want(SubscriptionKind::Shard, NEWS);
        let sent: Vec<String> = subscriptions
            .restore(2)
            .iter()
            .map(|request| {
                request.args().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(sent, ["SUBSCRIBE c0 c1", "SUBSCRIBE c2 c3", "SUBSCRIBE c4", "SSUBSCRIBE news"]);
    }

    #[test]
    fn an_unsolicited_end_of_a_wanted_subscription_is_revoked_not_accepted() {
        let mut subscriptions = Subscriptions::new();
        let now = Instant::now();
        subscriptions.want(SubscriptionKind::Shard, NEWS);
        subscriptions.push(&frame('>', &["ssubscribe", "news", ":1"]), now);
        let end = frame('>', &["sunsubscribe", "news", ":0"]);
        assert_eq!(subscriptions.push(&end, now), Delivered::Revoked { kind: SubscriptionKind::Shard, topic: NEWS });
        subscriptions.unwant(SubscriptionKind::Shard, &NEWS);
        assert_eq!(subscriptions.push(&end, now), Delivered::Other);
    }

    #[test]
    fn garbage_pushes_are_ignored() {
        let mut subscriptions = Subscriptions::new();
        for garbage in [&b">0\r\n"[..], b">1\r\n:1\r\n", b">2\r\n$7\r\nmessage\r\n*0\r\n", b"+OK\r\n"] {
            assert_eq!(subscriptions.push(garbage, Instant::now()), Delivered::Other, "{garbage:?}");
        }
    }
}
