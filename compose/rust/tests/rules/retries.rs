//! Timeouts, waits, budgets and timers that come too late.

use driftlab_replica::machine::Timer;
use driftlab_replica::wire::Kind;
use serde_json::json;

use crate::support::{Bench, MILLISECOND_NS, TIMEOUT_NS, write};

#[test]
fn a_timeout_waits_its_backoff_and_sends_the_next_attempt() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    bench.acknowledge("f1", 1);
    bench.forget();
    bench.pass(TIMEOUT_NS);
    assert_eq!(bench.status().counters.retries, 1);
    assert!(bench.sent(Kind::Update).is_empty());
    assert_eq!(bench.status().outstanding, 1);
    bench.pass(50 * MILLISECOND_NS - 1);
    assert!(bench.sent(Kind::Update).is_empty());
    bench.pass(1);
    assert_eq!(bench.sent(Kind::Update), [(2, 1, 2)]);
    // The second wait is twice the first.
    bench.pass(TIMEOUT_NS + 100 * MILLISECOND_NS - 1);
    assert_eq!(bench.sent(Kind::Update).len(), 1);
    bench.pass(1);
    assert_eq!(bench.sent(Kind::Update), [(2, 1, 2), (2, 1, 3)]);
}

#[test]
fn attempts_end_and_the_place_is_free_again() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    bench.pass(20 * TIMEOUT_NS);
    let status = bench.status();
    assert_eq!(status.counters.transmissions, 6);
    assert_eq!(status.counters.retries, 4);
    assert_eq!(status.counters.exhausted, 2);
    assert_eq!(status.outstanding, 0);
    assert!(bench.timers.is_empty());
}

#[test]
fn an_acknowledged_update_is_not_repeated() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    bench.acknowledge("f1", 1);
    bench.acknowledge("f2", 1);
    bench.forget();
    bench.pass(20 * TIMEOUT_NS);
    assert!(bench.sent(Kind::Update).is_empty());
    assert_eq!(bench.status().counters.retries, 0);
}

#[test]
fn an_acknowledgement_during_the_wait_stops_the_next_attempt() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    bench.pass(TIMEOUT_NS);
    bench.acknowledge("f1", 1);
    bench.forget();
    bench.pass(50 * MILLISECOND_NS);
    assert_eq!(bench.sent(Kind::Update), [(2, 1, 2)]);
}

#[test]
fn a_stale_timer_does_nothing() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    let first: Vec<Timer> = bench.timers.iter().map(|(_, timer)| *timer).collect();
    assert_eq!(first.len(), 2);
    bench.pass(TIMEOUT_NS);
    assert_eq!(bench.status().counters.retries, 2);
    bench.forget();
    for timer in first {
        bench.fire(timer);
    }
    bench.fire(Timer::Attempt {
        follower: 99,
        sequence: 99,
        generation: 99,
    });
    bench.fire(Timer::Digest);
    assert!(bench.commands.is_empty());
    assert_eq!(bench.status().counters.retries, 2);
}

#[test]
fn an_empty_budget_denies_retries_and_first_transmissions_earn_them() {
    let budget = |ppm: i64| {
        let mut bench = Bench::new("leader", |value| {
            value["policy"]["budget_ppm"] = json!(ppm);
            value["policy"]["attempts"] = json!(1000);
            value["policy"]["backoff"] = json!("fixed");
            value["queue"]["limit"] = json!(1000);
        });
        for number in 0..40 {
            bench.client(1, write(&format!("t-{number}")));
        }
        bench.commit();
        bench.pass(TIMEOUT_NS);
        bench.status()
    };
    // 10 retries are there at the start; 80 first transmissions add 80 times the setting.
    let none = budget(0);
    assert_eq!(
        (none.counters.retries, none.counters.budget_denied),
        (10, 70)
    );
    assert_eq!(none.outstanding, 10);
    let some = budget(250_000);
    assert_eq!(
        (some.counters.retries, some.counters.budget_denied),
        (30, 50)
    );
    let unlimited = budget(-1);
    assert_eq!(unlimited.counters.retries, 80);
    assert_eq!(unlimited.counters.budget_denied, 0);
}

#[test]
fn waits_with_jitter_depend_on_seed_sequence_follower_and_attempt_alone() {
    let due = |seed: u64| {
        let mut bench = Bench::new("leader", |value| {
            value["policy"]["jitter"] = json!("full");
            value["seed"] = json!(seed);
        });
        bench.write("a");
        bench.write("b");
        bench.pass(TIMEOUT_NS);
        let due: Vec<i64> = bench.timers.iter().map(|(at_ns, _)| *at_ns).collect();
        due
    };
    let waits = due(7);
    assert_eq!(waits, due(7));
    assert_ne!(waits, due(8));
    let mut distinct = waits.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 4);
}
