//! What to say when a command cannot be issued the way it was.

/// Commands that change the state of their connection do not belong on a shared one.
pub(crate) fn connection_state(name: &str) -> String {
    let instead = match name {
        "SUBSCRIBE" | "UNSUBSCRIBE" => "use client.subscribe()",
        "PSUBSCRIBE" | "PUNSUBSCRIBE" => "use client.psubscribe()",
        "SSUBSCRIBE" | "SUNSUBSCRIBE" => "use client.ssubscribe()",
        "MULTI" | "EXEC" | "DISCARD" => "use client.transaction()",
        "WATCH" | "UNWATCH" => "use client.watch()",
        "MONITOR" => "use client.monitor()",
        "SELECT" => "set the database in the URL, as in redis://host/5",
        "AUTH" | "HELLO" => "set user and password in the URL or by Config::credentials",
        "CLIENT SETNAME" => "set the name by Config::client_name",
        _ => "use client.exclusive() for a connection of your own",
    };
    format!("it changes the state of a connection that others share: {instead}")
}

/// A wait is for one node.
pub(crate) const BLOCKS: &str = "it would wait at every node: issue it on client.on(node)";

/// A connection of one's own is not probed, and its watchdog is quiet while a command blocks.
pub(crate) const UNWATCHED: &str = "it would wait for ever on a connection that nobody watches then: give it a time-out, \
    or issue it on the client, which probes it";
