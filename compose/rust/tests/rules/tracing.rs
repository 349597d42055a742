//! Spans: their parents, their ends, and that none is made where nothing is traced.

use driftlab_replica::trace::{Attribute, Span, SpanContext, SpanKind, trace_id_of};
use driftlab_replica::wire::{Envelope, Kind};
use serde_json::json;

use crate::support::{Bench, TIMEOUT_NS, digest, update, write};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn traced(name: &str) -> Bench {
    Bench::new(name, |value| {
        value["traces"] = json!("http://127.0.0.1:4318");
        value["policy"]["attempts"] = json!(2);
    })
}

fn text(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|(known, _)| *known == name);
    match found.map(|(_, value)| value) {
        Some(Attribute::Text(value)) => value.clone(),
        Some(Attribute::Number(value)) => value.to_string(),
        None => String::new(),
    }
}

fn named(bench: &Bench, name: &str) -> Vec<Span> {
    let spans = bench.spans().into_iter();
    spans.filter(|span| span.name == name).collect()
}

fn traced_write(token: &str, traceparent: &str) -> Envelope {
    Envelope {
        traceparent: traceparent.to_owned(),
        ..write(token)
    }
}

#[test]
fn a_context_is_read_and_written_as_it_is() {
    let context = SpanContext::parse(PARENT).expect("a context");
    assert_eq!(context.to_string(), PARENT);
    assert!(context.sampled);
    assert_eq!(trace_id_of(PARENT), "0af7651916cd43dd8448eb211c80319c");
    let newer = PARENT.replacen("00", "01", 1) + "-more";
    assert!(SpanContext::parse(&newer).is_some());
    for text in [
        "",
        "00",
        &PARENT.to_uppercase(),
        &PARENT.replacen("00", "ff", 1),
        &format!("{PARENT}-more"),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c-+7ad6b7169203331-01",
    ] {
        assert_eq!(SpanContext::parse(text), None, "{text}");
        assert_eq!(trace_id_of(text), "");
    }
}

#[test]
fn nothing_is_recorded_without_a_collector() {
    let mut bench = Bench::leader("async");
    bench.client(1, traced_write("a", PARENT));
    bench.commit();
    bench.acknowledge("f1", 1);
    bench.stop();
    assert!(bench.spans().is_empty());
    let (_, frame) = bench.sent_envelopes(Kind::Update).remove(0);
    assert_eq!(frame.traceparent, "");
}

#[test]
fn a_write_its_attempts_and_their_storing_are_one_trace() {
    let mut bench = traced("leader");
    bench.client(1, traced_write("a", PARENT));
    bench.commit();
    let frames = bench.sent_envelopes(Kind::Update);
    bench.acknowledge("f1", 1);
    let parent = SpanContext::parse(PARENT).expect("a context");
    let write = named(&bench, "write").remove(0);
    assert_eq!(write.kind, SpanKind::Server);
    assert_eq!(write.parent_span_id, parent.span_id);
    assert_eq!(write.context.trace_id, parent.trace_id);
    assert_eq!(text(&write, "driftlab.sequence"), "1");
    assert_eq!(text(&write, "driftlab.token"), "a");
    assert_eq!(text(&write, "driftlab.outcome"), "acknowledged");
    let replicate = named(&bench, "replicate").remove(0);
    assert_eq!(replicate.kind, SpanKind::Producer);
    assert_eq!(replicate.parent_span_id, write.context.span_id);
    assert_eq!(text(&replicate, "driftlab.follower"), "f1");
    assert_eq!(text(&replicate, "driftlab.attempt"), "1");
    assert_eq!(text(&replicate, "driftlab.outcome"), "acknowledged");
    assert_eq!(frames[0].1.traceparent, replicate.context.to_string());

    let mut follower = traced("f1");
    follower.peer(frames[0].1.clone());
    assert!(follower.spans().is_empty(), "it is not durable");
    follower.commit();
    let store = named(&follower, "store").remove(0);
    assert_eq!(store.kind, SpanKind::Consumer);
    assert_eq!(store.parent_span_id, replicate.context.span_id);
    assert_eq!(store.context.trace_id, parent.trace_id);
    // A duplicate is heard and answered too.
    follower.peer(frames[0].1.clone());
    assert_eq!(named(&follower, "store").len(), 2);
}

#[test]
fn a_timeout_ends_an_attempt_and_the_next_one_is_another_span() {
    let mut bench = traced("leader");
    bench.client(1, traced_write("a", ""));
    bench.commit();
    bench.pass(20 * TIMEOUT_NS);
    let attempts: Vec<(String, String, bool)> = named(&bench, "replicate")
        .iter()
        .filter(|span| text(span, "driftlab.follower") == "f1")
        .map(|span| {
            let number = text(span, "driftlab.attempt");
            (number, text(span, "driftlab.outcome"), span.failed)
        })
        .collect();
    let timed_out = |number: &str| (number.to_owned(), "timed_out".to_owned(), true);
    assert_eq!(attempts, [timed_out("1"), timed_out("2")]);
    let spans = named(&bench, "replicate");
    assert!(spans[0].ended_ns - spans[0].begun_ns == TIMEOUT_NS as i64);
    assert_ne!(spans[0].context.span_id, spans[1].context.span_id);
    assert!(named(&bench, "write").is_empty(), "nobody has it yet");
    // A repair is a child of the write as well, until it is acknowledged.
    bench.forget();
    bench.peer(digest("f1", &[], 10));
    bench.peer(digest("f1", &[], 10));
    bench.acknowledge("f1", 1);
    let write = named(&bench, "write").remove(0);
    assert_eq!(write.parent_span_id, 0);
    let repairs = named(&bench, "replicate");
    let outcomes: Vec<String> = repairs
        .iter()
        .map(|span| text(span, "driftlab.outcome"))
        .collect();
    assert_eq!(outcomes, ["given_up", "acknowledged"]);
    for repair in repairs {
        assert_eq!(text(&repair, "driftlab.attempt"), "0");
        assert_eq!(repair.parent_span_id, write.context.span_id);
    }
}

#[test]
fn every_write_ends_with_its_outcome() {
    let outcomes = |bench: &Bench| -> Vec<String> {
        let spans = named(bench, "write");
        let outcomes = spans.iter().map(|span| text(span, "driftlab.outcome"));
        outcomes.collect()
    };
    let mut bench = traced("leader");
    let mut broken = write("broken");
    broken.payload = vec![0x0A, 0x02, 0xFF, 0xFE].into();
    bench.client(1, broken);
    assert_eq!(outcomes(&bench), ["malformed"]);
    for token in ["a", "b", "c", "d"] {
        bench.write(token);
    }
    bench.client(1, write("full"));
    assert_eq!(outcomes(&bench), ["malformed", "rejected"]);
    bench.client(2, write("a"));
    bench.lose_client(2);
    assert_eq!(outcomes(&bench), ["malformed", "rejected", "dropped"]);
    bench.forget();
    bench.stop();
    assert_eq!(outcomes(&bench), ["dropped"; 4]);
    bench.forget();
    bench.acknowledge("f1", 1);
    assert!(outcomes(&bench).is_empty(), "a span ends once");
}

#[test]
fn a_parent_that_is_not_sampled_is_carried_on_and_not_recorded() {
    let mut bench = traced("leader");
    let parent = PARENT.replace("-01", "-00");
    bench.client(1, traced_write("a", &parent));
    bench.commit();
    bench.acknowledge("f1", 1);
    assert!(bench.spans().is_empty());
    let (_, frame) = bench.sent_envelopes(Kind::Update).remove(0);
    let carried = SpanContext::parse(&frame.traceparent).expect("a context");
    assert!(!carried.sampled);
    assert_eq!(trace_id_of(&frame.traceparent), trace_id_of(PARENT));
}

#[test]
fn what_a_follower_cannot_take_ends_at_once() {
    let mut bench = traced("f1");
    bench.peer(update(100, "k"));
    let mut broken = update(1, "k");
    broken.idempotency_token = String::new();
    bench.peer(broken);
    assert_eq!(named(&bench, "store").len(), 2);
    assert_eq!(bench.status().counters.reorder_full, 1);
    assert_eq!(bench.status().counters.malformed, 1);
}
