//! The circuit breaker: what opens it, what it holds back, and what closes it again.

use driftlab_replica::breaker::BreakerState;
use driftlab_replica::wire::Kind;
use serde_json::json;

use crate::support::{Bench, MILLISECOND_NS, TIMEOUT_NS, digest};

const OPEN_NS: u64 = 1000 * MILLISECOND_NS;

/// A leader whose breakers open after two timeouts in a row; f2 answers everything.
fn bench_with(failures: u64) -> Bench {
    Bench::new("leader", |value| {
        value["mode"] = json!("async");
        value["policy"]["breaker_failures"] = json!(failures);
        value["policy"]["breaker_open_ns"] = json!(OPEN_NS);
        value["queue"]["limit"] = json!(100);
    })
}

/// Writes; f2 acknowledges at once.
fn write(bench: &mut Bench, token: &str) {
    bench.write(token);
    let sequence = bench.status().last_sequence;
    bench.acknowledge("f2", sequence);
}

fn state(bench: &Bench) -> BreakerState {
    assert_eq!(bench.status().breakers["f2"], BreakerState::Closed);
    bench.status().breakers["f1"]
}

/// Two writes that f1 does not answer.
fn opened() -> Bench {
    let mut bench = bench_with(2);
    write(&mut bench, "a");
    write(&mut bench, "b");
    bench.pass(TIMEOUT_NS);
    assert_eq!(state(&bench), BreakerState::Open);
    bench.forget();
    bench
}

fn sent_to_f1(bench: &Bench, kind: Kind) -> Vec<u64> {
    let sent = bench.sent(kind).into_iter();
    sent.filter(|(target, ..)| *target == 1)
        .map(|(_, sequence, _)| sequence)
        .collect()
}

#[test]
fn timeouts_in_a_row_open_it_and_end_what_is_outstanding() {
    let mut bench = opened();
    let counters = bench.status().counters;
    assert_eq!((counters.breaker_opened, counters.breaker_rejected), (1, 1));
    assert_eq!(counters.retries, 1);
    write(&mut bench, "c");
    bench.pass(OPEN_NS / 2);
    assert!(sent_to_f1(&bench, Kind::Update).is_empty());
    let status = bench.status();
    assert_eq!(
        (status.counters.breaker_rejected, status.outstanding),
        (3, 0)
    );
}

#[test]
fn an_acknowledgement_ends_the_row() {
    let mut bench = bench_with(2);
    write(&mut bench, "a");
    bench.pass(TIMEOUT_NS);
    bench.acknowledge("f1", 1);
    write(&mut bench, "b");
    bench.pass(TIMEOUT_NS);
    assert_eq!(state(&bench), BreakerState::Closed);
    write(&mut bench, "c");
    bench.pass(TIMEOUT_NS);
    assert_eq!(state(&bench), BreakerState::Open);
}

#[test]
fn one_attempt_goes_through_when_the_pause_is_over_and_no_sooner() {
    let mut bench = opened();
    bench.pass(OPEN_NS - 1);
    write(&mut bench, "c");
    assert!(sent_to_f1(&bench, Kind::Update).is_empty());
    bench.pass(1);
    write(&mut bench, "d");
    write(&mut bench, "e");
    assert_eq!(sent_to_f1(&bench, Kind::Update), [4]);
    assert_eq!(state(&bench), BreakerState::HalfOpen);
    bench.acknowledge("f1", 4);
    assert_eq!(state(&bench), BreakerState::Closed);
    write(&mut bench, "f");
    assert_eq!(sent_to_f1(&bench, Kind::Update), [4, 6]);
}

#[test]
fn a_probe_without_an_answer_opens_it_again() {
    let mut bench = opened();
    bench.pass(OPEN_NS);
    write(&mut bench, "c");
    bench.pass(TIMEOUT_NS);
    assert_eq!(state(&bench), BreakerState::Open);
    assert_eq!(bench.status().counters.breaker_opened, 2);
    bench.pass(OPEN_NS - 1);
    write(&mut bench, "d");
    assert_eq!(sent_to_f1(&bench, Kind::Update), [3]);
    bench.pass(1);
    write(&mut bench, "e");
    assert_eq!(sent_to_f1(&bench, Kind::Update), [3, 5]);
}

#[test]
fn only_the_timeout_of_the_probe_opens_a_half_open_breaker() {
    let mut bench = Bench::new("leader", |value| {
        value["policy"]["breaker_failures"] = json!(1);
        value["policy"]["breaker_open_ns"] = json!(1);
        value["queue"]["limit"] = json!(100);
    });
    write(&mut bench, "a");
    bench.pass(TIMEOUT_NS / 2);
    write(&mut bench, "old");
    bench.pass(TIMEOUT_NS / 2 + 1);
    assert_eq!(state(&bench), BreakerState::Open);
    write(&mut bench, "probe");
    bench.pass(TIMEOUT_NS / 2);
    assert_eq!(state(&bench), BreakerState::HalfOpen);
    assert_eq!(bench.status().counters.breaker_opened, 1);
}

#[test]
fn reconciliation_goes_on_and_a_digest_that_acknowledges_closes_it() {
    let mut bench = opened();
    bench.peer(digest("f1", &["a"], 1));
    assert_eq!(state(&bench), BreakerState::Open);
    assert_eq!(sent_to_f1(&bench, Kind::Repair), [2]);
    bench.pass(OPEN_NS);
    write(&mut bench, "c");
    bench.peer(digest("f1", &["a"], 1));
    assert_eq!(state(&bench), BreakerState::HalfOpen);
    bench.peer(digest("f1", &["a", "b", "c"], 1));
    assert_eq!(state(&bench), BreakerState::Closed);
}

#[test]
fn without_a_breaker_nothing_is_held_back() {
    let mut bench = bench_with(0);
    for number in 0..50 {
        write(&mut bench, &number.to_string());
        bench.pass(TIMEOUT_NS);
    }
    assert_eq!(state(&bench), BreakerState::Closed);
    let counters = bench.status().counters;
    assert_eq!((counters.breaker_rejected, counters.breaker_opened), (0, 0));
}
