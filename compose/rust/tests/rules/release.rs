//! When a write is acknowledged, by mode.

use driftlab_replica::events::Fact;
use driftlab_replica::settings::Mode;
use driftlab_replica::wire::Kind;
use serde_json::json;

use crate::support::{Bench, write};

#[test]
fn quorum_releases_at_two_of_three_and_not_at_one() {
    let mut bench = Bench::leader("quorum");
    bench.write("a");
    assert_eq!(bench.released(), [0_u64; 0]);
    assert!(bench.replies().is_empty());
    bench.acknowledge("f2", 1);
    assert_eq!(bench.released(), [1]);
    assert_eq!(bench.replies(), [(1, Kind::WriteAck, "a".to_owned())]);
}

#[test]
fn quorum_of_four_needs_three() {
    let mut bench = Bench::new("leader", |value| {
        value["replicas"] = json!(["leader", "f1", "f2", "f3"]);
        value["peers"]["f3"] = json!("127.0.0.1:9003");
    });
    bench.write("a");
    bench.acknowledge("f1", 1);
    assert_eq!(bench.released(), [0_u64; 0]);
    bench.acknowledge("f3", 1);
    assert_eq!(bench.released(), [1]);
}

#[test]
fn one_follower_that_acknowledges_twice_is_one_follower() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    bench.acknowledge("f1", 1);
    bench.acknowledge("f1", 1);
    assert_eq!(bench.released(), [0_u64; 0]);
}

#[test]
fn async_releases_after_the_append_and_not_before() {
    let mut bench = Bench::leader("async");
    bench.client(1, write("a"));
    assert_eq!(bench.released(), [0_u64; 0]);
    assert!(bench.sent(Kind::Update).is_empty());
    bench.commit();
    assert_eq!(bench.released(), [1]);
    assert_eq!(bench.replies().len(), 1);
}

#[test]
fn sync_releases_at_three_of_three_and_not_at_two() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    bench.acknowledge("f1", 1);
    assert_eq!(bench.released(), [0_u64; 0]);
    bench.acknowledge("f2", 1);
    assert_eq!(bench.released(), [1]);
}

#[test]
fn bounded_lets_the_log_run_ahead_by_the_bound_and_no_further() {
    let mut bench = Bench::leader("bounded");
    for token in ["a", "b", "c", "d"] {
        bench.write(token);
    }
    assert_eq!(bench.released(), [1, 2]);
    bench.forget();
    bench.acknowledge("f1", 1);
    assert_eq!(bench.released(), [0_u64; 0]);
    // Not a prefix: the second is acknowledged, the first is not.
    bench.acknowledge("f2", 2);
    assert_eq!(bench.released(), [0_u64; 0]);
    bench.acknowledge("f2", 1);
    assert_eq!(bench.released(), [3]);
    bench.acknowledge("f1", 2);
    assert_eq!(bench.released(), [3, 4]);
}

#[test]
fn a_lone_replica_releases_in_every_mode() {
    for mode in ["async", "quorum", "sync", "bounded"] {
        let mut bench = Bench::new("leader", |value| {
            value["replicas"] = json!(["leader"]);
            value["peers"] = json!({});
            value["mode"] = json!(mode);
        });
        bench.write("a");
        assert_eq!(bench.released(), [1], "{mode}");
    }
}

#[test]
fn a_mode_switch_releases_what_the_new_mode_allows() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    bench.write("b");
    bench.acknowledge("f1", 1);
    bench.forget();
    bench.set_mode(Mode::Sync);
    assert_eq!(bench.released(), [0_u64; 0]);
    bench.set_mode(Mode::Quorum);
    assert_eq!(bench.released(), [1]);
    bench.set_mode(Mode::Async);
    assert_eq!(bench.released(), [1, 2]);
    assert_eq!(bench.replies().len(), 2);
    let modes = bench.facts().into_iter().filter_map(|fact| match fact {
        Fact::Mode { mode } => Some(mode),
        _ => None,
    });
    let modes: Vec<Mode> = modes.collect();
    assert_eq!(modes, [Mode::Sync, Mode::Quorum, Mode::Async]);
}

#[test]
fn a_release_happens_once() {
    let mut bench = Bench::leader("quorum");
    bench.write("a");
    bench.acknowledge("f1", 1);
    bench.acknowledge("f2", 1);
    bench.set_mode(Mode::Async);
    assert_eq!(bench.released(), [1]);
    assert_eq!(bench.replies().len(), 1);
}

#[test]
fn after_a_restart_nothing_is_released_until_a_digest_or_a_client_comes() {
    let mut bench = Bench::leader("async");
    bench.write("a");
    bench.write("b");
    let mut bench = bench.restart(2);
    assert_eq!(bench.released(), [0_u64; 0]);
    assert_eq!(bench.status().last_sequence, 2);
    assert_eq!(bench.status().outstanding, 0);
    bench.client(9, write("b"));
    assert_eq!(bench.released(), [1, 2]);
    assert_eq!(bench.replies(), [(9, Kind::WriteAck, "b".to_owned())]);
}
