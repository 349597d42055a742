//! What a replica counts, all from 0 at its start.

use serde::Serialize;

macro_rules! counters {
    ($($name:ident: $help:literal,)*) => {
        #[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
        pub struct Counters {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl Counters {
            /// Name, meaning and value of every counter.
            pub fn rows(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name),)*]
            }
        }
    };
}

counters! {
    transmissions: "UPDATE and REPAIR frames handed to a link.",
    bytes: "Bytes of those frames with their length prefix.",
    acks_sent: "UPDATE_ACK frames handed to a link.",
    digests_sent: "DIGEST frames handed to a link.",
    retries: "Attempts that timed out and will be repeated.",
    repairs: "REPAIR frames handed to a link.",
    exhausted: "Updates given up after their last attempt.",
    budget_denied: "Retries that the budget did not allow.",
    deferred: "Updates left to reconciliation because the queue was full.",
    rejected: "Writes refused before they were stored.",
    duplicate_requests: "Writes whose token was known already.",
    duplicates: "Updates received that were stored already.",
    out_of_order: "Updates stored that did not follow the highest one.",
    reorder_full: "Updates refused because too many wait behind a gap.",
    digest_mismatch: "Digests that contradict the changelog.",
    unsent: "Frames dropped because a link had no connection.",
    send_queue_full: "Frames dropped because an outgoing queue was full.",
    malformed: "Frames that could not be understood.",
    breaker_rejected: "Attempts that an open circuit breaker held back.",
    breaker_opened: "Times that a circuit breaker opened.",
    partial_frames: "Connections that ended inside a frame.",
    duplicated: "Frames sent twice on request.",
    throttled: "Frames that waited for the bandwidth of their channel.",
    slowed: "Updates that waited because this node is slow.",
    stalled: "Durable writes that waited because the disk is slow.",
    skewed: "Entries stamped by a wrong clock.",
    corrected: "Entries that a repair put right.",
    reads: "Reads answered.",
    stale_reads: "Reads refused because the read model was too old.",
}
