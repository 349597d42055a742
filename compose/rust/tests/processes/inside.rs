//! Reading, faults and correction through the control interface.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{Connection, Group, Replica, update, wait_for, write};

fn ask(replica: &Replica, method: &str, path: &str, body: &str) -> (String, Value) {
    let (status, body) = replica.request(method, path, body).expect("an answer");
    let code = status.split(' ').nth(1).expect("a code").to_owned();
    (code, serde_json::from_str(&body).expect("JSON"))
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

#[test]
fn a_group_is_read_and_compared() {
    let group = Group::new("inside-read", &["leader", "f1"]);
    let follower = group.start(1);
    let mut settings = group.settings(0);
    settings["progress_every_ns"] = json!(10_000_000);
    let leader = group.start_with(0, &settings);
    for number in 0..20 {
        leader
            .connect()
            .ask(&write(&format!("k{number}"), &format!("t-{number}")));
    }
    let (code, told) = ask(&leader, "GET", "/read?key=6b33&max_staleness_ns=0", "");
    assert_eq!(code, "200");
    assert_eq!(told["sequence"], 4);
    assert_eq!(told["found"], true);
    assert_eq!(told["key"], "6b33");
    assert_eq!(told["staleness_ns"], 0);
    let payload = told["payload"].clone();
    let path = "/read?key=6b33&max_staleness_ns=5000000000";
    let (code, told) = ask(&follower, "GET", path, "");
    assert_eq!(code, "200");
    assert_eq!(told["payload"], payload);
    assert_eq!(told["prefix"], 20);
    let (_, told) = ask(&follower, "GET", "/read?key=", "");
    assert_eq!(
        (&told["found"], &told["payload"]),
        (&json!(false), &json!(""))
    );
    let (code, told) = ask(&follower, "GET", "/read?key=6b33&max_staleness_ns=0", "");
    assert_eq!((code.as_str(), &told["error"]), ("503", &json!("stale")));
    assert_eq!(follower.counter("stale_reads"), 1);

    let (_, root) = ask(&leader, "GET", "/merkle", "");
    assert_eq!(ask(&follower, "GET", "/merkle?path=", "").1, root);
    assert_eq!(root["prefix"], 20);
    let snapshot = leader.get("/snapshot");
    let rows = lines(&snapshot);
    assert_eq!(rows.len(), 21);
    assert_eq!(rows[0]["digest"], leader.state()["digest"]);
    let (code, entry) = ask(&follower, "GET", "/entry?sequence=4", "");
    assert_eq!((code.as_str(), &entry), ("200", &rows[4]));
    for (path, expected) in [
        ("/entry?sequence=21", "404"),
        ("/entry?sequence=0", "404"),
        ("/entry?sequence=x", "400"),
        ("/entry", "400"),
        ("/read", "400"),
        ("/read?key=6", "400"),
        ("/read?key=ff", "400"),
        ("/read?key=6b&max_staleness_ns=-1", "400"),
        ("/merkle?path=00000", "400"),
        ("/merkle?path=G", "400"),
    ] {
        let (code, told) = ask(&leader, "GET", path, "");
        assert_eq!(code, expected, "{path}");
        assert!(told["error"].is_string());
    }
}

#[test]
fn a_request_over_4_mib_is_refused() {
    let group = Group::new("inside-long", &["leader", "f1"]);
    let follower = group.start(1);
    let body = format!("{{\"entries\": []{}}}", " ".repeat(4 << 20));
    let (code, _) = ask(&follower, "POST", "/repair", &body);
    assert_eq!(code, "413");
    let body = format!("{{\"entries\": []{}}}", " ".repeat(4 << 10));
    let (code, told) = ask(&follower, "POST", "/repair", &body);
    assert_eq!(code, "200");
    assert_eq!(told, json!({"stored": 0, "corrected": 0, "unchanged": 0}));
}

#[test]
fn a_damaged_follower_is_put_right_for_good() {
    let group = Group::new("inside-repair", &["leader", "f1"]);
    // The test is the leader.
    let _listener = TcpListener::bind(("127.0.0.1", group.peer_port(0))).expect("a port");
    let mut follower = group.start(1);
    let mut peer = Connection::open(group.peer_port(1));
    peer.send(&update(1));
    wait_for("it is stored", || follower.state()["prefix"] == 1);
    let (_, right) = ask(&follower, "GET", "/entry?sequence=1", "");
    let mut missing = right.clone();
    missing["sequence"] = json!("2");
    missing["token"] = json!("t-2");
    let mut other = right.clone();
    other["payload"] = json!("0a016b1201ff");
    let body = json!({"entries": [other, missing]}).to_string();
    let (code, told) = ask(&follower, "POST", "/repair", &body);
    assert_eq!(code, "200", "{told}");
    assert_eq!(told, json!({"stored": 1, "corrected": 1, "unchanged": 0}));
    // What was answered is durable.
    follower.kill();
    let events = follower.events.read_to_end();
    let names: Vec<&Value> = events.iter().map(|event| &event["e"]).collect();
    assert_eq!(names, ["start", "applied", "applied", "corrected"]);
    let follower = group.start(1);
    assert_eq!(follower.state()["prefix"], 2);
    let (_, told) = ask(&follower, "GET", "/entry?sequence=1", "");
    assert_eq!(told["payload"], "0a016b1201ff");
    let (code, _) = ask(&follower, "POST", "/repair", "{}");
    assert_eq!(code, "400");
    let leaders = Group::new("inside-repair-leader", &["leader"]);
    let (code, _) = ask(&leaders.start(0), "POST", "/repair", r#"{"entries": []}"#);
    assert_eq!(code, "400");
}

#[test]
fn faults_are_set_felt_and_lifted() {
    let group = Group::new("inside-faults", &["leader", "f1"]);
    let follower = group.start(1);
    let leader = group.start(0);
    leader.connect().ask(&write("k", "before"));
    for name in ["slowed", "stalled"] {
        assert_eq!(follower.counter(name), 0);
    }
    let (code, told) = ask(&follower, "POST", "/faults", r#"{"service_ns": 1000000}"#);
    assert_eq!(code, "200");
    assert_eq!(told["service_ns"], 1_000_000);
    ask(&follower, "POST", "/faults", r#"{"fsync_ns": 1000000}"#);
    let refused = ask(&follower, "POST", "/faults", r#"{"fsync_ns": -1}"#);
    assert_eq!(refused.0, "400");
    let skew = r#"{"clock_offset_ns": 1000000000}"#;
    assert_eq!(ask(&leader, "POST", "/faults", skew).0, "200");
    leader.connect().ask(&write("k", "during"));
    assert_eq!(follower.counter("slowed"), 1);
    assert_eq!(follower.counter("stalled"), 1);
    assert_eq!(leader.counter("skewed"), 1);
    let in_force = json!({"clock_offset_ns": 0, "clock_drift_ppm": 0, "service_ns": 1_000_000,
                          "fsync_ns": 1_000_000});
    assert_eq!(follower.state()["faults"], in_force);
    ask(
        &follower,
        "POST",
        "/faults",
        r#"{"service_ns": 0, "fsync_ns": 0}"#,
    );
    leader.connect().ask(&write("k", "after"));
    assert_eq!(follower.counter("slowed"), 1);
    assert_eq!(follower.counter("stalled"), 1);
}

#[test]
fn a_replica_stops_in_time_however_slow_its_disk_is() {
    let group = Group::new("inside-stop", &["leader"]);
    let mut leader = group.start(0);
    ask(&leader, "POST", "/faults", r#"{"fsync_ns": 10000000000}"#);
    let mut connection = leader.connect();
    connection.send(&write("k", "a"));
    wait_for("its write is slow", || leader.counter("stalled") == 1);
    assert_eq!(leader.stop().code(), Some(0));
    let leader = group.start(0);
    assert_eq!(leader.state()["last_sequence"], 1);
}
