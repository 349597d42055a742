//! A leader and its followers together.

use driftlab_replica::wire::Kind;

use crate::support::{Group, Replica, wait_for, write};

fn write_many(leader: &Replica, label: &str, count: usize) {
    let mut connection = leader.connect();
    for number in 0..count {
        connection.send(&write(
            &format!("k{}", number % 7),
            &format!("{label}-{number}"),
        ));
    }
    for _ in 0..count {
        let answer = connection.receive().expect("an answer");
        assert_eq!(answer.kind(), Kind::WriteAck);
    }
}

fn agree(replicas: &[&Replica], length: u64) -> bool {
    let states: Vec<_> = replicas.iter().map(|replica| replica.state()).collect();
    states.iter().all(|state| {
        state["prefix"] == length
            && state["digest"] == states[0]["digest"]
            && state["prefix_hash"] == states[0]["prefix_hash"]
    })
}

#[test]
fn three_replicas_agree_on_what_was_acknowledged() {
    let group = Group::new("cluster-agree", &["leader", "f1", "f2"]);
    let (first, second) = (group.start(1), group.start(2));
    let leader = group.start(0);
    let empty = leader.state()["digest"].clone();
    write_many(&leader, "w", 200);
    // In this mode every follower holds an update before it is acknowledged.
    assert!(agree(&[&leader, &first, &second], 200));
    assert_ne!(leader.state()["digest"], empty);
    assert_eq!(leader.state()["keys"], 7);
    assert_eq!(leader.state()["outstanding"], 0);
    assert!(leader.counter("transmissions") >= 400);
}

#[test]
fn a_follower_that_was_away_is_brought_forward() {
    let group = Group::new("cluster-away", &["leader", "f1", "f2"]);
    let mut settings = group.settings(0);
    settings["mode"] = "quorum".into();
    let first = group.start(1);
    let mut second = group.start(2);
    let leader = group.start_with(0, &settings);
    write_many(&leader, "before", 10);
    wait_for("all have the first writes", || {
        agree(&[&leader, &first, &second], 10)
    });
    second.kill();
    write_many(&leader, "meanwhile", 100);
    assert!(leader.counter("unsent") > 0);
    wait_for("attempts at the absent end", || {
        leader.state()["outstanding"] == 0
    });
    let second = group.start(2);
    assert_eq!(second.state()["prefix"], 10);
    wait_for("it has caught up", || {
        agree(&[&leader, &first, &second], 110)
    });
    assert!(leader.counter("repairs") >= 100);
    assert_eq!(leader.counter("digest_mismatch"), 0);
}

#[test]
fn a_leader_that_was_killed_goes_on_with_its_log() {
    let group = Group::new("cluster-leader", &["leader", "f1"]);
    let follower = group.start(1);
    let mut leader = group.start(0);
    write_many(&leader, "w", 20);
    leader.kill();
    let leader = group.start(0);
    assert_eq!(leader.state()["last_sequence"], 20);
    // The clients do not know and ask again; nothing is stored twice.
    write_many(&leader, "w", 20);
    assert_eq!(leader.counter("duplicate_requests"), 20);
    write_many(&leader, "x", 20);
    assert!(agree(&[&leader, &follower], 40));
}

#[test]
fn a_mode_switch_answers_those_who_wait() {
    let group = Group::new("cluster-mode", &["leader", "f1"]);
    let leader = group.start(0);
    let mut connection = leader.connect();
    connection.send(&write("k", "a"));
    wait_for("it is stored", || leader.state()["last_sequence"] == 1);
    let answer = leader.request("POST", "/mode", r#"{"mode":"async"}"#);
    let (status, body) = answer.expect("an answer");
    assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
    assert_eq!(
        connection.receive().expect("an answer").kind(),
        Kind::WriteAck
    );
    assert_eq!(leader.state()["mode"], "async");
}
