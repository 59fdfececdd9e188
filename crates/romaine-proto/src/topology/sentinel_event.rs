//! What the events of a Sentinel mean.

/// The channels on which Sentinels tell what concerns a client, under their real names: with the sign.
///
/// Every Sentinel has to be listened to: most events are told by one alone, the leader of a failover.
pub const SENTINEL_EVENTS: &[&str] = &[
    // The course of a failover, in its order. The old primary takes writes until `+convert-to-slave`, ten seconds
    // after the end, if it is alive; what it takes after `+selected-slave` is likely to be lost.
    "+elected-leader",
    "+selected-slave",
    "+failover-state-send-slaveof-noone",
    "+failover-state-wait-promotion",
    "+promoted-slave",
    "+failover-state-reconf-slaves",
    "+config-update-from",
    "+failover-end",
    "+failover-end-for-timeout",
    "+switch-master",
    "-failover-abort-not-elected",
    "-failover-abort-no-good-slave",
    "-failover-abort-slave-timeout",
    // Roles and replicas.
    "+slave",
    "+slave-reconf-done",
    "+convert-to-slave",
    "+fix-slave-config",
    "+role-change",
    "-role-change",
    "+reset-master",
    "+monitor",
    "-monitor",
    "+reboot",
    // Health.
    "+sdown",
    "-sdown",
    "+odown",
    "-odown",
    // Other Sentinels.
    "+sentinel",
    "+sentinel-address-switch",
    "+sentinel-address-update",
];

/// What to do about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SentinelEvent {
    /// Ask all Sentinels now.
    Refresh,
    /// A failover is about to promote another: hold writes until it is over, which a refresh or
    /// [`FailoverAborted`](Self::FailoverAborted) tells.
    FailoverBegins,
    /// The failover came to nothing: the primary stays. Ask all the same.
    FailoverAborted,
    /// Another Sentinel appeared, is back, or has another address: ask for the list, and listen to it.
    SentinelFound,
    /// About another primary, or nothing to us.
    Nothing,
}

/// What the message `payload` on `channel` means to who wants the primary called `name`.
#[must_use]
pub fn sentinel_event(channel: &[u8], payload: &[u8], name: &str) -> SentinelEvent {
    let words: Vec<&[u8]> = payload.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).take(6).collect();
    let is_sentinel = words.first() == Some(&&b"sentinel"[..]);
    // `name old-ip old-port new-ip new-port`; `master name ip port`; and of another kind of instance
    // `kind its-name ip port @ name ip port`.
    let ((b"+switch-master", [about, ..]) | (_, [b"master", about, ..]) | (_, [_, _, _, _, b"@", about, ..])) =
        (channel, &words[..])
    else {
        return SentinelEvent::Nothing;
    };
    if *about != name.as_bytes() {
        return SentinelEvent::Nothing;
    }
    match channel {
        b"+selected-slave" | b"+failover-state-send-slaveof-noone" | b"+failover-state-wait-promotion" => {
            SentinelEvent::FailoverBegins
        }
        channel if channel.starts_with(b"-failover-abort-") => SentinelEvent::FailoverAborted,
        b"+sentinel" | b"+sentinel-address-switch" | b"+sentinel-address-update" => SentinelEvent::SentinelFound,
        b"-sdown" | b"-odown" if is_sentinel => SentinelEvent::SentinelFound,
        // One Sentinel less changes nothing of the primary.
        b"+sdown" | b"+odown" if is_sentinel => SentinelEvent::Nothing,
        channel if SENTINEL_EVENTS.iter().any(|known| known.as_bytes() == channel) => SentinelEvent::Refresh,
        _ => SentinelEvent::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a real Sentinel published during `SENTINEL FAILOVER mymaster`, in its order (Redis 7.0.15).
    const COURSE: [(&str, &str, SentinelEvent); 17] = [
        ("+new-epoch", "1", SentinelEvent::Nothing),
        ("+try-failover", "master mymaster 127.0.0.1 22001", SentinelEvent::Nothing),
        ("+vote-for-leader", "2adeb7b5cde2a7cbd1e831d574a7a3672f105ceb 1", SentinelEvent::Nothing),
        ("+elected-leader", "master mymaster 127.0.0.1 22001", SentinelEvent::Refresh),
        ("+failover-state-select-slave", "master mymaster 127.0.0.1 22001", SentinelEvent::Nothing),
        (
            "+selected-slave",
            "slave 127.0.0.1:22003 127.0.0.1 22003 @ mymaster 127.0.0.1 22001",
            SentinelEvent::FailoverBegins,
        ),
        (
            "+failover-state-send-slaveof-noone",
            "slave 127.0.0.1:22003 127.0.0.1 22003 @ mymaster 127.0.0.1 22001",
            SentinelEvent::FailoverBegins,
        ),
        (
            "+failover-state-wait-promotion",
            "slave 127.0.0.1:22003 127.0.0.1 22003 @ mymaster 127.0.0.1 22001",
            SentinelEvent::FailoverBegins,
        ),
        (
            "-role-change",
            "slave 127.0.0.1:22003 127.0.0.1 22003 @ mymaster 127.0.0.1 22001 new reported role is master",
            SentinelEvent::Refresh,
        ),
        ("+promoted-slave", "slave 127.0.0.1:22003 127.0.0.1 22003 @ mymaster 127.0.0.1 22001", SentinelEvent::Refresh),
        ("+failover-state-reconf-slaves", "master mymaster 127.0.0.1 22001", SentinelEvent::Refresh),
        (
            "+config-update-from",
            "sentinel 2adeb7b5cde2a7cbd1e831d574a7a3672f105ceb 127.0.0.1 23001 @ mymaster 127.0.0.1 22001",
            SentinelEvent::Refresh,
        ),
        ("+failover-end", "master mymaster 127.0.0.1 22001", SentinelEvent::Refresh),
        ("+switch-master", "mymaster 127.0.0.1 22001 127.0.0.1 22003", SentinelEvent::Refresh),
        ("+slave", "slave 127.0.0.1:22002 127.0.0.1 22002 @ mymaster 127.0.0.1 22003", SentinelEvent::Refresh),
        (
            "+convert-to-slave",
            "slave 127.0.0.1:22001 127.0.0.1 22001 @ mymaster 127.0.0.1 22003",
            SentinelEvent::Refresh,
        ),
        (
            "+role-change",
            "slave 127.0.0.1:22001 127.0.0.1 22001 @ mymaster 127.0.0.1 22003 new reported role is slave",
            SentinelEvent::Refresh,
        ),
    ];

    fn event(channel: &str, payload: &str) -> SentinelEvent {
        sentinel_event(channel.as_bytes(), payload.as_bytes(), "mymaster")
    }

    #[test]
    fn each_event_of_a_real_failover_has_its_meaning() {
        for (channel, payload, expected) in COURSE {
            assert_eq!(event(channel, payload), expected, "{channel} {payload}");
        }
    }

    #[test]
    fn what_is_acted_on_is_subscribed_to() {
        for (channel, _, _) in COURSE.iter().filter(|(_, _, meaning)| *meaning != SentinelEvent::Nothing) {
            assert!(SENTINEL_EVENTS.contains(channel), "{channel}");
        }
        for channel in SENTINEL_EVENTS {
            let master = event(channel, "master mymaster 10.0.0.1 6379");
            let switch = event(channel, "mymaster 10.0.0.1 6379 10.0.0.2 6379");
            assert!(master != SentinelEvent::Nothing || switch != SentinelEvent::Nothing, "{channel}");
        }
    }

    #[test]
    fn the_names_are_those_on_the_wire() {
        for channel in SENTINEL_EVENTS {
            assert!(channel.starts_with(['+', '-']), "{channel}");
            assert!(channel[1..].bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{channel}");
        }
        let mut sorted = SENTINEL_EVENTS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), SENTINEL_EVENTS.len());
    }

    #[test]
    fn events_about_another_primary_are_nothing_to_us() {
        for (channel, payload) in [
            ("+switch-master", "other 127.0.0.1 22001 127.0.0.1 22003"),
            ("+switch-master", "mymaster2 127.0.0.1 22001 127.0.0.1 22003"),
            ("+odown", "master other 127.0.0.1 22001 #quorum 2/2"),
            ("+sdown", "slave mymaster 127.0.0.1 22003 @ other 127.0.0.1 22001"),
            ("+selected-slave", "slave 127.0.0.1:22003 127.0.0.1 22003 @ other 127.0.0.1 22001"),
            ("+sentinel", "sentinel abc 127.0.0.1 23001 @ other 127.0.0.1 22001"),
            ("+failover-end", "slave mymaster"),
            ("+switch-master", ""),
            ("", ""),
            ("+tilt", "#tilt mode entered"),
        ] {
            assert_eq!(event(channel, payload), SentinelEvent::Nothing, "{channel} {payload}");
        }
    }

    #[test]
    fn a_primary_may_be_called_like_a_word_of_the_protocol() {
        let payload = b"slave 127.0.0.1:22003 127.0.0.1 22003 @ master 127.0.0.1 22001";
        assert_eq!(sentinel_event(b"+slave", payload, "master"), SentinelEvent::Refresh);
        assert_eq!(
            sentinel_event(b"+odown", b"master master 127.0.0.1 1 #quorum 2/2", "master"),
            SentinelEvent::Refresh
        );
        assert_eq!(
            sentinel_event(b"+switch-master", b"master 127.0.0.1 1 127.0.0.1 2", "master"),
            SentinelEvent::Refresh
        );
    }

    #[test]
    fn health_is_news_of_data_nodes_and_a_returning_sentinel_is_one_to_listen_to() {
        let sentinel = "sentinel abc 127.0.0.1 23001 @ mymaster 127.0.0.1 22001";
        let replica = "slave 127.0.0.1:22003 127.0.0.1 22003 @ mymaster 127.0.0.1 22001";
        let primary = "master mymaster 127.0.0.1 22001 #quorum 3/2";
        for (channel, payload, expected) in [
            ("+sdown", sentinel, SentinelEvent::Nothing),
            ("-sdown", sentinel, SentinelEvent::SentinelFound),
            ("+sentinel", sentinel, SentinelEvent::SentinelFound),
            ("+sdown", replica, SentinelEvent::Refresh),
            ("-sdown", replica, SentinelEvent::Refresh),
            ("+odown", primary, SentinelEvent::Refresh),
            ("-odown", primary, SentinelEvent::Refresh),
            ("-failover-abort-no-good-slave", primary, SentinelEvent::FailoverAborted),
            ("-failover-abort-not-elected", primary, SentinelEvent::FailoverAborted),
            ("-failover-abort-slave-timeout", replica, SentinelEvent::FailoverAborted),
        ] {
            assert_eq!(event(channel, payload), expected, "{channel} {payload}");
        }
    }
}
