//! Repairs through the control interface, and snapshots.

use driftlab_replica::correction::RepairOutcome;
use driftlab_replica::entry::Entry;
use driftlab_replica::events::Fact;
use driftlab_replica::snapshot::{REPAIR_ENTRIES_MAX, entry_text, parse_repair};
use driftlab_replica::wire::Kind;
use serde_json::{Value, json};

use crate::support::{Bench, payload, update};

/// The leader's entry: what `update` makes, or with another value.
fn entry(sequence: u64, key: &str, value: Option<&str>) -> Entry {
    let mut envelope = update(sequence, key);
    if let Some(value) = value {
        envelope.payload = payload(key, value);
    }
    Entry::from_envelope(envelope).expect("an entry")
}

fn follower_with(sequences: &[u64]) -> Bench {
    let mut bench = Bench::follower("sequence");
    for sequence in sequences {
        bench.peer(update(*sequence, "k"));
    }
    bench.commit();
    bench.forget();
    bench
}

fn counts(outcome: Option<RepairOutcome>) -> (u64, u64, u64) {
    let outcome = outcome.expect("a follower");
    (outcome.stored, outcome.corrected, outcome.unchanged)
}

#[test]
fn a_missing_entry_is_stored_and_applied() {
    let mut bench = follower_with(&[1, 3]);
    assert_eq!(counts(bench.correct(vec![entry(2, "k", None)])), (1, 0, 0));
    assert!(bench.applied().is_empty(), "not durable yet");
    bench.commit();
    assert_eq!(bench.applied(), [2, 3]);
    assert!(bench.sent(Kind::UpdateAck).is_empty());
    assert_eq!(bench.status().counters.duplicates, 0);
    let whole = follower_with(&[1, 2, 3]);
    assert_eq!(bench.status().prefix_hash, whole.status().prefix_hash);
    assert_eq!(bench.status().state.digest(), whole.status().state.digest());
}

#[test]
fn what_is_right_what_waits_and_what_is_too_far_away_are_left_alone() {
    let mut bench = follower_with(&[1, 3]);
    bench.peer(update(2, "k"));
    let entries = vec![
        entry(1, "k", None),
        entry(3, "k", Some("other")),
        entry(2, "k", None),
        entry(100, "k", None),
    ];
    let before = bench.status();
    assert_eq!(counts(bench.correct(entries)), (0, 0, 4));
    assert_eq!(bench.unconfirmed.len(), 1, "only the update is on its way");
    assert_eq!(bench.status().counters, before.counters);
}

#[test]
fn an_entry_with_other_bytes_is_corrected_in_the_log_and_the_read_model() {
    let mut bench = follower_with(&[1]);
    let mut wrong = update(2, "k");
    wrong.payload = payload("k", "damaged");
    bench.peer(wrong);
    bench.peer(update(3, "other"));
    bench.commit();
    let whole = {
        let mut bench = follower_with(&[1, 2]);
        bench.peer(update(3, "other"));
        bench.commit();
        bench.status()
    };
    assert_ne!(bench.status().prefix_hash, whole.prefix_hash);
    bench.forget();
    assert_eq!(counts(bench.correct(vec![entry(2, "k", None)])), (0, 1, 0));
    assert_eq!(bench.unconfirmed.len(), 1);
    assert_eq!(bench.status().counters.corrected, 0, "not durable yet");
    bench.commit();
    let token = "t-2".to_owned();
    let corrected = Fact::Corrected { sequence: 2, token };
    assert_eq!(bench.facts(), [corrected]);
    assert_eq!(bench.status().counters.corrected, 1);
    assert_eq!(bench.status().prefix_hash, whole.prefix_hash);
    assert_eq!(bench.status().state.digest(), whole.state.digest());
    assert_eq!(counts(bench.correct(vec![entry(2, "k", None)])), (0, 0, 1));
}

#[test]
fn a_leader_is_not_repaired() {
    let mut bench = Bench::leader("async");
    assert_eq!(bench.correct(vec![entry(1, "k", None)]), None);
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

#[test]
fn a_snapshot_is_the_gapless_prefix_and_a_repair_takes_its_lines() {
    let bench = follower_with(&[1, 2, 4]);
    let text = bench.machine.snapshot().to_text(9, None);
    let lines = lines(&text);
    let prefix_hash = bench.status().prefix_hash.to_string();
    let header = json!({"prefix": 2, "prefix_hash": prefix_hash, "monotonic_ns": 9,
                        "digest": follower_with(&[1, 2]).status().state.digest()});
    assert_eq!(lines[0], header);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["sequence"], "2");
    assert_eq!(lines[2]["timestamp_ns"], 5);
    let body = json!({"entries": &lines[1..]}).to_string();
    let entries = parse_repair(body.as_bytes()).expect("entries");
    let mut empty = Bench::follower("sequence");
    assert_eq!(counts(empty.correct(entries)), (2, 0, 0));
    empty.commit();
    assert_eq!(empty.status().prefix_hash, bench.status().prefix_hash);
    let second = bench.machine.entry(2).expect("it is durable");
    assert_eq!(entry_text(&second), text.lines().nth(2).expect("a line"));
    assert_eq!(bench.machine.entry(3), None);
    assert!(bench.machine.entry(4).is_some(), "durable behind the gap");
}

#[test]
fn a_leaders_snapshot_has_its_own_hash() {
    let mut bench = Bench::leader("async");
    bench.write("a");
    bench.write("b");
    let snapshot = bench.machine.snapshot();
    assert_eq!((snapshot.prefix, snapshot.entries.len()), (2, 2));
    assert_eq!(snapshot.prefix_hash, bench.status().prefix_hash);
}

#[test]
fn a_repair_that_is_wrong_is_refused_by_place() {
    let good = json!({"sequence": "1", "timestamp_ns": 1, "origin": "leader", "token": "t",
                      "payload": "0a016b"});
    let body = |change: &dyn Fn(&mut Value)| {
        let mut line = good.clone();
        change(&mut line);
        json!({"entries": [good, line]}).to_string()
    };
    assert!(parse_repair(body(&|_| {}).as_bytes()).is_ok());
    let changes: [&dyn Fn(&mut Value); 9] = [
        &|line| *line = json!(["1", 1, "leader", "t", "0a016b"]),
        &|line| line["sequence"] = json!("0"),
        &|line| line["sequence"] = json!("-1"),
        &|line| line["sequence"] = json!(1),
        &|line| line["token"] = json!(""),
        &|line| line["payload"] = json!("0a"),
        &|line| line["payload"] = json!("0a01ff"),
        &|line| line["payload"] = json!("xx"),
        &|line| line["more"] = json!(1),
    ];
    for change in changes {
        let body = body(change);
        assert!(parse_repair(body.as_bytes()).is_err(), "{body}");
    }
    let wrong = body(&|line| line["token"] = json!(""));
    let error = parse_repair(wrong.as_bytes()).expect_err("no token");
    assert!(error.contains("entries[1]"), "{error}");
    for count in [REPAIR_ENTRIES_MAX, REPAIR_ENTRIES_MAX + 1] {
        let body = json!({"entries": vec![&good; count]}).to_string();
        assert_eq!(
            parse_repair(body.as_bytes()).is_ok(),
            count == REPAIR_ENTRIES_MAX
        );
    }
}
