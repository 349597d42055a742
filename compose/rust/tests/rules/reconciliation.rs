//! Digests: what they acknowledge, what they repair and what they refuse.

use std::sync::Arc;

use driftlab_replica::entry::Entry;
use driftlab_replica::hashes::mix;
use driftlab_replica::machine::{LogGap, Machine};
use driftlab_replica::settings::Settings;
use driftlab_replica::wire::Kind;
use serde_json::json;

use crate::support::{Bench, RECONCILE_NS, TIMEOUT_NS, digest, settings_value, update};

const TOKENS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A leader with five writes whose attempts have all ended.
fn leader_with_five(mode: &str) -> Bench {
    let mut bench = Bench::new("leader", |value| {
        value["mode"] = json!(mode);
        value["queue"]["limit"] = json!(100);
    });
    for token in TOKENS {
        bench.write(token);
    }
    bench.pass(20 * TIMEOUT_NS);
    bench.forget();
    bench
}

#[test]
fn a_digest_acknowledges_its_prefix_and_repairs_what_follows() {
    let mut bench = leader_with_five("quorum");
    bench.acknowledge("f1", 4);
    bench.forget();
    bench.peer(digest("f1", &TOKENS[..2], 10));
    assert_eq!(bench.released(), [1, 2]);
    // The fourth is acknowledged already; repairs carry no attempt and no timer.
    assert_eq!(bench.sent(Kind::Repair), [(1, 3, 0), (1, 5, 0)]);
    assert!(bench.timers.is_empty());
    assert_eq!(bench.status().counters.repairs, 2);
    assert_eq!(bench.status().outstanding, 0);
}

#[test]
fn a_repair_is_no_longer_than_the_batch() {
    let mut bench = leader_with_five("quorum");
    bench.peer(digest("f2", &[], 10));
    assert_eq!(bench.sent(Kind::Repair), [(2, 1, 0), (2, 2, 0), (2, 3, 0)]);
    bench.forget();
    bench.peer(digest("f2", &TOKENS, 10));
    assert!(bench.sent(Kind::Repair).is_empty());
}

#[test]
fn a_fresh_update_is_not_repaired_and_an_old_one_is() {
    let mut bench = Bench::leader("quorum");
    bench.write("a");
    bench.pass(TIMEOUT_NS - 1);
    bench.peer(digest("f1", &[], 10));
    assert!(bench.sent(Kind::Repair).is_empty());
    bench.pass(1);
    bench.peer(digest("f1", &[], 10));
    assert_eq!(bench.sent(Kind::Repair), [(1, 1, 0)]);
}

#[test]
fn a_digest_ends_the_attempts_of_what_it_covers() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    bench.write("b");
    assert_eq!(bench.status().outstanding, 4);
    bench.peer(digest("f1", &TOKENS[..1], 10));
    assert_eq!(bench.status().outstanding, 3);
}

#[test]
fn a_contradiction_is_counted_and_changes_nothing() {
    let mut bench = leader_with_five("quorum");
    let mut other = digest("f1", &TOKENS[..2], 10);
    other.prefix_hash ^= 1;
    bench.peer(other);
    assert_eq!(bench.status().counters.digest_mismatch, 1);
    let mut beyond = digest("f1", &TOKENS, 10);
    beyond.sequence = 6;
    bench.peer(beyond);
    assert_eq!(bench.status().counters.digest_mismatch, 2);
    assert!(bench.commands.is_empty());
    bench.peer(digest("f1", &TOKENS[..2], 10));
    assert_eq!(bench.status().counters.digest_mismatch, 2);
    assert!(!bench.commands.is_empty());
}

#[test]
fn a_digest_of_an_earlier_start_is_ignored() {
    let mut bench = leader_with_five("quorum");
    bench.peer(digest("f1", &TOKENS[..1], 10));
    bench.forget();
    bench.peer(digest("f1", &TOKENS[..3], 9));
    assert!(bench.commands.is_empty());
    bench.peer(digest("f1", &TOKENS[..3], 10));
    assert_eq!(bench.released(), [2, 3]);
}

#[test]
fn a_follower_that_lost_its_state_has_acknowledged_nothing_above_its_prefix() {
    let mut bench = leader_with_five("sync");
    bench.peer(digest("f1", &TOKENS[..4], 10));
    bench.forget();
    // The same start with a shorter prefix is an older picture of the same follower.
    bench.peer(digest("f1", &TOKENS[..1], 10));
    assert_eq!(bench.sent(Kind::Repair), [(1, 5, 0)]);
    bench.forget();
    bench.peer(digest("f1", &TOKENS[..1], 11));
    assert_eq!(bench.sent(Kind::Repair), [(1, 2, 0), (1, 3, 0), (1, 4, 0)]);
    // Its forgotten acknowledgements no longer count towards a release.
    bench.peer(digest("f2", &TOKENS, 10));
    assert_eq!(bench.released(), [1]);
}

#[test]
fn a_leader_that_restarts_is_brought_forward_by_digests() {
    let mut bench = leader_with_five("sync").restart(2);
    bench.peer(digest("f1", &TOKENS, 10));
    assert_eq!(bench.released(), [0_u64; 0]);
    bench.peer(digest("f2", &TOKENS[..2], 10));
    assert_eq!(bench.released(), [1, 2]);
    assert_eq!(bench.sent(Kind::Repair), [(2, 3, 0), (2, 4, 0), (2, 5, 0)]);
}

#[test]
fn a_follower_tells_its_prefix_at_a_fixed_phase() {
    let mut bench = Bench::follower("sequence");
    bench.peer(update(1, "k"));
    bench.peer(update(3, "k"));
    bench.commit();
    let phase_ns = 1 + mix(mix(bench.settings.seed, 0), 1) % RECONCILE_NS;
    bench.pass(phase_ns - 1);
    assert!(bench.sent(Kind::Digest).is_empty());
    bench.pass(1);
    let digests = bench.sent_envelopes(Kind::Digest);
    assert_eq!(digests.len(), 1);
    let (target, sent) = &digests[0];
    assert_eq!(*target, 0);
    assert_eq!((sent.sequence, sent.incarnation), (1, 1));
    assert_eq!(sent.prefix_hash, bench.status().prefix_hash);
    bench.pass(3 * RECONCILE_NS);
    assert_eq!(bench.sent(Kind::Digest).len(), 4);
    assert_eq!(bench.status().counters.digests_sent, 4);
}

#[test]
fn after_a_pause_the_digest_is_late_once_and_then_in_phase_again() {
    let mut bench = Bench::follower("sequence");
    let (first_ns, timer) = bench.timers.remove(0);
    bench.now_ns = first_ns + 7 * RECONCILE_NS as i64 / 2;
    bench.fire(timer);
    assert_eq!(bench.sent(Kind::Digest).len(), 1);
    assert_eq!(bench.timers, [(first_ns + 4 * RECONCILE_NS as i64, timer)]);
}

#[test]
fn reconciliation_can_be_switched_off() {
    let mut bench = Bench::new("f1", |value| value["reconcile_every_ns"] = json!(0));
    bench.pass(100 * RECONCILE_NS);
    assert!(bench.commands.is_empty());
}

#[test]
fn a_leader_refuses_a_log_with_a_gap_and_a_follower_takes_it() {
    for (name, gap) in [("leader", Some(LogGap { missing: 2 })), ("f1", None)] {
        let text = settings_value(name).to_string();
        let settings = Arc::new(Settings::parse(&text).expect("valid settings"));
        let stored = [1, 3].map(|sequence| update(sequence, "k"));
        let stored = stored.map(|envelope| Entry::from_envelope(envelope).expect("an entry"));
        let recovered = Machine::recover(settings, 1, stored.to_vec());
        assert_eq!(recovered.err(), gap);
    }
}
