//! Faults inside a replica: which requests are taken, and what a wrong clock touches.

use std::sync::atomic::{AtomicU64, Ordering};

use driftlab_replica::faults::{FaultChange, Faults, Waits, WallClock};
use driftlab_replica::wire::Kind;

use crate::support::{Bench, START_NS, TIMEOUT_NS, digest};

fn faults(body: &str) -> Result<Faults, String> {
    let mut faults = Faults::default();
    faults.change(FaultChange::parse(body.as_bytes())?);
    Ok(faults)
}

#[test]
fn a_request_sets_what_it_names() {
    let mut set = faults(r#"{"clock_offset_ns": -3600000000000, "service_ns": 10000000000}"#)
        .expect("at the ends of the ranges");
    assert_eq!(set.clock_offset_ns, -3_600_000_000_000);
    set.change(FaultChange::parse(br#"{"fsync_ns": 5}"#).expect("one key"));
    assert_eq!((set.service_ns, set.fsync_ns), (10_000_000_000, 5));
    let before = set;
    set.change(FaultChange::parse(b"{}").expect("none"));
    assert_eq!(set, before);
    assert!(FaultChange::parse(br#"{"clock_drift_ppm": 0}"#).is_ok_and(|it| it.sets_clock()));
    assert!(FaultChange::parse(br#"{"fsync_ns": 0}"#).is_ok_and(|it| !it.sets_clock()));
}

#[test]
fn a_request_that_is_wrong_is_refused() {
    for body in [
        r#"{"clock": 1}"#,
        r#"{"clock_offset_ns": 3600000000001}"#,
        r#"{"clock_offset_ns": -3600000000001}"#,
        r#"{"clock_drift_ppm": 100001}"#,
        r#"{"clock_drift_ppm": -100001}"#,
        r#"{"service_ns": -1}"#,
        r#"{"service_ns": 10000000001}"#,
        r#"{"fsync_ns": 1.5}"#,
        r#"{"fsync_ns": "1"}"#,
        r#"{"fsync_ns": null}"#,
        "[]",
        "",
    ] {
        assert!(faults(body).is_err(), "{body}");
    }
}

#[test]
fn a_clock_is_off_by_its_offset_and_its_drift() {
    let clock = |body: &str| WallClock::new(&faults(body).expect("faults"), START_NS);
    let late_ns = START_NS + 2_000_000;
    assert_eq!(clock("{}").read(late_ns), late_ns);
    assert!(!clock("{}").is_skewed());
    let offset = clock(r#"{"clock_offset_ns": -7}"#);
    assert_eq!(offset.read(late_ns), late_ns - 7);
    assert!(offset.is_skewed());
    let slow = clock(r#"{"clock_offset_ns": 1, "clock_drift_ppm": -50}"#);
    assert_eq!(slow.read(START_NS), START_NS + 1);
    assert_eq!(slow.read(late_ns), late_ns + 1 - 100);
    // The quotient is cut towards 0.
    assert_eq!(slow.read(START_NS + 19_999), START_NS + 19_999 + 1);
    assert!(slow.is_skewed());
}

#[test]
fn a_wrong_clock_stamps_entries_and_moves_nothing_else() {
    let mut bench = Bench::leader("async");
    let wrong = faults(r#"{"clock_offset_ns": 60000000000}"#).expect("faults");
    bench.machine.set_clock(WallClock::new(&wrong, START_NS));
    bench.write("a");
    let (_, frame) = bench.sent_envelopes(Kind::Update).remove(0);
    assert_eq!(frame.timestamp_ns, START_NS + 60_000_000_000);
    assert_eq!(frame.clock_ns, START_NS);
    assert_eq!(bench.status().counters.skewed, 1);
    // Attempts end and repairs begin as if the clock were right.
    bench.pass(20 * TIMEOUT_NS);
    assert_eq!(bench.status().outstanding, 0);
    bench.peer(digest("f1", &[], 10));
    assert_eq!(bench.sent(Kind::Repair), [(1, 1, 0)]);
    bench
        .machine
        .set_clock(WallClock::new(&Faults::default(), bench.now_ns));
    bench.write("b");
    assert_eq!(bench.status().counters.skewed, 1);
}

#[test]
fn a_slow_node_serves_one_after_the_other() {
    let waits = Waits::default();
    assert_eq!(waits.serve(100), None);
    waits.set(&faults(r#"{"service_ns": 10}"#).expect("faults"));
    assert_eq!(waits.serve(100), Some(110));
    assert_eq!(waits.serve(101), Some(120));
    assert_eq!(waits.serve(150), Some(160));
    waits.set(&Faults::default());
    assert_eq!(waits.serve(151), None);
}

#[test]
fn a_slow_disk_is_slow_until_the_replica_stops() {
    let (waits, stalled) = (Waits::default(), AtomicU64::new(0));
    waits.stall(&stalled);
    assert_eq!(stalled.load(Ordering::Relaxed), 0);
    waits.set(&faults(r#"{"fsync_ns": 10000000000}"#).expect("faults"));
    waits.stop();
    // Would take ten seconds otherwise.
    waits.stall(&stalled);
    assert_eq!(stalled.load(Ordering::Relaxed), 1);
}
