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
pub mod counters;
pub mod entry;
pub mod events;
pub mod follower;
pub mod frames;
pub mod hashes;
pub mod health;
pub mod leader;
pub mod links;
pub mod listeners;
pub mod logging;
pub mod machine;
pub mod owner;
pub mod process;
mod replication;
pub mod settings;
pub mod state;
pub mod store;

/// The generated wire schema.
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/driftlab.v1.rs"));
}

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
