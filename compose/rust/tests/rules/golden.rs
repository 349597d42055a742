//! The numbers on which every implementation of a replica has to agree.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;

use driftlab_replica::apply::{Outcome, apply};
use driftlab_replica::backoff::Policy;
use driftlab_replica::hashes::{mix, scale};
use driftlab_replica::settings::Ordering;
use serde_json::{Value, json};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../golden")
        .join(name)
}

fn read(name: &str) -> Value {
    let text = fs::read_to_string(path(name)).expect("the golden file is there");
    serde_json::from_str(&text).expect("the golden file is JSON")
}

fn rows<'value>(value: &'value Value, key: &str) -> &'value Vec<Value> {
    let rows = value[key].as_array().expect("a list of vectors");
    assert!(!rows.is_empty(), "no vectors under {key}");
    rows
}

/// A decimal string of a number that may use 64 bits; negative ones wrap.
fn word(value: &Value) -> u64 {
    let text = value.as_str().expect("a decimal string");
    let number: i128 = text.parse().expect("a decimal number");
    number as u64
}

#[test]
fn mix_agrees() {
    for row in rows(&read("draws.json"), "mix") {
        assert_eq!(
            mix(word(&row["key"]), word(&row["word"])),
            word(&row["value"])
        );
    }
    assert_ne!(mix(0, 0), mix(0, 1));
}

#[test]
fn scale_agrees_and_stays_below_its_bound() {
    for row in rows(&read("draws.json"), "scale") {
        let bound = word(&row["bound"]);
        let scaled = scale(word(&row["draw"]), bound);
        assert_eq!(scaled, word(&row["value"]));
        assert!(scaled < bound);
    }
}

#[test]
fn backoff_agrees() {
    for row in rows(&read("backoff.json"), "cases") {
        let policy = json!({
            "timeout_ns": 1, "attempts": 1, "budget_ppm": -1, "backoff": row["backoff"],
            "base_ns": row["base_ns"], "cap_ns": row["cap_ns"], "jitter": row["jitter"],
        });
        let policy: Policy = serde_json::from_value(policy).expect("a policy");
        let attempt = row["attempt"].as_u64().expect("a number") as u32;
        let previous_ns = row["previous_ns"].as_u64().expect("a number");
        let wait_ns = policy.wait_ns(attempt, previous_ns, word(&row["draw"]));
        assert_eq!(Some(wait_ns), row["wait_ns"].as_u64(), "{row}");
    }
}

#[test]
fn extreme_policies_do_not_overflow() {
    let largest = (1_u64 << 62) - 1;
    for backoff in ["fixed", "exponential"] {
        for jitter in ["none", "full", "equal", "decorrelated"] {
            let policy = json!({
                "timeout_ns": 1, "attempts": 1, "budget_ppm": -1, "backoff": backoff,
                "base_ns": largest, "cap_ns": largest, "jitter": jitter,
            });
            let policy: Policy = serde_json::from_value(policy).expect("a policy");
            for draw in [0, (1 << 63) - 1] {
                assert!(policy.wait_ns(u32::MAX, largest, draw) <= largest);
            }
        }
    }
}

fn applied(ordering: Ordering) -> Outcome {
    let stream = File::open(path("stream.jsonl")).expect("the golden stream is there");
    apply(BufReader::new(stream), ordering, None).expect("every line is an update")
}

#[test]
fn the_stream_ends_in_the_expected_state() {
    let expected = read("expected.json");
    for (name, ordering) in [("sequence", Ordering::Sequence), ("key", Ordering::Key)] {
        let outcome = serde_json::to_value(applied(ordering)).expect("an outcome is JSON");
        assert_eq!(outcome, expected[name], "{name}");
    }
    assert_eq!(
        applied(Ordering::Sequence).digest,
        applied(Ordering::Key).digest
    );
}

#[test]
fn a_line_that_is_no_update_is_named() {
    for line in [
        "{}",
        r#"{"sequence": "x", "token": "t", "payload": ""}"#,
        r#"{"sequence": "1", "token": "t", "payload": "0"}"#,
        r#"{"sequence": "1", "token": "t", "payload": "zz"}"#,
        r#"{"sequence": "1", "token": "t", "payload": "0aff"}"#,
        r#"{"sequence": "0", "token": "t", "payload": ""}"#,
    ] {
        let error = apply(line.as_bytes(), Ordering::Key, None).expect_err(line);
        assert!(error.to_string().contains("line 1"), "{error}");
    }
    let good = r#"{"sequence": "1", "token": "t", "payload": ""}"#;
    assert_eq!(
        apply(good.as_bytes(), Ordering::Key, None)
            .map(|outcome| outcome.prefix)
            .ok(),
        Some(1)
    );
}
