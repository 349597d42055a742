//! The settings file of a replica.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backoff::Policy;
use crate::bugs::Bug;
use crate::wire::{Envelope, Kind};

/// When a write is acknowledged to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Async,
    Quorum,
    Sync,
    Bounded,
}

/// When a follower applies what it has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    Sequence,
    Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    Reject,
    Defer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    #[default]
    Warn,
    Info,
    Debug,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub limit: usize,
    pub overflow: Overflow,
}

/// How frames reach a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// All on one long-lived connection.
    #[default]
    Framed,
    /// Each on a connection of its own, dialled ahead.
    Oneshot,
}

/// Limits of the frames from one replica to one peer; 0 is none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    #[serde(default)]
    pub memory_bytes: u64,
    #[serde(default)]
    pub bandwidth_bytes_per_s: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub peer: String,
    pub client: String,
    pub control: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub schema: u32,
    pub run_id: String,
    pub name: String,
    pub index: usize,
    pub leader: String,
    pub replicas: Vec<String>,
    pub peers: BTreeMap<String, String>,
    pub seed: u64,
    pub mode: Mode,
    pub bound: u64,
    pub ordering: Ordering,
    pub policy: Policy,
    pub queue: Queue,
    pub reconcile_every_ns: u64,
    pub reconcile_batch: usize,
    pub data_dir: PathBuf,
    pub events: bool,
    #[serde(default)]
    pub log_level: LogLevel,
    #[serde(default)]
    pub wire: Wire,
    /// Connections dialled ahead for each peer.
    #[serde(default = "pool")]
    pub pool: usize,
    #[serde(default)]
    pub channel: Channel,
    /// How often the leader tells how far it has come; 0 is never.
    #[serde(default)]
    pub progress_every_ns: u64,
    #[serde(default = "schema_version")]
    pub schema_version: u32,
    /// `http://IP:PORT` of an OpenTelemetry collector; empty means that nothing is recorded.
    #[serde(default)]
    pub traces: String,
    pub listen: Listen,
    /// A defect to show on purpose; no key of the file sets it.
    #[serde(skip)]
    pub bug: Option<Bug>,
}

fn pool() -> usize {
    8
}

fn schema_version() -> u32 {
    1
}

/// Names the key that is wrong and why.
#[derive(Debug)]
pub struct SettingsError(String);

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "settings: {}", self.0)
    }
}

impl std::error::Error for SettingsError {}

const POOL_MAX: usize = 64;
/// Followers are kept as bits of one word.
const REPLICAS_MAX: usize = 64;
/// Half the range of the clock, so that adding a wait to a time cannot overflow.
const DURATION_NS_MAX: u64 = 1 << 62;

impl Settings {
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| SettingsError(format!("{}: {error}", path.display())))?;
        Self::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Self =
            serde_json::from_str(text).map_err(|error| SettingsError(error.to_string()))?;
        settings.check_numbers()?;
        settings.check_names()?;
        settings.check_addresses()?;
        Ok(settings)
    }

    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub fn is_leader(&self) -> bool {
        self.name == self.leader
    }

    /// A frame of this replica, queued now, with nothing in it yet.
    pub fn envelope(&self, kind: Kind, now_ns: i64) -> Envelope {
        Envelope {
            schema_version: self.schema_version,
            kind: kind.into(),
            source: self.name.clone(),
            enqueued_ns: if self.schema_version >= 2 { now_ns } else { 0 },
            ..Envelope::default()
        }
    }

    /// The position of the leader in `replicas`.
    pub fn leader_index(&self) -> usize {
        let position = self.replicas.iter().position(|name| *name == self.leader);
        position.expect("checked when the settings were read")
    }

    fn check_numbers(&self) -> Result<(), SettingsError> {
        let rules = [
            ("schema", self.schema == 1, "must be 1"),
            ("seed", self.seed < 1 << 63, "must be below 2^63"),
            ("queue.limit", self.queue.limit >= 1, "must be positive"),
            (
                "policy.timeout_ns",
                self.policy.timeout_ns >= 1,
                "must be positive",
            ),
            (
                "policy.attempts",
                self.policy.attempts >= 1,
                "must be positive",
            ),
            (
                "policy.breaker_open_ns",
                self.policy.breaker_open_ns >= 1,
                "must be positive",
            ),
            (
                "pool",
                (1..=POOL_MAX).contains(&self.pool),
                "must be 1 to 64",
            ),
            (
                "schema_version",
                matches!(self.schema_version, 1 | 2),
                "must be 1 or 2",
            ),
        ];
        for (key, holds, rule) in rules {
            if !holds {
                return Err(SettingsError(format!("{key} {rule}")));
            }
        }
        let durations = [
            ("policy.timeout_ns", self.policy.timeout_ns),
            ("policy.base_ns", self.policy.base_ns),
            ("policy.cap_ns", self.policy.cap_ns),
            ("policy.breaker_open_ns", self.policy.breaker_open_ns),
            ("reconcile_every_ns", self.reconcile_every_ns),
            ("progress_every_ns", self.progress_every_ns),
        ];
        for (key, duration_ns) in durations {
            if duration_ns >= DURATION_NS_MAX {
                return Err(SettingsError(format!("{key} must be below 2^62")));
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), SettingsError> {
        let fail = |reason: String| Err(SettingsError(reason));
        let names: HashSet<&String> = self.replicas.iter().collect();
        if names.len() != self.replicas.len() || self.replicas.len() > REPLICAS_MAX {
            return fail(format!(
                "replicas must be {REPLICAS_MAX} names at most, none twice"
            ));
        }
        if self.replicas.get(self.index) != Some(&self.name) {
            return fail("index must be the position of name in replicas".to_owned());
        }
        if !names.contains(&self.leader) {
            return fail("leader must be one of replicas".to_owned());
        }
        for name in &self.replicas {
            let wanted = *name != self.name && (self.is_leader() || *name == self.leader);
            if wanted && !self.peers.contains_key(name) {
                return fail(format!("peers has no address for {name:?}"));
            }
        }
        if let Some(name) = self.peers.keys().find(|name| !names.contains(name)) {
            return fail(format!("peers names {name:?}, which is not in replicas"));
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), SettingsError> {
        for (name, address) in &self.peers {
            parse_address(&format!("peers.{name}"), address)?;
        }
        let listen = &self.listen;
        parse_address("listen.peer", &listen.peer)?;
        parse_address("listen.client", &listen.client)?;
        parse_address("listen.control", &listen.control)?;
        self.collector()?;
        Ok(())
    }

    /// Where spans go.
    pub fn collector(&self) -> Result<Option<SocketAddr>, SettingsError> {
        if self.traces.is_empty() {
            return Ok(None);
        }
        let fail = || SettingsError(format!("traces: {:?} is not http://IP:PORT", self.traces));
        let address = self.traces.strip_prefix("http://").ok_or_else(fail)?;
        let address = address.strip_suffix('/').unwrap_or(address);
        address.parse().map(Some).map_err(|_| fail())
    }
}

/// Reads `IP:PORT`, or `:PORT` for every address of this host. Names are refused: a statically
/// linked program in an empty image has nothing to look them up with.
pub fn parse_address(key: &str, text: &str) -> Result<SocketAddr, SettingsError> {
    let full = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.to_owned(),
    };
    full.parse()
        .map_err(|_| SettingsError(format!("{key}: {text:?} is not IP:PORT")))
}
