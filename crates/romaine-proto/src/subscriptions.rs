//! What is wanted, what is confirmed. Subscriptions are intents: they outlive every connection.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use romaine_commands::{Command, Request, cmd};
use romaine_resp::{Reader, ServerError, Token};

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

/// What a refusal of SUBSCRIBE and its kin means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The server refuses a request as a whole: these must be asked for one by one to learn which it means.
    OneByOne(Vec<Bytes>),
    /// This topic is refused. `anew`: it was not known to be.
    Topic {
        /// The channel or pattern.
        topic: Bytes,
        /// Whether this is news.
        anew: bool,
    },
    /// Nobody wants it any more.
    Unwanted,
}

#[derive(Debug, Clone)]
struct Entry {
    /// How many subscribers share it.
    subscribers: usize,
    confirmed: bool,
    /// Since when it has not been in force, once it had been.
    interrupted: Option<Instant>,
    /// What the server said when it refused it, on the present connection.
    refused: Option<ServerError>,
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

    /// The server's refusal of the topic on the present connection.
    #[must_use]
    pub fn refusal(&self, kind: SubscriptionKind, topic: &Bytes) -> Option<&ServerError> {
        self.wanted.get(&(kind, topic.clone()))?.refused.as_ref()
    }

    /// Whether the topic is wanted and not in force: asking for it once more is right.
    #[must_use]
    pub fn is_missing(&self, kind: SubscriptionKind, topic: &Bytes) -> bool {
        self.wanted.get(&(kind, topic.clone())).is_some_and(|entry| !entry.confirmed)
    }

    /// How many topics are in force.
    #[must_use]
    pub fn confirmed(&self) -> usize {
        self.wanted.values().filter(|entry| entry.confirmed).count()
    }

    /// The server refused a request for `topics`.
    pub fn refused(&mut self, kind: SubscriptionKind, mut topics: Vec<Bytes>, error: ServerError) -> Refused {
        topics.retain(|topic| self.wanted.contains_key(&(kind, topic.clone())));
        let Some(topic) = topics.pop() else { return Refused::Unwanted };
        if !topics.is_empty() {
            topics.push(topic);
            return Refused::OneByOne(topics);
        }
        let Some(entry) = self.wanted.get_mut(&(kind, topic.clone())) else { return Refused::Unwanted };
        let anew = entry.refused.replace(error).is_none();
        Refused::Topic { topic, anew }
    }

    /// One more subscriber wants `topic`. True when the server must be asked.
    pub fn want(&mut self, kind: SubscriptionKind, topic: Bytes) -> bool {
        let none = Entry { subscribers: 0, confirmed: false, interrupted: None, refused: None };
        let entry = self.wanted.entry((kind, topic)).or_insert(none);
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

    /// Since when a topic has not been in force, once it had been.
    #[must_use]
    pub fn interrupted_since(&self, kind: SubscriptionKind, topic: &Bytes) -> Option<Instant> {
        self.wanted.get(&(kind, topic.clone()))?.interrupted
    }

    /// The topic was in force elsewhere until `since`. An earlier interruption stands.
    pub fn interrupted(&mut self, kind: SubscriptionKind, topic: &Bytes, since: Instant) {
        if let Some(entry) = self.wanted.get_mut(&(kind, topic.clone())) {
            entry.interrupted = Some(entry.interrupted.map_or(since, |known| known.min(since)));
        }
    }

    /// A connection is ready: everything wanted, in requests of at most `chunk` topics.
    #[must_use]
    pub fn restore(&mut self, chunk: usize) -> Vec<(SubscriptionKind, Vec<Bytes>)> {
        let mut requests = Vec::new();
        for entry in self.wanted.values_mut() {
            entry.refused = None;
        }
        for kind in SubscriptionKind::ALL {
            let topics: Vec<Bytes> =
                self.wanted.keys().filter(|(wanted, _)| *wanted == kind).map(|(_, topic)| topic.clone()).collect();
            requests.extend(topics.chunks(chunk.max(1)).map(|topics| (kind, topics.to_vec())));
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
            entry.refused = None;
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
            .map(|(kind, topics)| {
                let request = subscription_request(kind.subscribe_command(), topics);
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
    fn a_refused_chunk_is_asked_for_one_by_one_and_what_is_refused_then_is_told_once() {
        let mut subscriptions = Subscriptions::new();
        let topics: Vec<Bytes> = ["a", "b"].map(Bytes::from).to_vec();
        for topic in &topics {
            subscriptions.want(SubscriptionKind::Channel, topic.clone());
        }
        let error = || ServerError::new(b"NOPERM no");
        let mut refuse = |topics: &[Bytes]| subscriptions.refused(SubscriptionKind::Channel, topics.to_vec(), error());
        assert_eq!(refuse(&topics), Refused::OneByOne(topics.clone()));
        assert_eq!(refuse(&topics[1..]), Refused::Topic { topic: topics[1].clone(), anew: true });
        assert_eq!(refuse(&topics[1..]), Refused::Topic { topic: topics[1].clone(), anew: false });
        assert_eq!(refuse(&[Bytes::from("c")]), Refused::Unwanted);
        assert!(subscriptions.refusal(SubscriptionKind::Channel, &topics[0]).is_none());
        assert!(subscriptions.refusal(SubscriptionKind::Channel, &topics[1]).is_some());
        subscriptions.push(&frame('>', &["subscribe", "b", ":1"]), Instant::now());
        assert!(subscriptions.refusal(SubscriptionKind::Channel, &topics[1]).is_none());
        assert_eq!(subscriptions.confirmed(), 1);
    }

    #[test]
    fn garbage_pushes_are_ignored() {
        let mut subscriptions = Subscriptions::new();
        for garbage in [&b">0\r\n"[..], b">1\r\n:1\r\n", b">2\r\n$7\r\nmessage\r\n*0\r\n", b"+OK\r\n"] {
            assert_eq!(subscriptions.push(garbage, Instant::now()), Delivered::Other, "{garbage:?}");
        }
    }
}
