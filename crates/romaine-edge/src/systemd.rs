//! The unit that keeps an agent running.

use std::path::PathBuf;

use crate::id::EdgeId;

/// What the unit is made of.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The edge.
    pub id: EdgeId,
    /// The program.
    pub program: PathBuf,
    /// The agent's arguments, `agent` and the hub's address left out, already quoted for systemd.
    pub arguments: Vec<String>,
    /// How long the agent may take to end, in seconds.
    pub stop_s: u64,
}

/// A unit for `/etc/systemd/system/romaine-agent.service`. The hub's address is read from a file that only root can read:
/// it may hold a password, and arguments are seen by everybody.
#[must_use]
pub fn systemd_unit(unit: &Unit) -> String {
    let Unit { id, program, arguments, stop_s } = unit;
    let arguments: Vec<String> = arguments.iter().map(|argument| quote(argument)).collect();
    format!(
        "# /etc/systemd/system/romaine-agent.service
# /etc/romaine/agent.env (mode 0600) holds the hub: ROMAINE_HUB=rediss://{id}:PASSWORD@hub.example.org:6379
[Unit]
Description=romaine agent {id}
Wants=network-online.target
After=network-online.target

[Service]
EnvironmentFile=/etc/romaine/agent.env
ExecStart={} agent {}
Restart=always
RestartSec=5
# 2 is a mistake in the settings, 4 a refusal (password, permissions, an id in use twice): no restart mends the first.
RestartPreventExitStatus=2
# Handlers end with the agent: what they did is in the ledger.
KillMode=mixed
TimeoutStopSec={stop_s}
StateDirectory=romaine
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
",
        quote(&program.to_string_lossy()),
        arguments.join(" "),
    )
}

/// As systemd reads words: quoted where needed, `%` and `$` doubled.
fn quote(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let plain =
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=./:,@%+".contains(&byte));
    if plain { escaped } else { format!("\"{escaped}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_unit_are_quoted_as_systemd_reads_them() {
        assert_eq!(quote("--id=edge-017"), "--id=edge-017");
        assert_eq!(quote("do it $HOME 5%"), "\"do it $$HOME 5%%\"");
        let unit = Unit {
            id: "edge-017".parse().unwrap(),
            program: "/usr/bin/romaine".into(),
            arguments: vec!["--id".into(), "edge-017".into(), "--exec".into(), "run \"x\"".into()],
            stop_s: 45,
        };
        let text = systemd_unit(&unit);
        assert!(text.contains(r#"ExecStart=/usr/bin/romaine agent --id edge-017 --exec "run \"x\"""#), "{text}");
        assert!(!text.contains("--hub"));
    }
}
