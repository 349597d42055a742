//! What is left when a replica is killed, and how it stops when asked to.

use std::net::TcpListener;

use driftlab_replica::wire::Kind;
use serde_json::Value;

use crate::support::{Connection, Group, update, wait_for, write};

fn names_and_tokens(events: &[Value]) -> Vec<(&str, &str)> {
    let text = |value: &Value| value.as_str().is_some();
    let events = events.iter().filter(|event| text(&event["token"]));
    events
        .map(|event| {
            let name = event["e"].as_str().unwrap_or_default();
            (name, event["token"].as_str().unwrap_or_default())
        })
        .collect()
}

#[test]
fn an_acknowledged_write_survives_a_kill_and_so_do_its_events() {
    let group = Group::new("crash-leader", &["leader"]);
    let mut leader = group.start(0);
    for round in 0..5 {
        let token = format!("t-{round}");
        let answer = leader.connect().ask(&write("k", &token));
        leader.kill();
        assert_eq!(answer.kind(), Kind::WriteAck);
        assert_eq!(answer.sequence, round + 1);
        let events = leader.events.read_to_end();
        let expected = ["accepted", "applied", "released"].map(|name| (name, token.as_str()));
        assert_eq!(names_and_tokens(&events), expected);
        assert_eq!(events[0]["e"], "start");
        assert_eq!(events[0]["prefix"], round);
        leader = group.start(0);
        assert_eq!(leader.state()["last_sequence"], round + 1);
    }
    // The token is known; one that was never written is not.
    assert_eq!(leader.connect().ask(&write("k", "t-0")).sequence, 1);
    assert_eq!(leader.counter("duplicate_requests"), 1);
    assert_eq!(leader.connect().ask(&write("k", "other")).sequence, 6);
}

#[test]
fn an_entry_that_a_follower_acknowledged_survives_a_kill() {
    let group = Group::new("crash-follower", &["leader", "f1"]);
    // The test is the leader.
    let listener = TcpListener::bind(("127.0.0.1", group.peer_port(0))).expect("a port");
    let mut follower = group.start(1);
    let (stream, _) = listener.accept().expect("the follower connects");
    let mut from_follower = Connection::of(stream);
    let mut to_follower = Connection::open(group.peer_port(1));
    to_follower.send(&update(1));
    let first_incarnation = follower.state()["incarnation"].as_u64();
    loop {
        let envelope = from_follower.receive().expect("a frame");
        if envelope.kind() == Kind::UpdateAck {
            assert_eq!(envelope.sequence, 1);
            break;
        }
    }
    follower.kill();
    let follower = group.start(1);
    assert_eq!(follower.state()["last_sequence"], 1);
    assert!(follower.state()["incarnation"].as_u64() > first_incarnation);
    let mut to_follower = Connection::open(group.peer_port(1));
    to_follower.send(&update(1));
    wait_for("the duplicate is counted", || {
        follower.counter("duplicates") == 1
    });
    to_follower.send(&update(2));
    wait_for("the next one is stored", || follower.state()["prefix"] == 2);
    assert_eq!(follower.counter("duplicates"), 1);
}

#[test]
fn a_stop_under_load_is_clean_and_keeps_what_was_acknowledged() {
    let group = Group::new("crash-stop", &["leader"]);
    let mut leader = group.start(0);
    let mut connection = leader.connect();
    for number in 0..500 {
        connection.send(&write("k", &format!("t-{number}")));
    }
    connection.receive().expect("the first answer");
    assert_eq!(leader.stop().code(), Some(0));
    let mut acknowledged = 1;
    while connection.receive().is_some() {
        acknowledged += 1;
    }
    let events = leader.events.read_to_end();
    let released = names_and_tokens(&events);
    let released = released
        .iter()
        .filter(|(name, _)| *name == "released")
        .count();
    assert!(released >= acknowledged);
    assert_eq!(leader.logs.read_to_end(), [Value::Null; 0]);
    let leader = group.start(0);
    assert!(leader.state()["last_sequence"].as_u64() >= Some(released as u64));
}
