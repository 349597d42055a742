//! The decisions of a replica: inputs and the time go in, commands come out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::breaker::BreakerState;
use crate::counters::Counters;
use crate::entry::Entry;
use crate::events::Event;
use crate::follower::Follower;
use crate::leader::Leader;
use crate::settings::{Mode, Settings};
use crate::state::KeyState;
use crate::wire::Envelope;

/// One client connection; never used twice.
pub type ClientId = u64;

/// What a timer was started for. A generation is never used twice, so a timer whose purpose has
/// gone matches nothing when it fires and needs no cancelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    Attempt {
        follower: usize,
        sequence: u64,
        generation: u64,
    },
    Digest,
}

/// What the owner has to do. Appends become durable in the order of these commands and are
/// reported back, in that order, through `Machine::on_committed`.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Append(Arc<Entry>),
    /// `target` is a position in the settings' `replicas`.
    Send {
        target: usize,
        envelope: Envelope,
    },
    Reply {
        client: ClientId,
        envelope: Envelope,
    },
    StartTimer {
        at_ns: i64,
        timer: Timer,
    },
    Event(Event),
}

/// A picture of the replica for those who ask.
#[derive(Debug, Clone)]
pub struct Status {
    pub mode: Mode,
    pub last_sequence: u64,
    pub prefix: u64,
    pub prefix_hash: u64,
    pub waiting: usize,
    pub outstanding: usize,
    /// By follower; a follower itself has none.
    pub breakers: BTreeMap<String, BreakerState>,
    pub incarnation: u64,
    pub counters: Counters,
    pub state: KeyState,
}

/// A leader assigns sequences without gaps, so this store was written under another role.
#[derive(Debug, PartialEq, Eq)]
pub struct LogGap {
    pub missing: u64,
}

impl fmt::Display for LogGap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing;
        write!(
            formatter,
            "store: the log of a leader lacks entry {missing}"
        )
    }
}

impl std::error::Error for LogGap {}

#[derive(Debug)]
pub enum Machine {
    Leader(Leader),
    Follower(Follower),
}

impl Machine {
    /// Takes what the store held, in the order of sequences.
    pub fn recover(
        settings: Arc<Settings>,
        incarnation: u64,
        stored: Vec<Entry>,
    ) -> Result<Self, LogGap> {
        if !settings.is_leader() {
            let follower = Follower::recover(settings, incarnation, stored);
            return Ok(Self::Follower(follower));
        }
        for (entry, expected) in stored.iter().zip(1..) {
            if entry.sequence != expected {
                return Err(LogGap { missing: expected });
            }
        }
        let leader = Leader::recover(settings, incarnation, stored);
        Ok(Self::Leader(leader))
    }

    pub fn start(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        match self {
            Self::Leader(leader) => leader.start(now_ns, out),
            Self::Follower(follower) => follower.start(now_ns, out),
        }
    }

    pub fn on_peer(&mut self, envelope: Envelope, now_ns: i64, out: &mut Vec<Command>) {
        match self {
            Self::Leader(leader) => leader.on_peer(envelope, now_ns, out),
            Self::Follower(follower) => follower.on_peer(envelope, out),
        }
    }

    pub fn on_client(
        &mut self,
        client: ClientId,
        envelope: Envelope,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        match self {
            Self::Leader(leader) => leader.on_client(client, envelope, now_ns, out),
            Self::Follower(follower) => follower.on_client(client, envelope, now_ns, out),
        }
    }

    /// The first `count` appends not yet reported are durable.
    pub fn on_committed(&mut self, count: usize, now_ns: i64, out: &mut Vec<Command>) {
        match self {
            Self::Leader(leader) => leader.on_committed(count, now_ns, out),
            Self::Follower(follower) => follower.on_committed(count, now_ns, out),
        }
    }

    pub fn on_timer(&mut self, timer: Timer, now_ns: i64, out: &mut Vec<Command>) {
        match (self, timer) {
            (
                Self::Leader(leader),
                Timer::Attempt {
                    follower,
                    sequence,
                    generation,
                },
            ) => leader.on_attempt_timer(follower, sequence, generation, now_ns, out),
            (Self::Follower(follower), Timer::Digest) => follower.on_digest_timer(now_ns, out),
            (Self::Leader(_), Timer::Digest) | (Self::Follower(_), Timer::Attempt { .. }) => {}
        }
    }

    pub fn set_mode(&mut self, mode: Mode, now_ns: i64, out: &mut Vec<Command>) {
        match self {
            Self::Leader(leader) => leader.set_mode(mode, now_ns, out),
            Self::Follower(follower) => follower.set_mode(mode, now_ns, out),
        }
    }

    pub fn count_malformed(&mut self) {
        match self {
            Self::Leader(leader) => leader.counters.malformed += 1,
            Self::Follower(follower) => follower.counters.malformed += 1,
        }
    }

    pub fn status(&self) -> Status {
        match self {
            Self::Leader(leader) => leader.status(),
            Self::Follower(follower) => follower.status(),
        }
    }
}

/// The end of a wait that starts now.
pub fn after(now_ns: i64, wait_ns: u64) -> i64 {
    now_ns.saturating_add_unsigned(wait_ns)
}
