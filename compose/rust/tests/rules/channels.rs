//! The limits of a channel, and which frames are sent twice.

use driftlab_replica::hashes::is_within_share;
use driftlab_replica::oneshot::{Duplicates, PPM};
use driftlab_replica::throttle::{BURST_BYTES, Throttle};
use driftlab_replica::wire::Kind;
use serde_json::json;

use crate::support::{Bench, write};

const SECOND_NS: i64 = 1_000_000_000;

#[test]
fn a_channel_without_a_rate_has_no_bucket() {
    assert!(Throttle::new(0, 0).is_none());
    assert!(Throttle::new(1, 0).is_some());
}

#[test]
fn a_bucket_starts_full_and_fills_at_its_rate() {
    let mut throttle = Throttle::new(1000, 0).expect("a rate");
    assert_eq!(throttle.take(BURST_BYTES, 0), Ok(()));
    assert_eq!(throttle.take(500, 0), Err(SECOND_NS as u64 / 2));
    assert_eq!(throttle.take(500, SECOND_NS / 2 - 1), Err(1));
    assert_eq!(throttle.take(500, SECOND_NS / 2), Ok(()));
    // A long pause fills it, and no further.
    let late_ns = 1000 * SECOND_NS;
    assert_eq!(throttle.take(BURST_BYTES, late_ns), Ok(()));
    assert!(throttle.take(1, late_ns).is_err());
}

#[test]
fn a_frame_above_the_burst_waits_for_its_own_length() {
    let mut throttle = Throttle::new(BURST_BYTES, 0).expect("a rate");
    let wait = throttle.take(2 * BURST_BYTES, 0);
    assert_eq!(wait, Err(SECOND_NS as u64));
    assert_eq!(throttle.take(2 * BURST_BYTES, SECOND_NS), Ok(()));
    assert!(throttle.take(1, SECOND_NS).is_err());
}

#[test]
fn a_share_of_draws_is_that_share() {
    let top = (1_u64 << 63) - 1;
    assert!(!is_within_share(0, 0));
    assert!(is_within_share(top, PPM));
    assert!(!is_within_share(top, PPM - 1));
    let duplicates = Duplicates::new(7, 1);
    let chosen = || (1..=20_000).filter(|number| duplicates.chooses(*number));
    assert_eq!(chosen().count(), 0);
    duplicates.set_share_ppm(50_000);
    let count = chosen().count();
    assert!((900..1100).contains(&count), "{count}");
    let other = Duplicates::new(7, 2);
    other.set_share_ppm(50_000);
    let others = (1..=20_000).filter(|number| other.chooses(*number));
    assert!(!chosen().eq(others), "each peer has draws of its own");
    duplicates.set_share_ppm(PPM);
    assert_eq!(chosen().count(), 20_000);
}

fn limited(overflow: &str) -> Bench {
    let mut bench = Bench::new("leader", |value| {
        value["mode"] = json!("async");
        value["queue"] = json!({"limit": 100, "overflow": overflow});
        value["channel"] = json!({"memory_bytes": 1000});
    });
    bench.write("a");
    bench.forget();
    bench
}

#[test]
fn a_full_channel_is_a_full_queue() {
    let mut bench = limited("reject");
    bench.machine.note_waiting(2, 990);
    bench.client(5, write("b"));
    assert_eq!(bench.replies(), [(5, Kind::WriteReject, "b".to_owned())]);
    assert_eq!(bench.status().counters.rejected, 1);
    // Once it has room again it is a queue like any other.
    bench.machine.note_waiting(2, 10);
    bench.write("c");
    assert_eq!(bench.status().last_sequence, 2);

    let mut bench = limited("defer");
    bench.machine.note_waiting(2, 990);
    bench.write("b");
    assert_eq!(bench.sent(Kind::Update), [(1, 2, 1)]);
    assert_eq!(bench.status().counters.deferred, 1);
}

#[test]
fn what_is_accepted_and_not_queued_yet_takes_room_too() {
    // Each entry takes more than 40 bytes of the 1000.
    for (overflow, counter) in [("reject", "rejected"), ("defer", "deferred")] {
        let mut bench = limited(overflow);
        bench.machine.note_waiting(2, 0);
        for number in 0..50 {
            bench.client(5, write(&format!("t{number}")));
        }
        bench.commit();
        let counters = bench.status().counters;
        let held_back = counters.rejected + counters.deferred;
        assert!((10..90).contains(&held_back), "{counter}: {held_back}");
        assert_eq!(counters.rejected > 0, overflow == "reject");
    }
}

#[test]
fn a_channel_without_a_limit_is_never_full() {
    let mut bench = Bench::leader("async");
    bench.write("a");
    bench.machine.note_waiting(2, u64::MAX / 2);
    bench.write("b");
    assert_eq!(bench.status().counters.rejected, 0);
    assert_eq!(bench.status().last_sequence, 2);
}

#[test]
fn frames_have_the_version_of_the_settings() {
    let frames = |schema_version: u32| {
        let mut bench = Bench::new("leader", |value| {
            value["mode"] = json!("async");
            value["schema_version"] = json!(schema_version);
        });
        bench.write("a");
        let (_, update) = bench.sent_envelopes(Kind::Update).remove(0);
        let counted = bench.status().counters.bytes;
        let sent = 2 * driftlab_replica::frames::frame_bytes(&update) as u64;
        assert_eq!(counted, sent);
        (update.schema_version, update.enqueued_ns == bench.now_ns)
    };
    assert_eq!(frames(1), (1, false));
    assert_eq!(frames(2), (2, true));
    for (schema_version, is_stamped) in [(1, false), (2, true)] {
        let mut bench = Bench::new("f1", |value| {
            value["schema_version"] = json!(schema_version);
        });
        let mut newer = crate::support::update(1, "k");
        newer.schema_version = 2;
        newer.enqueued_ns = 5;
        bench.peer(newer);
        bench.commit();
        let (_, ack) = bench.sent_envelopes(Kind::UpdateAck).remove(0);
        assert_eq!(ack.schema_version, schema_version);
        assert_eq!(ack.enqueued_ns != 0, is_stamped);
    }
}
