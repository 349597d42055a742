//! The rules of a replica, checked without sockets, disk or sleep, each with a control.

mod acceptance;
mod breaker;
mod follower;
mod framing;
mod golden;
mod reconciliation;
mod release;
mod retries;
mod settings;
mod store;
mod support;
