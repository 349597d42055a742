//! Trees of hashes: the numbers on which implementations agree, and that a difference shows.

use std::fs;
use std::path::PathBuf;

use driftlab_replica::apply::apply;
use driftlab_replica::bugs::Bug;
use driftlab_replica::entry::Entry;
use driftlab_replica::hex::parse_hex;
use driftlab_replica::merkle::{bucket, node, parse_path};
use driftlab_replica::settings::Ordering;
use driftlab_replica::state::KeyState;
use driftlab_replica::wire::Envelope;
use serde_json::Value;

use crate::support::update;

const DIGITS: &str = "0123456789abcdef";

fn golden(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden");
    fs::read_to_string(folder.join(name)).expect("the golden file is there")
}

/// What the lines of a stream build.
fn state_of(stream: &str, bug: Option<Bug>) -> KeyState {
    let mut state = KeyState::new(bug);
    for line in stream.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| line[key].as_str().expect("text").to_owned();
        let envelope = Envelope {
            sequence: text("sequence").parse().expect("a number"),
            idempotency_token: text("token"),
            payload: parse_hex(&text("payload")).expect("hex").into(),
            ..Envelope::default()
        };
        state.apply(&Entry::from_envelope(envelope).expect("an entry"));
    }
    state
}

#[test]
fn the_golden_trees_agree() {
    let expected: Value = serde_json::from_str(&golden("merkle.json")).expect("JSON");
    for name in ["wide", "stream"] {
        let state = state_of(&golden(&format!("{name}.jsonl")), None);
        assert_eq!(state.digest(), expected[name]["digest"], "{name}");
        let nodes = expected[name]["nodes"].as_object().expect("nodes");
        assert!(nodes.len() > 20);
        for (path, hash) in nodes {
            let found = node(&state, path, 7);
            assert_eq!(&found["hash"], hash, "{name} {path}");
            assert_eq!(found["path"], *path);
            assert_eq!(found["prefix"], 7);
            if path.len() == 4 {
                assert!(found["children"].is_null());
                continue;
            }
            let children = found["children"].as_array().expect("children");
            for (digit, child) in DIGITS.chars().zip(children) {
                let below = nodes.get(&format!("{path}{digit}"));
                assert_eq!(child, below.unwrap_or(&Value::from("")));
            }
        }
    }
}

#[test]
fn wide_sequences_are_applied_whole_and_the_seeded_bug_rounds_them() {
    let expected: Value = serde_json::from_str(&golden("merkle.json")).expect("JSON");
    let wide = golden("wide.jsonl");
    let digest = |bug| {
        let outcome = apply(wide.as_bytes(), Ordering::Key, bug);
        outcome.expect("every line is an update").digest
    };
    assert_eq!(digest(None), expected["wide"]["digest"]);
    assert_eq!(digest(Some(Bug::FloatNumbers)), expected["wide"]["rounded"]);
    let root = |bug| node(&state_of(&wide, bug), "", 0);
    assert_eq!(root(None)["hash"], expected["wide"]["nodes"][""]);
    assert_ne!(root(Some(Bug::FloatNumbers))["hash"], root(None)["hash"]);
    let stream = golden("stream.jsonl");
    let small = |bug| state_of(&stream, bug).digest();
    assert_eq!(small(None), small(Some(Bug::FloatNumbers)));
}

#[test]
fn an_empty_tree_has_empty_texts() {
    let root = node(&KeyState::default(), "", 0);
    assert_eq!(root["hash"], "");
    assert_eq!(root["children"].as_array().map(Vec::len), Some(16));
    let leaf = node(&KeyState::default(), "0000", 0);
    assert_eq!(leaf["hash"], "");
    assert_eq!(leaf["rows"].as_array().map(Vec::len), Some(0));
}

#[test]
fn one_row_that_differs_is_found_from_the_root() {
    let build = |changed: Option<u64>| {
        let mut state = KeyState::default();
        for number in 1..=300 {
            let mut envelope = update(number, &format!("k{number}"));
            if changed == Some(number) {
                envelope.sequence += 1000;
            }
            state.apply(&Entry::from_envelope(envelope).expect("an entry"));
        }
        state
    };
    let (first, second) = (build(None), build(Some(137)));
    let mut path = String::new();
    while path.len() < 4 {
        let (one, other) = (node(&first, &path, 0), node(&second, &path, 0));
        let pairs = DIGITS.chars().zip(0..16_usize);
        let differing: Vec<char> = pairs
            .filter(|(_, place)| one["children"][place] != other["children"][place])
            .map(|(digit, _)| digit)
            .collect();
        assert_eq!(differing.len(), 1, "{path}");
        path.push(differing[0]);
    }
    assert_eq!(path, bucket("k137"));
    let rows = node(&second, &path, 0)["rows"].clone();
    let row = rows.as_array().expect("rows").iter();
    let mut row = row.filter(|row| row["sequence"] == "1137");
    assert_eq!(row.next().expect("the row")["key"], "6b313337");
    assert_eq!(node(&build(None), "", 0), node(&first, "", 0));
}

#[test]
fn a_path_is_lower_case_hexadecimal_of_four_digits_at_most() {
    for path in ["", "0", "0aF".to_lowercase().as_str(), "ffff"] {
        assert_eq!(parse_path(path).as_deref(), Ok(path));
    }
    for path in ["F", "g", "00000", "0-", "é"] {
        assert!(parse_path(path).is_err(), "{path}");
    }
}
