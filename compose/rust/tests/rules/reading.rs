//! The read model and how fresh it is known to be.

use driftlab_replica::machine::Timer;
use driftlab_replica::wire::{Envelope, Kind};
use serde_json::json;

use crate::support::{Bench, MILLISECOND_NS, START_NS, update};

const STEP_NS: i64 = MILLISECOND_NS as i64;

fn progress(sequence: u64, clock_ns: i64) -> Envelope {
    Envelope {
        kind: Kind::Progress.into(),
        source: "leader".to_owned(),
        sequence,
        clock_ns,
        ..Envelope::default()
    }
}

/// An entry accepted at a time of the leader's clock.
fn update_at(sequence: u64, clock_ns: i64) -> Envelope {
    Envelope {
        clock_ns,
        ..update(sequence, "k")
    }
}

#[test]
fn a_leader_reads_what_is_durable_and_is_never_stale() {
    let mut bench = Bench::leader("async");
    bench.client(1, crate::support::write("a"));
    assert_eq!(bench.read("k", Some(0)).found, None);
    bench.commit();
    let reading = bench.read("k", Some(0));
    assert_eq!(reading.found.map(|(sequence, _)| sequence), Some(1));
    assert_eq!((reading.staleness_ns, reading.prefix), (0, 1));
    assert_eq!(reading.as_of_ns, bench.now_ns);
    assert_eq!(bench.read("other", None).found, None);
    assert_eq!(bench.status().counters.reads, 3);
    assert_eq!(bench.status().counters.stale_reads, 0);
}

#[test]
fn a_follower_knows_nothing_at_its_start() {
    let mut bench = Bench::follower("sequence");
    let reading = bench.read("k", None);
    assert_eq!(reading.as_of_ns, 0);
    assert_eq!(reading.staleness_ns, START_NS as u64);
    assert!(!reading.is_stale);
    let refused = bench.read("k", Some(START_NS as u64 - 1));
    assert!(refused.is_stale && refused.found.is_none());
    assert!(!bench.read("k", Some(START_NS as u64)).is_stale);
    let counters = bench.status().counters;
    assert_eq!((counters.reads, counters.stale_reads), (2, 1));
}

#[test]
fn progress_tells_something_once_its_prefix_is_applied() {
    let mut bench = Bench::follower("sequence");
    bench.peer(progress(2, START_NS - STEP_NS));
    assert_eq!(bench.read("k", None).as_of_ns, 0);
    bench.peer(update(2, "k"));
    bench.commit();
    assert_eq!(bench.read("k", None).as_of_ns, 0, "there is a gap");
    bench.peer(update(1, "k"));
    assert_eq!(bench.read("k", None).as_of_ns, 0, "it is not durable");
    bench.commit();
    let reading = bench.read("k", None);
    assert_eq!(reading.as_of_ns, START_NS - STEP_NS);
    assert_eq!(reading.staleness_ns, MILLISECOND_NS);
    assert_eq!(reading.found.map(|(sequence, _)| sequence), Some(2));
    bench.peer(progress(2, START_NS));
    assert_eq!(bench.read("k", None).staleness_ns, 0);
    // What is older tells nothing new.
    bench.peer(progress(1, START_NS - 5));
    assert_eq!(bench.read("k", None).as_of_ns, START_NS);
}

#[test]
fn updates_tell_when_they_were_accepted_and_those_of_an_earlier_start_tell_nothing() {
    let mut bench = Bench::follower("sequence");
    bench.peer(update_at(1, START_NS - 10));
    assert_eq!(bench.read("k", None).as_of_ns, 0);
    bench.commit();
    assert_eq!(bench.read("k", None).as_of_ns, START_NS - 10);
    bench.peer(update_at(2, 0));
    bench.commit();
    assert_eq!(bench.read("k", None).as_of_ns, START_NS - 10);
    // A duplicate tells as much as the first one.
    bench.peer(update_at(2, START_NS - 4));
    assert_eq!(bench.read("k", None).as_of_ns, START_NS - 4);
}

#[test]
fn a_flood_of_progress_is_forgotten_from_its_far_end() {
    let mut bench = Bench::follower("sequence");
    for sequence in 1..=10_000 {
        bench.peer(progress(sequence, START_NS - 20_000 + sequence as i64));
    }
    bench.peer(update(1, "k"));
    bench.commit();
    assert_eq!(bench.read("k", None).as_of_ns, START_NS - 19_999);
    assert_eq!(bench.status().counters.malformed, 0);
}

#[test]
fn a_leader_tells_its_progress_to_every_follower_unless_it_is_switched_off() {
    let every_ns = 10 * MILLISECOND_NS;
    let start = |progress_every_ns: u64| {
        let mut bench = Bench::new("leader", |value| {
            value["mode"] = json!("async");
            value["progress_every_ns"] = json!(progress_every_ns);
        });
        bench.write("a");
        bench.forget();
        bench.pass(2 * every_ns);
        bench
    };
    let bench = start(every_ns);
    let told: Vec<(usize, u64, i64)> = bench
        .sent_envelopes(Kind::Progress)
        .into_iter()
        .map(|(target, frame)| (target, frame.sequence, frame.clock_ns - START_NS))
        .collect();
    let every_ns = every_ns as i64;
    let expected = [
        (1, 1, every_ns),
        (2, 1, every_ns),
        (1, 1, 2 * every_ns),
        (2, 1, 2 * every_ns),
    ];
    assert_eq!(told, expected);
    assert_eq!(bench.status().counters.transmissions, 2);
    let bench = start(0);
    assert!(bench.sent(Kind::Progress).is_empty());
    assert!(
        !bench
            .timers
            .iter()
            .any(|(_, timer)| *timer == Timer::Progress)
    );
}

#[test]
fn progress_of_a_stranger_or_at_a_leader_is_malformed() {
    let mut bench = Bench::follower("sequence");
    let mut stranger = progress(0, START_NS);
    stranger.source = "f2".to_owned();
    bench.peer(stranger);
    assert_eq!(bench.status().counters.malformed, 1);
    assert_eq!(bench.read("k", None).as_of_ns, 0);
    let mut bench = Bench::leader("async");
    bench.peer(progress(0, START_NS));
    assert_eq!(bench.status().counters.malformed, 1);
}
