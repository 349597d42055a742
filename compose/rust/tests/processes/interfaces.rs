//! The command line, the control interface and the edges of the wire.

use std::io::Write;
use std::process::{Command, Stdio};

use driftlab_replica::wire::Kind;
use serde_json::{Value, json};

use crate::support::{Connection, Group, REPLICA, update, wait_for, write};

#[test]
fn an_unknown_settings_key_ends_with_2_and_one_line_that_names_it() {
    let group = Group::new("interfaces-key", &["leader"]);
    let mut settings = group.settings(0);
    settings["retry_forever"] = json!(true);
    let path = group.write_settings(0, &settings);
    let output = Command::new(REPLICA).arg("--settings").arg(path).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("retry_forever"), "{text}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [&["--verbose"][..], &[], &["apply", "--ordering", "time"]] {
        let output = Command::new(REPLICA).args(arguments).output();
        assert_eq!(output.expect("it runs").status.code(), Some(2));
    }
}

#[test]
fn apply_prints_one_object() {
    let mut child = Command::new(REPLICA)
        .args(["apply", "--ordering", "key"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = child.stdin.take().expect("its input is a pipe");
    writeln!(
        input,
        r#"{{"sequence": "2", "token": "t", "payload": "0a016b"}}"#
    )
    .expect("written");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(outcome["waiting"], 1);
    assert_eq!(outcome["keys"], 1);
    assert_eq!(outcome["prefix_hash"], "0");
}

#[test]
fn health_is_what_the_control_interface_says() {
    let group = Group::new("interfaces-health", &["leader", "f1"]);
    let mut leader = group.start(0);
    let health = |path: &std::path::Path| {
        let mut command = Command::new(REPLICA);
        command.arg("health").arg("--settings").arg(path);
        command.output().expect("it runs").status.code()
    };
    assert_eq!(health(&leader.settings_path), Some(0));
    let body: Value = serde_json::from_str(&leader.get("/healthz")).expect("JSON");
    assert_eq!(body["name"], "leader");
    assert_eq!(body["role"], "leader");
    assert_eq!(body["runtime"], "rust");
    let follower = group.start(1);
    let body: Value = serde_json::from_str(&follower.get("/healthz")).expect("JSON");
    assert_eq!(body["role"], "follower");
    assert_eq!(leader.stop().code(), Some(0));
    assert_eq!(health(&leader.settings_path), Some(1));
}

#[test]
fn the_control_interface_refuses_what_it_does_not_know() {
    let group = Group::new("interfaces-control", &["leader"]);
    let leader = group.start(0);
    for (method, path, body, expected) in [
        ("GET", "/nothing", "", "404"),
        ("POST", "/state", "", "405"),
        ("GET", "/mode", "", "405"),
        ("POST", "/mode", r#"{"mode":"eventual"}"#, "400"),
        ("POST", "/mode", r#"{"mode":"async","now":1}"#, "400"),
        ("POST", "/mode", "", "400"),
    ] {
        let (status, body) = leader.request(method, path, body).expect("an answer");
        assert!(status.contains(expected), "{method} {path}: {status}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert!(body["error"].is_string());
    }
    assert_eq!(leader.state()["mode"], "sync");
}

#[test]
fn metrics_hold_every_counter_of_the_state() {
    let group = Group::new("interfaces-metrics", &["leader"]);
    let leader = group.start(0);
    leader.connect().ask(&write("k", "a"));
    leader.connect().ask(&write("k", "a"));
    let text = leader.get("/metrics");
    let state = leader.state();
    let counters = state["counters"].as_object().expect("an object");
    assert_eq!(counters.len(), 29);
    for (name, value) in counters {
        let line = format!("driftlab_{name}_total {value}");
        assert!(text.lines().any(|other| other == line), "{line}");
    }
    assert!(text.contains("\ndriftlab_duplicate_requests_total 1\n"));
    assert!(text.contains("\ndriftlab_last_sequence 1\n"));
    assert!(text.contains("\ndriftlab_prefix 1\n"));
    assert!(text.contains("\ndriftlab_waiting 0\n"));
    assert!(text.contains("\ndriftlab_outstanding 0\n"));
    assert!(
        !text.contains("driftlab_breaker_state"),
        "there is no follower"
    );
}

#[test]
fn a_frame_that_is_too_long_closes_the_connection_and_others_do_not() {
    let group = Group::new("interfaces-frames", &["leader"]);
    let mut leader = group.start(0);
    let mut connection = leader.connect();
    connection
        .stream
        .write_all(&[0, 0, 0, 2, 0xFF, 0xFF])
        .expect("written");
    connection.send(&update(1));
    let frame = driftlab_replica::frames::encode_frame(&write("k", "a"));
    for byte in frame {
        connection.stream.write_all(&[byte]).expect("written");
    }
    assert_eq!(
        connection.receive().expect("an answer").kind(),
        Kind::WriteAck
    );
    assert_eq!(leader.counter("malformed"), 2);
    connection
        .stream
        .write_all(&[0, 0x10, 0, 1])
        .expect("written");
    assert_eq!(connection.receive(), None);
    assert_eq!(leader.counter("malformed"), 3);
    assert_eq!(leader.connect().ask(&write("k", "b")).sequence, 2);
    leader.stop();
    let logs = leader.logs.read_to_end();
    assert_eq!(logs.len(), 2);
    for key in ["level", "time", "replica", "message"] {
        assert!(logs[0][key].is_string(), "{key}: {}", logs[0]);
    }
    assert_eq!(logs[0]["level"], "WARN");
    assert_eq!(logs[0]["replica"], "leader");
}

#[test]
fn events_can_be_switched_off() {
    let group = Group::new("interfaces-events", &["leader"]);
    let mut settings = group.settings(0);
    settings["events"] = json!(false);
    let mut leader = group.start_with(0, &settings);
    leader.connect().ask(&write("k", "a"));
    leader.stop();
    assert!(leader.events.read_to_end().is_empty());
}

#[test]
fn a_follower_refuses_clients() {
    let group = Group::new("interfaces-follower", &["leader", "f1"]);
    let follower = group.start(1);
    let answer = follower.connect().ask(&write("k", "a"));
    assert_eq!(answer.kind(), Kind::WriteReject);
    assert_eq!(answer.correlation_id, "c-a");
    let mut peer = Connection::open(group.peer_port(1));
    peer.send(&write("k", "b"));
    wait_for("it is counted", || follower.counter("malformed") == 1);
    assert_eq!(follower.state()["last_sequence"], 0);
}
