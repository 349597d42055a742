//! The rules of a replica, checked without sockets, disk or sleep, each with a control.

mod acceptance;
mod breaker;
mod channels;
mod correction;
mod faults;
mod follower;
mod framing;
mod fuzz;
mod golden;
mod merkle;
mod reading;
mod reconciliation;
mod release;
mod retries;
mod seeded;
mod settings;
mod store;
mod support;
mod tracing;
