//! Storing, acknowledging and applying updates.

use bytes::Bytes;
use driftlab_replica::events::Fact;
use driftlab_replica::settings::Mode;
use driftlab_replica::wire::Kind;

use crate::support::{Bench, update, write};

#[test]
fn an_acknowledgement_follows_the_disk() {
    let mut bench = Bench::follower("sequence");
    bench.peer(update(1, "k"));
    assert!(bench.sent(Kind::UpdateAck).is_empty());
    assert!(bench.applied().is_empty());
    bench.commit();
    assert_eq!(bench.sent(Kind::UpdateAck), [(0, 1, 0)]);
    assert_eq!(bench.applied(), [1]);
    assert_eq!(bench.status().counters.acks_sent, 1);
}

#[test]
fn a_duplicate_is_acknowledged_again_and_not_stored_again() {
    let mut bench = Bench::follower("sequence");
    bench.peer(update(1, "k"));
    bench.commit();
    bench.forget();
    let mut again = update(1, "k");
    again.attempt = 2;
    bench.peer(again);
    assert_eq!(bench.unconfirmed.len(), 0);
    assert_eq!(bench.sent(Kind::UpdateAck), [(0, 1, 0)]);
    assert_eq!(bench.status().counters.duplicates, 1);
    bench.peer(update(2, "k"));
    assert_eq!(bench.unconfirmed.len(), 1);
    assert_eq!(bench.status().counters.duplicates, 1);
}

#[test]
fn a_duplicate_of_what_is_not_durable_yet_waits_for_the_disk_too() {
    let mut bench = Bench::follower("sequence");
    bench.peer(update(1, "k"));
    bench.peer(update(1, "k"));
    assert_eq!(bench.unconfirmed.len(), 1);
    assert!(bench.sent(Kind::UpdateAck).is_empty());
    bench.commit();
    assert_eq!(bench.sent(Kind::UpdateAck).len(), 2);
}

#[test]
fn a_repair_is_taken_like_an_update() {
    let mut bench = Bench::follower("sequence");
    let mut repair = update(1, "k");
    repair.kind = Kind::Repair.into();
    repair.attempt = 0;
    bench.peer(repair);
    bench.commit();
    assert_eq!(bench.sent(Kind::UpdateAck), [(0, 1, 0)]);
}

#[test]
fn by_sequence_entries_wait_for_the_gap_and_are_applied_in_order() {
    let mut bench = Bench::follower("sequence");
    for sequence in [3, 2] {
        bench.peer(update(sequence, "k"));
        bench.commit();
    }
    assert!(bench.applied().is_empty());
    assert_eq!(bench.sent(Kind::UpdateAck).len(), 2);
    assert_eq!(bench.status().waiting, 2);
    assert_eq!(bench.status().last_sequence, 3);
    bench.peer(update(1, "k"));
    bench.commit();
    assert_eq!(bench.applied(), [1, 2, 3]);
    assert_eq!(bench.status().waiting, 0);
}

#[test]
fn by_key_entries_are_applied_at_once_unless_superseded() {
    let mut bench = Bench::follower("key");
    bench.peer(update(3, "k"));
    bench.peer(update(2, "other"));
    bench.peer(update(1, "k"));
    bench.commit();
    assert_eq!(bench.applied(), [3, 2]);
    let token = "t-1".to_owned();
    let superseded = Fact::Superseded { sequence: 1, token };
    assert!(bench.facts().contains(&superseded));
    assert_eq!(bench.status().prefix, 3);
}

#[test]
fn both_orderings_end_in_the_same_state_and_other_entries_do_not() {
    let order = [4, 1, 5, 3, 2, 2, 6];
    let keys = ["a", "b", "a", "c", "b", "a"];
    let run = |ordering: &str, last: u64| {
        let mut bench = Bench::follower(ordering);
        for sequence in order.into_iter().filter(|sequence| *sequence <= last) {
            bench.peer(update(sequence, keys[sequence as usize - 1]));
            bench.commit();
        }
        let status = bench.status();
        (status.state.digest(), status.prefix_hash, status.prefix)
    };
    assert_eq!(run("sequence", 6), run("key", 6));
    assert_eq!(run("sequence", 6).2, 6);
    assert_ne!(run("sequence", 6).0, run("key", 5).0);
}

#[test]
fn what_does_not_follow_the_highest_is_out_of_order() {
    let mut bench = Bench::follower("sequence");
    for sequence in [1, 2, 4, 5, 3] {
        bench.peer(update(sequence, "k"));
    }
    assert_eq!(bench.status().counters.out_of_order, 2);
}

#[test]
fn entries_beyond_the_window_are_refused_and_what_fills_the_gap_never_is() {
    for ordering in ["sequence", "key"] {
        let mut bench = Bench::follower(ordering);
        for sequence in [2, 4] {
            bench.peer(update(sequence, "k"));
        }
        bench.commit();
        assert_eq!(bench.status().counters.reorder_full, 0);
        bench.forget();
        bench.peer(update(5, "k"));
        assert_eq!(bench.status().counters.reorder_full, 1);
        assert!(bench.commands.is_empty());
        bench.peer(update(1, "k"));
        bench.commit();
        bench.peer(update(5, "k"));
        bench.commit();
        assert_eq!(bench.status().last_sequence, 5);
        assert_eq!(bench.status().prefix, 2);
        assert_eq!(bench.status().counters.reorder_full, 1);
    }
}

#[test]
fn a_restart_keeps_what_was_durable_and_loses_the_rest() {
    for ordering in ["sequence", "key"] {
        let mut bench = Bench::follower(ordering);
        for sequence in [1, 2, 4] {
            bench.peer(update(sequence, "k"));
        }
        bench.commit();
        let before = bench.status();
        bench.peer(update(3, "k"));
        let mut bench = bench.restart(2);
        let after = bench.status();
        let start = Fact::Start {
            incarnation: 2,
            prefix: 2,
        };
        assert_eq!(bench.facts(), [start]);
        assert_eq!(after.prefix_hash, before.prefix_hash);
        assert_eq!(after.state.digest(), before.state.digest());
        assert_eq!((after.prefix, after.waiting), (2, 1));
        assert_eq!(after.counters, Default::default());
        // The lost entry is no duplicate, the kept one is.
        bench.peer(update(3, "k"));
        bench.peer(update(4, "k"));
        bench.commit();
        assert_eq!(bench.status().counters.duplicates, 1);
        assert_eq!(bench.status().prefix, 4);
    }
}

#[test]
fn an_update_that_cannot_be_understood_is_counted_and_not_answered() {
    let mut bench = Bench::follower("sequence");
    bench.peer(update(0, "k"));
    let mut broken = update(1, "k");
    broken.payload = Bytes::from_static(&[0x0A, 0x02, 0xFF, 0xFE]);
    bench.peer(broken);
    let mut digest = update(1, "k");
    digest.kind = Kind::Digest.into();
    bench.peer(digest);
    let mut unknown = update(1, "k");
    unknown.kind = 99;
    bench.peer(unknown);
    let mut stranger = update(1, "k");
    stranger.source = "f2".to_owned();
    bench.peer(stranger);
    assert_eq!(bench.status().counters.malformed, 5);
    assert!(bench.commands.is_empty());
    bench.peer(update(u64::MAX, "k"));
    bench.peer(update(1, "k"));
    bench.commit();
    assert_eq!(bench.status().counters.malformed, 5);
    assert_eq!(bench.status().prefix, 1);
}

#[test]
fn a_follower_refuses_writes() {
    let mut bench = Bench::follower("sequence");
    bench.client(5, write("a"));
    assert_eq!(bench.replies(), [(5, Kind::WriteReject, "a".to_owned())]);
    assert_eq!(bench.unconfirmed.len(), 0);
}

#[test]
fn a_follower_takes_a_mode_switch() {
    let mut bench = Bench::follower("sequence");
    bench.set_mode(Mode::Async);
    assert_eq!(bench.status().mode, Mode::Async);
    assert_eq!(bench.facts(), [Fact::Mode { mode: Mode::Async }]);
}
