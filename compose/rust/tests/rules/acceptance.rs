//! What happens to a write before it is released.

use bytes::Bytes;
use driftlab_replica::events::Fact;
use driftlab_replica::frames::BODY_BYTES_MAX;
use driftlab_replica::machine::Command;
use driftlab_replica::wire::{Envelope, Kind};
use serde_json::json;

use crate::support::{Bench, START_NS, TIMEOUT_NS, payload, write};

#[test]
fn a_token_is_stored_once_and_another_token_again() {
    let mut bench = Bench::leader("quorum");
    bench.write("a");
    bench.write("a");
    assert_eq!(bench.status().last_sequence, 1);
    assert_eq!(bench.status().counters.duplicate_requests, 1);
    bench.write("b");
    assert_eq!(bench.status().last_sequence, 2);
    assert_eq!(bench.status().counters.duplicate_requests, 1);
}

#[test]
fn a_token_is_known_from_its_arrival_not_from_the_disk() {
    let mut bench = Bench::leader("async");
    bench.client(1, write("a"));
    bench.client(2, write("a"));
    assert_eq!(bench.unconfirmed.len(), 1);
    bench.commit();
    let answered: Vec<u64> = bench.replies().iter().map(|reply| reply.0).collect();
    assert_eq!(answered, [1, 2]);
}

#[test]
fn a_released_write_is_acknowledged_again_and_an_unreleased_one_later() {
    let mut bench = Bench::leader("quorum");
    bench.write("a");
    bench.client(2, write("a"));
    assert!(bench.replies().is_empty());
    bench.acknowledge("f1", 1);
    let answered: Vec<u64> = bench.replies().iter().map(|reply| reply.0).collect();
    assert_eq!(answered, [1, 2]);
    bench.forget();
    bench.client(3, write("a"));
    assert_eq!(bench.replies(), [(3, Kind::WriteAck, "a".to_owned())]);
    assert_eq!(bench.released(), [0_u64; 0]);
}

#[test]
fn a_repeated_request_sends_only_where_nothing_is_under_way() {
    let mut bench = Bench::leader("sync");
    bench.write("a");
    bench.acknowledge("f1", 1);
    bench.forget();
    bench.client(1, write("a"));
    assert!(bench.sent(Kind::Update).is_empty());
    // Attempts of f2 run out; the next request starts a new first attempt there alone.
    bench.pass(20 * TIMEOUT_NS);
    assert_eq!(bench.status().counters.exhausted, 1);
    bench.forget();
    bench.client(1, write("a"));
    assert_eq!(bench.sent(Kind::Update), [(2, 1, 1)]);
}

#[test]
fn an_entry_is_reported_and_sent_only_once_it_is_durable() {
    let mut bench = Bench::leader("quorum");
    bench.client(1, write("a"));
    assert_eq!(bench.commands.len(), 1);
    let Command::Append(entry) = &bench.commands[0] else {
        panic!("the first command is the append");
    };
    assert_eq!(entry.origin, "leader");
    assert_eq!(entry.timestamp_ns, START_NS);
    bench.forget();
    bench.commit();
    let token = "a".to_owned();
    let accepted = Fact::Accepted {
        sequence: 1,
        token: token.clone(),
    };
    assert_eq!(
        bench.facts(),
        [accepted, Fact::Applied { sequence: 1, token }]
    );
    assert_eq!(bench.sent(Kind::Update), [(1, 1, 1), (2, 1, 1)]);
}

#[test]
fn a_full_queue_rejects_and_a_place_less_does_not() {
    let mut bench = Bench::leader("async");
    for token in ["a", "b", "c", "d"] {
        bench.write(token);
    }
    assert_eq!(bench.status().last_sequence, 4);
    bench.acknowledge("f1", 1);
    bench.forget();
    bench.write("e");
    let token = "e".to_owned();
    assert_eq!(bench.replies(), [(1, Kind::WriteReject, token.clone())]);
    assert_eq!(bench.facts(), [Fact::Rejected { token }]);
    assert_eq!(bench.status().counters.rejected, 1);
    bench.acknowledge("f2", 3);
    bench.write("e");
    assert_eq!(bench.status().last_sequence, 5);
    assert_eq!(bench.status().counters.rejected, 1);
}

#[test]
fn writes_on_their_way_to_the_disk_fill_the_queue_too() {
    let mut bench = Bench::leader("async");
    for token in ["a", "b", "c", "d", "e"] {
        bench.client(1, write(token));
    }
    assert_eq!(bench.unconfirmed.len(), 4);
    assert_eq!(bench.status().counters.rejected, 1);
}

#[test]
fn a_full_queue_defers_under_the_other_policy() {
    let mut bench = Bench::new("leader", |value| {
        value["queue"] = json!({"limit": 1, "overflow": "defer"});
    });
    bench.write("a");
    bench.acknowledge("f1", 1);
    bench.forget();
    bench.write("b");
    assert_eq!(bench.status().last_sequence, 2);
    assert_eq!(bench.sent(Kind::Update), [(1, 2, 1)]);
    assert_eq!(bench.status().counters.deferred, 1);
    assert_eq!(bench.status().counters.rejected, 0);
}

#[test]
fn a_write_that_is_no_update_is_counted_and_dropped() {
    let mut bench = Bench::leader("async");
    let mut broken = write("a");
    broken.payload = Bytes::from_static(&[0x0A, 0xFF]);
    bench.client(1, broken);
    let mut nameless = write("");
    nameless.payload = payload("k", "v");
    bench.client(1, nameless);
    let mut long = write("long");
    long.payload = payload("k", &"x".repeat(BODY_BYTES_MAX));
    bench.client(1, long);
    assert_eq!(bench.status().counters.malformed, 3);
    assert_eq!(bench.status().counters.rejected, 0);
    assert_eq!(bench.unconfirmed.len(), 0);
    assert!(bench.commands.is_empty());
    bench.write("a");
    assert_eq!(bench.status().last_sequence, 1);
}

#[test]
fn what_a_role_does_not_take_is_counted() {
    let mut leader = Bench::leader("async");
    leader.peer(crate::support::update(1, "k"));
    leader.acknowledge("f1", 1);
    leader.acknowledge("stranger", 1);
    leader.client(1, Envelope::default());
    assert_eq!(leader.status().counters.malformed, 4);
    leader.write("a");
    leader.acknowledge("f1", 1);
    assert_eq!(leader.status().counters.malformed, 4);
}

#[test]
fn a_payload_travels_as_the_bytes_that_came() {
    let mut bytes = payload("k", "v").to_vec();
    // Field 31, which this schema does not know.
    bytes.extend_from_slice(&[0xFA, 0x01, 0x04]);
    bytes.extend_from_slice(b"next");
    let mut envelope = write("a");
    envelope.payload = bytes.clone().into();
    let mut bench = Bench::leader("async");
    bench.client(1, envelope);
    bench.commit();
    for (_, envelope) in bench.sent_envelopes(Kind::Update) {
        assert_eq!(envelope.payload, bytes);
        assert_eq!(envelope.correlation_id, "c-a");
    }
    let counters = bench.status().counters;
    assert_eq!(counters.transmissions, 2);
    assert!(counters.bytes > 2 * bytes.len() as u64);
}
