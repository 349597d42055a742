//! Seeded bugs, each beside a replica without it.

use driftlab_replica::bugs::Bug;
use driftlab_replica::events::Fact;
use driftlab_replica::machine::Status;
use driftlab_replica::wire::Kind;

use crate::support::{Bench, MILLISECOND_NS, update, write};

const NAMES: [&str; 14] = [
    "B1", "B2", "B3", "B4", "B5", "B6", "B9", "B12", "B13", "B15", "B16", "B17", "B18", "B19",
];

#[test]
fn every_bug_has_one_name() {
    for name in NAMES {
        assert_eq!(Bug::named(name).map(Bug::name), Some(name));
    }
    for name in ["", "b1", "B0", "B7", "B99"] {
        assert_eq!(Bug::named(name), None);
    }
}

/// Follower states after these updates of one key, correct and with the bug.
fn both(bug: Bug, sequences: &[u64], timestamp_ns: impl Fn(u64) -> i64) -> [Status; 2] {
    [None, Some(bug)].map(|bug| {
        let mut bench = Bench::follower("sequence").with_bug(bug);
        for sequence in sequences {
            let mut envelope = update(*sequence, "k");
            envelope.timestamp_ns = timestamp_ns(*sequence);
            bench.peer(envelope);
            bench.commit();
        }
        bench.status()
    })
}

#[test]
fn b4_lets_the_clock_win() {
    // The second write is stamped by a clock that is behind.
    let [right, wrong] = both(Bug::ClockWins, &[1, 2], |sequence| 10 - sequence as i64);
    assert_eq!(right.state.get("k").map(|row| row.sequence), Some(2));
    assert_eq!(wrong.state.get("k").map(|row| row.sequence), Some(1));
    let [right, wrong] = both(Bug::ClockWins, &[1, 2], |sequence| sequence as i64);
    assert_eq!(right.state.digest(), wrong.state.digest());
    let mut bench = Bench::follower("sequence").with_bug(Some(Bug::ClockWins));
    for sequence in [1, 2] {
        bench.peer(update(sequence, "k"));
    }
    bench.commit();
    let token = "t-2".to_owned();
    let superseded = Fact::Superseded { sequence: 2, token };
    assert!(bench.facts().contains(&superseded));
}

#[test]
fn b5_counts_a_duplicate_again() {
    let [right, wrong] = both(Bug::DuplicateMerged, &[1, 2, 2], |_| 5);
    assert_eq!((right.prefix, wrong.prefix), (2, 3));
    assert_ne!(right.prefix_hash, wrong.prefix_hash);
    let [right, wrong] = both(Bug::DuplicateMerged, &[1, 2], |_| 5);
    assert_eq!(right.prefix_hash, wrong.prefix_hash);
}

#[test]
fn b6_forgets_a_token_after_300_ms() {
    let stored = |bug, wait_ns| {
        let mut bench = Bench::leader("async").with_bug(bug);
        bench.write("a");
        for follower in ["f1", "f2"] {
            bench.acknowledge(follower, 1);
        }
        bench.pass(wait_ns);
        bench.write("a");
        bench.status().last_sequence
    };
    let late_ns = 300 * MILLISECOND_NS;
    assert_eq!(stored(None, late_ns), 1);
    assert_eq!(stored(Some(Bug::TokenForgotten), late_ns - 1), 1);
    assert_eq!(stored(Some(Bug::TokenForgotten), late_ns), 2);
}

#[test]
fn b13_leaves_out_the_last_entries_of_a_snapshot() {
    let mut bench = Bench::leader("async");
    for number in 1..=20 {
        bench.client(1, write(&format!("t{number}")));
        bench.commit();
        for follower in ["f1", "f2"] {
            bench.acknowledge(follower, number);
        }
    }
    let text = |bug| bench.machine.snapshot().to_text(1, bug);
    let (right, wrong) = (text(None), text(Some(Bug::SnapshotMisses)));
    assert_eq!(right.lines().count(), 21);
    assert_eq!(wrong.lines().count(), 13);
    assert!(right.starts_with(&wrong));
    assert!(bench.sent(Kind::Repair).is_empty());
}
