//! Whole replicas as processes of this host, over loopback.

mod cluster;
mod crash;
mod interfaces;
mod support;
