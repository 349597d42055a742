//! Spans reach a collector, and a collector that does not answer harms nobody.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use driftlab_replica::otlp::proto::{ExportTraceServiceRequest, ResourceSpans, Span, Value};
use prost::Message;
use serde_json::json;

use crate::support::{Connection, Group, update, wait_for, write};

/// What a collector on a free port of loopback has been sent.
fn collector() -> (String, Arc<Mutex<Vec<ResourceSpans>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let received = Arc::new(Mutex::new(Vec::new()));
    let sink = received.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = Vec::new();
            let body = loop {
                let mut piece = [0; 4096];
                let count = stream.read(&mut piece).expect("readable");
                bytes.extend_from_slice(&piece[..count]);
                if let Some(body) = body_of(&bytes) {
                    break body;
                }
                assert!(count > 0, "the request ends early");
            };
            let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("OTLP");
            sink.lock()
                .expect("not poisoned")
                .extend(request.resource_spans);
            // It closes with its answer, as simple servers do.
            let answer = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).expect("written");
        }
    });
    (format!("http://{address}"), received)
}

/// The body of a request once all of it is there.
fn body_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"));
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let length: usize = length.parse().expect("a number");
    let body = &bytes[end + 4..];
    (body.len() == length).then(|| body.to_vec())
}

fn resource(spans: &ResourceSpans, key: &str) -> String {
    let attributes = spans.resource.iter().flat_map(|it| &it.attributes);
    let mut found = attributes.filter(|attribute| attribute.key == key);
    match found.next().and_then(|it| it.value.clone()?.value) {
        Some(Value::Text(text)) => text,
        _ => String::new(),
    }
}

#[test]
fn one_write_is_one_trace_across_replicas() {
    let (address, received) = collector();
    let group = Group::new("traces-group", &["leader", "f1"]);
    let start = |index: usize| {
        let mut settings = group.settings(index);
        settings["traces"] = json!(address);
        group.start_with(index, &settings)
    };
    let (mut follower, mut leader) = (start(1), start(0));
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let mut asked = write("k", "a");
    asked.traceparent = format!("00-{trace_id}-b7ad6b7169203331-01");
    leader.connect().ask(&asked);
    leader.stop();
    follower.stop();
    for replica in [&mut leader, &mut follower] {
        assert!(replica.logs.read_to_end().is_empty(), "nothing was lost");
    }
    let received = received.lock().expect("not poisoned");
    let find = |replica: &str, name: &str| -> Span {
        let from = received
            .iter()
            .filter(|spans| resource(spans, "service.name") == replica);
        let mut spans = from
            .flat_map(|spans| &spans.scope_spans)
            .flat_map(|scope| &scope.spans)
            .filter(|span| span.name == name);
        spans.next().expect("a span").clone()
    };
    let (write, replicate) = (find("leader", "write"), find("leader", "replicate"));
    let store = find("f1", "store");
    assert_eq!(replicate.parent_span_id, write.span_id);
    assert_eq!(store.parent_span_id, replicate.span_id);
    for span in [&write, &replicate, &store] {
        let text: String = span
            .trace_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(text, trace_id);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        // Since the epoch, not since the host started.
        assert!(span.start_time_unix_nano > 1_600_000_000_000_000_000);
    }
    assert_eq!(resource(&received[0], "service.instance.id"), "test");
    assert_eq!(resource(&received[0], "driftlab.runtime"), "rust");
}

#[test]
fn a_collector_that_does_not_answer_holds_nobody_up() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let group = Group::new("traces-silent", &["leader"]);
    let mut settings = group.settings(0);
    let address = silent.local_addr().expect("an address");
    settings["traces"] = json!(format!("http://{address}"));
    let mut leader = group.start_with(0, &settings);
    let mut connection = leader.connect();
    for number in 0..3000 {
        connection.send(&write("k", &format!("t-{number}")));
    }
    for _ in 0..3000 {
        connection.receive().expect("an answer");
    }
    assert_eq!(leader.state()["last_sequence"], 3000);
    assert_eq!(leader.stop().code(), Some(0));
}

#[test]
fn log_lines_within_a_trace_name_it() {
    let group = Group::new("traces-logs", &["leader", "f1"]);
    let mut follower = group.start(1);
    let mut peer = Connection::open(group.peer_port(1));
    let mut broken = update(1);
    broken.idempotency_token = String::new();
    peer.send(&broken);
    broken.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    peer.send(&broken);
    wait_for("both are counted", || follower.counter("malformed") == 2);
    follower.stop();
    let logs = follower.logs.read_to_end();
    assert!(logs[0].get("trace_id").is_none());
    assert_eq!(logs[1]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
}
