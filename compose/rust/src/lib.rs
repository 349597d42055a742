//! A replica of the changelog: one leader accepts writes, every other replica follows.
//!
//! `machine`, `leader` and `follower` decide and touch neither sockets nor clocks nor disk: they
//! take an input and the time and push commands. `owner` is the one place that carries those
//! commands out; `listeners`, `links`, `store` and `control` are its hands.

#![forbid(unsafe_code)]

pub mod apply;
pub mod attempts;
pub mod backoff;
pub mod breaker;
pub mod bugs;
pub mod clock;
pub mod control;
pub mod correction;
pub mod counters;
pub mod entry;
pub mod events;
pub mod faults;
pub mod follower;
pub mod frames;
pub mod hashes;
pub mod health;
pub mod hex;
pub mod leader;
pub mod links;
pub mod listeners;
pub mod logging;
pub mod machine;
pub mod measures;
pub mod merkle;
pub mod metrics;
pub mod object;
pub mod oneshot;
pub mod otlp;
pub mod owner;
pub mod process;
pub mod reading;
mod release;
mod replication;
pub mod settings;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod throttle;
pub mod trace;

/// The generated wire schema.
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/driftlab.v1.rs"));
}

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
