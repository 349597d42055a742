//! Whole replicas as processes of this host, over loopback.

mod cluster;
mod crash;
mod inside;
mod interfaces;
mod links;
mod support;
mod traces;
