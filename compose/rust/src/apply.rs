//! Applies a stream of updates as a follower would, with no disk and no network.

use std::fmt;
use std::io::{self, BufRead};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bugs::Bug;
use crate::follower::Follower;
use crate::hex::parse_hex;
use crate::machine::Command;
use crate::settings::{Ordering, Settings};
use crate::state::rounded;
use crate::wire::{Envelope, Kind};

const QUEUE_LIMIT: usize = usize::MAX;
const LEADER: &str = "leader";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sequence: String,
    token: String,
    payload: String,
}

/// What all implementations have to agree on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub digest: String,
    pub prefix: u64,
    pub prefix_hash: String,
    pub keys: usize,
    pub duplicates: u64,
    pub out_of_order: u64,
    pub superseded: u64,
    pub waiting: usize,
}

#[derive(Debug)]
pub enum ApplyError {
    Read(io::Error),
    Line { number: usize, reason: String },
}

impl fmt::Display for ApplyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(formatter, "apply: {error}"),
            Self::Line { number, reason } => write!(formatter, "apply: line {number}: {reason}"),
        }
    }
}

impl std::error::Error for ApplyError {}

pub fn apply(
    input: impl BufRead,
    ordering: Ordering,
    bug: Option<Bug>,
) -> Result<Outcome, ApplyError> {
    let settings = Arc::new(lone_follower(ordering, bug));
    let mut follower = Follower::recover(settings, 1, Vec::new());
    for (position, line) in input.lines().enumerate() {
        let line = line.map_err(ApplyError::Read)?;
        let envelope = parse_line(&line).map_err(|reason| ApplyError::Line {
            number: position + 1,
            reason,
        })?;
        take(&mut follower, envelope).map_err(|reason| ApplyError::Line {
            number: position + 1,
            reason,
        })?;
    }
    let status = follower.status();
    let prefix_hash = match bug {
        Some(Bug::FloatNumbers) => rounded(status.prefix_hash),
        _ => status.prefix_hash,
    };
    Ok(Outcome {
        digest: status.state.digest(),
        prefix: status.prefix,
        prefix_hash: prefix_hash.to_string(),
        keys: status.state.key_count(),
        duplicates: status.counters.duplicates,
        out_of_order: status.counters.out_of_order,
        superseded: follower.superseded(),
        waiting: status.waiting,
    })
}

/// Stores as if every append were durable at once.
fn take(follower: &mut Follower, envelope: Envelope) -> Result<(), String> {
    let mut commands = Vec::new();
    follower.on_peer(envelope, 0, 0, &mut commands);
    let appends = commands
        .iter()
        .filter(|command| matches!(command, Command::Append(_)));
    follower.on_committed(appends.count(), 0, &mut Vec::new());
    if follower.counters.malformed > 0 {
        return Err("not an update".to_owned());
    }
    Ok(())
}

fn parse_line(text: &str) -> Result<Envelope, String> {
    let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let sequence = line.sequence.parse::<u64>();
    Ok(Envelope {
        kind: Kind::Update.into(),
        source: LEADER.to_owned(),
        sequence: sequence.map_err(|error| error.to_string())?,
        idempotency_token: line.token,
        payload: parse_hex(&line.payload)?.into(),
        ..Envelope::default()
    })
}

/// Settings of a follower that speaks to nobody.
fn lone_follower(ordering: Ordering, bug: Option<Bug>) -> Settings {
    let value = json!({
        "schema": 1, "run_id": "apply", "name": "follower", "index": 1, "leader": LEADER,
        "replicas": [LEADER, "follower"], "peers": {LEADER: "127.0.0.1:1"},
        "seed": 0, "mode": "async", "bound": 0, "ordering": "sequence",
        "policy": {"timeout_ns": 1, "attempts": 1, "backoff": "fixed", "base_ns": 1,
                   "cap_ns": 1, "jitter": "none", "budget_ppm": -1},
        "queue": {"limit": QUEUE_LIMIT, "overflow": "reject"},
        "reconcile_every_ns": 0, "reconcile_batch": 0, "data_dir": "", "events": false,
        "listen": {"peer": ":0", "client": ":0", "control": ":0"},
    });
    let settings = Settings::parse(&value.to_string());
    Settings {
        ordering,
        bug,
        ..settings.expect("constant settings are valid")
    }
}
