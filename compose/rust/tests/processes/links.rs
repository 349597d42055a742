//! The wire of one connection a frame, and the limits of a channel.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use driftlab_replica::frames::encode_frame;
use driftlab_replica::wire::{Envelope, Kind};
use serde_json::{Value, json};

use crate::support::{Connection, Group, Replica, update, wait_for, write};

fn oneshot(group: &Group, index: usize) -> Value {
    let mut settings = group.settings(index);
    settings["wire"] = json!("oneshot");
    settings
}

fn write_many(leader: &Replica, count: usize) {
    let mut connection = leader.connect();
    for number in 0..count {
        connection.send(&write(&format!("k{}", number % 7), &format!("t-{number}")));
    }
    for _ in 0..count {
        let answer = connection.receive().expect("an answer");
        assert_eq!(answer.kind(), Kind::WriteAck);
    }
}

/// The connections that a listener has been given so far.
fn accept_all(listener: &TcpListener) -> Vec<TcpStream> {
    listener.set_nonblocking(true).expect("an option");
    let mut streams = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("an option");
                streams.push(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return streams,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn replicas_agree_with_a_connection_for_each_frame() {
    let group = Group::new("links-oneshot", &["leader", "f1", "f2"]);
    let first = group.start_with(1, &oneshot(&group, 1));
    let second = group.start_with(2, &oneshot(&group, 2));
    let leader = group.start_with(0, &oneshot(&group, 0));
    write_many(&leader, 100);
    wait_for("all have the same state", || {
        let states = [&leader, &first, &second].map(Replica::state);
        states
            .iter()
            .all(|state| state["prefix"] == 100 && state["digest"] == states[0]["digest"])
    });
    assert_eq!(leader.counter("duplicated"), 0);
    for replica in [&leader, &first, &second] {
        assert_eq!(replica.counter("partial_frames"), 0);
        assert_eq!(replica.counter("malformed"), 0);
    }
}

#[test]
fn a_pool_is_dialled_ahead_and_each_frame_closes_its_connection() {
    let group = Group::new("links-pool", &["leader", "f1"]);
    let listener = TcpListener::bind(("127.0.0.1", group.peer_port(1))).expect("a port");
    let mut settings = oneshot(&group, 0);
    settings["pool"] = json!(3);
    settings["mode"] = json!("async");
    let leader = group.start_with(0, &settings);
    let mut streams = Vec::new();
    wait_for("the pool is full", || {
        streams.extend(accept_all(&listener));
        streams.len() >= 3
    });
    sleep(Duration::from_millis(50));
    assert!(accept_all(&listener).is_empty(), "and no fuller");
    // One that is closed while it waits is replaced.
    drop(streams.remove(0));
    wait_for("it is replaced", || {
        streams.extend(accept_all(&listener));
        streams.len() == 3
    });
    leader.connect().ask(&write("k", "a"));
    wait_for("the frame's connection is replaced", || {
        streams.extend(accept_all(&listener));
        streams.len() >= 4
    });
    let mut used = streams.into_iter().filter_map(|stream| {
        stream
            .set_read_timeout(Some(Duration::from_millis(30)))
            .expect("an option");
        let mut connection = Connection::of_patient(stream);
        let frame = connection.receive()?;
        assert_eq!(connection.receive(), None, "one frame, then the end");
        Some(frame)
    });
    assert_eq!(used.next().expect("a frame").kind(), Kind::Update);
}

#[test]
fn frames_are_sent_twice_on_request() {
    let group = Group::new("links-twice", &["leader", "f1"]);
    let follower = group.start_with(1, &oneshot(&group, 1));
    let leader = group.start_with(0, &oneshot(&group, 0));
    for body in [
        r#"{"f9": {"duplicate_ppm": 1}}"#,
        r#"{"f1": {"duplicate_ppm": 1000001}}"#,
        r#"{"f1": {"duplicate_ppm": -1}}"#,
        r#"{"f1": {"duplicate_ppm": 1}, "f9": {"duplicate_ppm": 1}}"#,
        r#"{"f1": {}}"#,
        r#"{"f1": [1]}"#,
        "[]",
    ] {
        let (status, _) = leader.request("POST", "/links", body).expect("an answer");
        assert!(status.contains("400"), "{body}: {status}");
    }
    write_many(&leader, 5);
    assert_eq!(leader.counter("duplicated"), 0);
    let body = r#"{"f1": {"duplicate_ppm": 1000000}}"#;
    let (status, told) = leader.request("POST", "/links", body).expect("an answer");
    assert!(status.contains("200"), "{told}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told, json!({"f1": {"duplicate_ppm": 1_000_000}}));
    let mut connection = leader.connect();
    for number in 0..20 {
        connection.ask(&write("k", &format!("x-{number}")));
    }
    wait_for("copies came", || follower.counter("duplicates") >= 10);
    assert!(leader.counter("duplicated") >= 10);
    assert_eq!(follower.state()["prefix"], 25);
    let framed = Group::new("links-framed", &["leader", "f1"]);
    let leader = framed.start(0);
    let (status, _) = leader.request("POST", "/links", "{}").expect("an answer");
    assert!(status.contains("400"), "{status}");
}

#[test]
fn a_connection_that_ends_inside_a_frame_is_counted() {
    let group = Group::new("links-partial", &["leader", "f1"]);
    let follower = group.start(1);
    let whole = encode_frame(&update(1));
    for (bytes, partial) in [(whole.len(), 0), (whole.len() - 1, 1), (2, 2), (0, 2)] {
        let mut connection = Connection::open(group.peer_port(1));
        connection
            .stream
            .write_all(&whole[..bytes])
            .expect("written");
        drop(connection);
        wait_for("it is counted", || {
            follower.counter("partial_frames") == partial
        });
    }
    assert_eq!(follower.state()["last_sequence"], 1);
    let mut client = follower.connect();
    client.stream.write_all(&[0, 0]).expect("written");
    drop(client);
    wait_for("a client's counts too", || {
        follower.counter("partial_frames") == 3
    });
    assert_eq!(follower.counter("malformed"), 0);
}

fn large(token: &str) -> Envelope {
    let mut envelope = write("k", token);
    let mut payload = envelope.payload.to_vec();
    // Field 2 again, long: the last one counts.
    payload.extend([0x12, 0xB0, 0xEA, 0x01]);
    payload.extend(vec![7; 30_000]);
    envelope.payload = payload.into();
    envelope
}

#[test]
fn a_channel_has_its_bandwidth() {
    for wire in ["framed", "oneshot"] {
        let group = Group::new(&format!("links-bandwidth-{wire}"), &["leader", "f1"]);
        let mut settings = group.settings(0);
        settings["wire"] = json!(wire);
        settings["channel"] = json!({"bandwidth_bytes_per_s": 300_000});
        let follower = group.start(1);
        let leader = group.start_with(0, &settings);
        let mut connection = leader.connect();
        for number in 0..4 {
            connection.send(&large(&format!("t-{number}")));
        }
        for _ in 0..4 {
            let answer = connection.receive().expect("an answer");
            assert_eq!(answer.kind(), Kind::WriteAck);
        }
        assert!(leader.counter("throttled") >= 1, "{wire}");
        assert_eq!(follower.state()["prefix"], 4);
        assert_eq!(follower.counter("throttled"), 0);
    }
}

#[test]
fn a_channel_has_its_memory() {
    let group = Group::new("links-memory", &["leader", "f1"]);
    // It takes the connection and reads nothing.
    let _listener = TcpListener::bind(("127.0.0.1", group.peer_port(1))).expect("a port");
    let mut settings = group.settings(0);
    settings["mode"] = json!("async");
    settings["channel"] = json!({"memory_bytes": 100_000, "bandwidth_bytes_per_s": 1});
    let leader = group.start_with(0, &settings);
    let mut connection = leader.connect();
    let answers: Vec<Kind> = (0..10)
        .map(|number| {
            let answer = connection.ask(&large(&format!("t-{number}"))).kind();
            // The link takes a frame out of its queue.
            sleep(Duration::from_millis(10));
            answer
        })
        .collect();
    assert_eq!(answers[0], Kind::WriteAck);
    assert_eq!(answers[9], Kind::WriteReject);
    assert!(leader.counter("rejected") >= 1);
    let metrics = leader.get("/metrics");
    let waiting = metrics
        .lines()
        .find_map(|line| line.strip_prefix("driftlab_queue_bytes{peer=\"f1\"} "))
        .expect("a gauge");
    let waiting: f64 = waiting.parse().expect("a number");
    assert!((1.0..=100_000.0).contains(&waiting), "{waiting}");
}
