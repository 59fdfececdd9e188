//! URLs: everything about a connection in one line, and an error that names the part at fault.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use romaine_proto::{Liveness, Protocol, ReadFrom};

use crate::config::{Config, Offline};
use crate::error::{Error, Result};
use crate::tls::Tls;

const FORMS: &str = "redis://[[user]:password@]host[:port][/database], rediss://… for TLS, redis+unix:///path, \
                     redis-sentinel://host[:port],…/name, or redis-cluster://host[:port],…";

/// What is wrong more often than what seems to be.
const ENCODED: &str = "in a user or password, the characters / ? # @ % must be percent-encoded (? is %3F)";

/// Where Sentinels usually listen.
const SENTINEL_PORT: u16 = 26_379;

pub(crate) fn parse(url: &str) -> Result<Config> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(Error::config(format!("the URL has no scheme; expected {FORMS}")));
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    let discover = query.split('&').any(|pair| pair == "role=discover");
    let mut config = match scheme.to_ascii_lowercase().as_str() {
        "redis" => tcp(place, discover)?,
        "rediss" => tcp(place, discover)?.tls(Tls::default()),
        "redis-sentinel" => sentinel(place)?,
        "rediss-sentinel" => sentinel(place)?.tls(Tls::default()),
        "redis-cluster" => cluster(place)?,
        "rediss-cluster" => cluster(place)?.tls(Tls::default()),
        "redis+unix" | "unix" => unix(place)?,
        other => return Err(Error::config(format!("the URL's scheme {other:?} is unknown; expected {FORMS}"))),
    };
    if let Some(credentials) = credentials {
        config = with_credentials(config, credentials)?;
    }
    let mut of_sentinels = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value, "a parameter's value")?;
        match name {
            "sentinel_user" => of_sentinels.0 = Some(value),
            "sentinel_password" => of_sentinels.1 = Some(value),
            _ => config = parameter(config, name, &value)?,
        }
    }
    match of_sentinels {
        (None, None) => {}
        (user, Some(password)) => config = config.sentinel_user(user.unwrap_or_default(), password)?,
        (Some(_), None) => return Err(Error::config("the URL has sentinel_user without sentinel_password")),
    }
    config.validate()?;
    Ok(config)
}

fn decode(text: &str, what: &str) -> Result<String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_not_text) => Err(Error::config(format!("{what} in the URL is not UTF-8 after percent-decoding"))),
    }
}

/// `host[:port],host[:port]…`
fn hosts(authority: &str, default_port: u16) -> Result<Vec<(String, u16)>> {
    authority.split(',').map(|host| host_and_port(host, default_port)).collect()
}

fn host_and_port(authority: &str, default_port: u16) -> Result<(String, u16)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err(Error::config("the URL's IPv6 address has no closing bracket; expected [::1]:6379"));
        };
        (host, rest.strip_prefix(':'))
    } else {
        match authority.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                return Err(Error::config("an IPv6 address in a URL needs brackets; expected redis://[::1]:6379"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err(Error::config(format!("the URL has no host; expected {FORMS}")));
    }
    let port = match port {
        None | Some("") => default_port,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            // Never echo it: of a password with a raw ? or / the first part stands here.
            _ => {
                return Err(Error::config(format!("the URL's port is not a number from 1 to 65535; {ENCODED}")));
            }
        },
    };
    Ok((decode(host, "the host")?, port))
}

fn tcp(place: &str, discover: bool) -> Result<Config> {
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    if authority.contains(',') && !discover {
        return Err(Error::config(
            "the URL names several hosts; that is redis-cluster://… for a Cluster, redis-sentinel://…/name for \
             Sentinels, or ?role=discover for a primary and its replicas",
        ));
    }
    let hosts = hosts(authority, 6379)?;
    let config = if discover {
        Config::discover(hosts)?
    } else {
        let (host, port) = hosts.into_iter().next().unwrap_or_default();
        Config::new(host, port)
    };
    with_database(config, path)
}

fn with_database(config: Config, path: &str) -> Result<Config> {
    match path {
        "" => Ok(config),
        database => match database.parse() {
            Ok(database) => Ok(config.database(database)),
            // Not echoed, as the port.
            Err(_not_a_number) => {
                Err(Error::config(format!("the database after the host is not a number such as 0; {ENCODED}")))
            }
        },
    }
}

fn sentinel(place: &str) -> Result<Config> {
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let (name, database) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() {
        return Err(Error::config(
            "the URL does not say which primary; expected redis-sentinel://host[:port],…/name, often /mymaster",
        ));
    }
    let config = Config::sentinel(hosts(authority, SENTINEL_PORT)?, decode(name, "the primary's name")?)?;
    with_database(config, database)
}

fn cluster(place: &str) -> Result<Config> {
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    with_database(Config::cluster(hosts(authority, 6379)?)?, path)
}

fn unix(place: &str) -> Result<Config> {
    let path = decode(place, "the socket path")?;
    if !path.starts_with('/') {
        return Err(Error::config(
            "the socket path in the URL must be absolute; expected redis+unix:///run/redis.sock",
        ));
    }
    Ok(Config::unix(path))
}

fn with_credentials(config: Config, credentials: &str) -> Result<Config> {
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (decode(user, "the user")?, decode(password, "the password")?),
        // Never echo it: it may well be a password without its colon.
        None => {
            return Err(Error::config("the URL has a user without a password; expected user:password@ or :password@"));
        }
    };
    Ok(if user.is_empty() { config.password(password) } else { config.user(user, password) })
}

fn parameter(config: Config, name: &str, value: &str) -> Result<Config> {
    let wrong =
        |expected: &str| Err(Error::config(format!("the URL parameter {name}={value} is wrong; expected {expected}")));
    Ok(match name {
        "db" | "database" => config.database(number(value, "the URL parameter db")?),
        "protocol" => match value {
            "2" => config.protocol(Protocol::Resp2),
            "3" => config.protocol(Protocol::Resp3),
            "auto" => config.protocol(Protocol::Auto),
            _ => return wrong("2, 3 or auto"),
        },
        "client_name" => config.client_name(value)?,
        "timeout" => config.timeout(duration(name, value)?),
        "connect_timeout" => config.connect_timeout(duration(name, value)?),
        "handshake_timeout" => config.handshake_timeout(duration(name, value)?),
        "liveness" => match value {
            "default" => config.liveness(Liveness::default()),
            "fast" => config.liveness(Liveness::fast()),
            "frugal" => config.liveness(Liveness::frugal()),
            "off" => config.liveness(Liveness::off()),
            _ => return wrong("default, fast, frugal or off"),
        },
        "offline" => match value {
            "wait" => config.offline(Offline::Wait),
            "fail" => config.offline(Offline::Fail),
            _ => return wrong("wait or fail"),
        },
        "read_from" => config.read_from(match value {
            "primary" => ReadFrom::Primary,
            "primary-preferred" => ReadFrom::PrimaryPreferred,
            "replica" => ReadFrom::Replica,
            "replica-preferred" => ReadFrom::ReplicaPreferred,
            "nearest" => ReadFrom::Nearest,
            "any" => ReadFrom::Any,
            _ => match value.strip_prefix("zone:") {
                Some(zone) if !zone.is_empty() => ReadFrom::Zone(zone.to_owned()),
                _ => return wrong("primary, primary-preferred, replica, replica-preferred, nearest, any or zone:NAME"),
            },
        }),
        "refresh" => config.refresh_every(duration(name, value)?),
        "role" => match value {
            "discover" => config,
            _ => return wrong("discover"),
        },
        "lazy" => match value {
            "true" | "" => config.lazy(),
            "false" => config,
            _ => return wrong("true or false"),
        },
        "ca" | "cert" | "key" | "sni" => {
            let Some(tls) = config.tls.clone() else {
                return Err(Error::config(format!("the URL parameter {name} needs TLS; expected rediss://")));
            };
            let tls = match name {
                "ca" => tls.ca_file(value),
                "cert" => tls.client_certificate_file(value),
                "key" => tls.client_key_file(value),
                _ => tls.server_name(value),
            };
            config.tls(tls)
        }
        _ => {
            // Anything else may be the end of a password with a raw ? in it.
            let is_name = !value.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let which = if is_name { format!("{name:?} is unknown") } else { format!("is unknown; {ENCODED}") };
            return Err(Error::config(format!(
                "the URL parameter {which}; expected one of db, protocol, client_name, timeout, \
                 connect_timeout, handshake_timeout, liveness, offline, lazy, read_from, refresh, role, \
                 sentinel_user, sentinel_password, ca, cert, key, sni"
            )));
        }
    })
}

fn number(text: &str, what: &str) -> Result<u32> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_not_a_number) => Err(Error::config(format!("{what} is {text:?}; expected a number such as 0"))),
    }
}

/// `500ms`, `3s`, `2m`, `1h`.
fn duration(name: &str, text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3_600),
        _ => Duration::ZERO,
    };
    match digits.parse::<u32>() {
        Ok(count) if count > 0 && !unit.is_zero() => Ok(unit * count),
        _ => Err(Error::config(format!(
            "the URL parameter {name}={text} is wrong; expected a duration such as 500ms or 3s"
        ))),
    }
}
