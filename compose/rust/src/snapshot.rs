//! The changelog as text: what `GET /snapshot` answers and `POST /repair` takes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bugs::Bug;
use crate::entry::Entry;
use crate::hex::{parse_hex, to_hex};
use crate::object::{Object, parse_object};
use crate::state::KeyState;
use crate::wire::{Envelope, Kind};

/// Entries of one repair.
pub const REPAIR_ENTRIES_MAX: usize = 1000;
/// What the seeded bug leaves out.
const MISSED_ENTRIES: usize = 8;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sequence: String,
    timestamp_ns: i64,
    origin: String,
    token: String,
    payload: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repair {
    entries: Vec<Object<Line>>,
}

/// The gapless prefix of a replica at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub prefix: u64,
    pub prefix_hash: u64,
    pub entries: Vec<Arc<Entry>>,
}

impl Snapshot {
    /// One JSON object a line: a header, then the entries in order.
    pub fn to_text(&self, monotonic_ns: i64, bug: Option<Bug>) -> String {
        let mut state = KeyState::new(bug);
        for entry in &self.entries {
            state.put(entry);
        }
        let header = json!({
            "prefix": self.prefix,
            "prefix_hash": self.prefix_hash.to_string(),
            "digest": state.digest(),
            "monotonic_ns": monotonic_ns,
        });
        let mut text = header.to_string();
        text.push('\n');
        let mut shown = self.entries.len();
        if bug == Some(Bug::SnapshotMisses) {
            shown = shown.saturating_sub(MISSED_ENTRIES);
        }
        for entry in &self.entries[..shown] {
            text.push_str(&entry_text(entry));
            text.push('\n');
        }
        text
    }
}

/// One entry as a JSON object.
pub fn entry_text(entry: &Entry) -> String {
    let line = Line {
        sequence: entry.sequence.to_string(),
        timestamp_ns: entry.timestamp_ns,
        origin: entry.origin.clone(),
        token: entry.token.clone(),
        payload: to_hex(&entry.payload),
    };
    json!(line).to_string()
}

/// The entries of a repair, or what is wrong with the first that is none.
pub fn parse_repair(body: &[u8]) -> Result<Vec<Entry>, String> {
    let repair: Repair = parse_object(body)?;
    if repair.entries.len() > REPAIR_ENTRIES_MAX {
        return Err(format!("more than {REPAIR_ENTRIES_MAX} entries"));
    }
    let entries = repair.entries.into_iter().enumerate();
    entries
        .map(|(position, Object(line))| {
            parse_line(line).map_err(|reason| format!("entries[{position}]: {reason}"))
        })
        .collect()
}

fn parse_line(line: Line) -> Result<Entry, String> {
    let sequence = line.sequence.parse::<u64>();
    let sequence = sequence.map_err(|error| format!("sequence: {error}"))?;
    let payload = parse_hex(&line.payload).map_err(|reason| format!("payload: {reason}"))?;
    let envelope = Envelope {
        kind: Kind::Repair.into(),
        sequence,
        timestamp_ns: line.timestamp_ns,
        origin: line.origin,
        idempotency_token: line.token,
        payload: payload.into(),
        ..Envelope::default()
    };
    Entry::from_envelope(envelope).map_err(|error| error.to_string())
}
