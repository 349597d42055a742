//! Bytes that nobody would send, at the decoders of frames, envelopes, settings and requests: they
//! may refuse, they may not panic, and what they take means what it says. FUZZ_SECONDS sets how
//! long each of these goes on; FUZZ_SEED where it starts.

use std::time::{Duration, Instant};

use bytes::Bytes;
use driftlab_replica::apply::apply;
use driftlab_replica::entry::Entry;
use driftlab_replica::faults::FaultChange;
use driftlab_replica::frames::{BODY_BYTES_MAX, FrameReader, encode_frame};
use driftlab_replica::hashes::mix;
use driftlab_replica::merkle::parse_path;
use driftlab_replica::settings::{Ordering, Settings};
use driftlab_replica::snapshot::parse_repair;
use driftlab_replica::trace::SpanContext;
use driftlab_replica::wire::Envelope;
use prost::Message;
use serde_json::json;

use crate::support::{Bench, digest, settings_value, update, write};

/// Draws that depend on the seed and their number alone.
struct Draws {
    key: u64,
    serial: u64,
}

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.serial += 1;
        mix(self.key, self.serial) as usize % bound.max(1)
    }

    fn bytes(&mut self, count_max: usize) -> Vec<u8> {
        let count = self.below(count_max + 1);
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// Calls `check` with one mutant after the other until the time is up.
fn fuzz(name: &str, corpus: &[Vec<u8>], words: &[&str], mut check: impl FnMut(&mut Draws, &[u8])) {
    let number = |variable: &str| {
        let text = std::env::var(variable).ok();
        text.map(|text| {
            text.parse::<f64>()
                .expect("FUZZ_SECONDS and FUZZ_SEED are numbers")
        })
    };
    let time_box = Duration::from_secs_f64(number("FUZZ_SECONDS").unwrap_or(0.2));
    let seed = number("FUZZ_SEED").unwrap_or(7.0) as u64;
    let begun = Instant::now();
    let mut cases = 0_u64;
    // Some are tried however slow the machine is.
    while begun.elapsed() < time_box || cases < 50 {
        cases += 1;
        let mut draws = Draws {
            key: mix(seed, cases),
            serial: 0,
        };
        // First the corpus as it is, then what becomes of it.
        if let Some(good) = corpus.get(cases as usize - 1) {
            check(&mut draws, good);
            continue;
        }
        let mut mutant = corpus[draws.below(corpus.len())].clone();
        for _ in 0..1 + draws.below(4) {
            mutate(&mut mutant, corpus, words, &mut draws);
        }
        check(&mut draws, &mutant);
    }
    println!("{name}: {cases} cases");
}

fn mutate(mutant: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], draws: &mut Draws) {
    let place = draws.below(mutant.len() + 1);
    match draws.below(7) {
        0 => mutant.truncate(place),
        1 => {
            let piece = draws.bytes(8);
            mutant.splice(place..place, piece);
        }
        2 if place < mutant.len() => mutant[place] ^= 1 << draws.below(8),
        3 if place < mutant.len() => mutant[place] = [0, 1, 0x7F, 0x80, 0xFF][draws.below(5)],
        4 => {
            let end = (place + draws.below(16)).min(mutant.len());
            mutant.drain(place..end);
        }
        5 if !words.is_empty() => {
            let word = words[draws.below(words.len())].bytes();
            mutant.splice(place..place, word);
        }
        _ => {
            let other = &corpus[draws.below(corpus.len())];
            let from = draws.below(other.len() + 1);
            mutant.truncate(place);
            mutant.extend_from_slice(&other[from..]);
        }
    }
}

fn envelopes() -> Vec<Envelope> {
    let mut newest = update(3, "ключ");
    newest.schema_version = 2;
    newest.clock_ns = i64::MIN;
    newest.enqueued_ns = i64::MAX;
    newest.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    vec![
        write("a"),
        update(1, "k"),
        update(u64::MAX, ""),
        digest("f1", &["a"], u64::MAX),
        newest,
        Envelope::default(),
    ]
}

#[test]
fn frames_are_taken_or_refused_however_they_are_cut() {
    let corpus: Vec<Vec<u8>> = envelopes()
        .iter()
        .map(|envelope| encode_frame(envelope).to_vec())
        .collect();
    fuzz("frames", &corpus, &[], |draws, stream| {
        let whole = bodies(&[stream]);
        let cut = draws.below(stream.len() + 1);
        let pieces = bodies(&[&stream[..cut], &stream[cut..]]);
        assert_eq!(whole, pieces, "the pieces of a stream do not matter");
        assert!(whole.iter().all(|body| body.len() <= BODY_BYTES_MAX));
    });
}

/// The bodies before the end or the first refusal.
fn bodies(pieces: &[&[u8]]) -> Vec<Bytes> {
    let mut reader = FrameReader::default();
    let mut bodies = Vec::new();
    for piece in pieces {
        reader.buffer_mut().extend_from_slice(piece);
        while let Ok(Some(body)) = reader.next_body() {
            bodies.push(body);
        }
    }
    bodies
}

#[test]
fn machines_survive_every_envelope() {
    let corpus: Vec<Vec<u8>> = envelopes().iter().map(Message::encode_to_vec).collect();
    let mut leader = Bench::new("leader", |value| {
        value["traces"] = json!("http://127.0.0.1:1");
        value["queue"]["limit"] = json!(8);
    });
    let mut follower = Bench::follower("key");
    fuzz("envelopes", &corpus, &[], |draws, body| {
        let Ok(envelope) = Envelope::decode(body) else {
            return;
        };
        let again = Envelope::decode(envelope.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&envelope), "what is taken is kept");
        if let Ok(entry) = Entry::from_envelope(envelope.clone()) {
            let stored = Entry::from_record(&entry.to_record()).expect("its own record");
            assert_eq!(stored.payload, entry.payload);
            assert_eq!((stored.sequence, stored.clock_ns), (entry.sequence, 0));
        }
        match draws.below(3) {
            0 => leader.client(1, envelope),
            1 => leader.peer(envelope),
            _ => follower.peer(envelope),
        }
        leader.commit();
        follower.commit();
        let status = follower.status();
        assert!(status.prefix <= status.last_sequence);
        if leader.status().last_sequence > 200 {
            leader = Bench::leader("quorum");
        }
        leader.forget();
        follower.forget();
        leader.stored.clear();
        follower.stored.clear();
    });
}

#[test]
fn settings_and_requests_are_taken_or_refused() {
    let repair = json!({"entries": [{"sequence": "1", "timestamp_ns": 1, "origin": "leader",
                                     "token": "t", "payload": "0a016b"}]});
    let line = json!({"sequence": "12", "token": "t", "payload": "0a016b"});
    let mut newest = settings_value("leader");
    newest["wire"] = json!("oneshot");
    newest["traces"] = json!("http://127.0.0.1:4318");
    let corpus: Vec<Vec<u8>> = [
        settings_value("leader").to_string(),
        settings_value("f1").to_string(),
        newest.to_string(),
        repair.to_string(),
        line.to_string(),
        json!({"clock_offset_ns": -1, "service_ns": 1}).to_string(),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        "0af3".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec();
    let words = [
        "null",
        "-1",
        "1e308",
        "18446744073709551616",
        "\"",
        "{",
        "[",
        "\\u0000",
        ":",
        "ключ",
    ];
    let mut taken = 0;
    fuzz("settings", &corpus, &words, |_, bytes| {
        let _ = FaultChange::parse(bytes);
        if let Ok(entries) = parse_repair(bytes) {
            assert!(entries.iter().all(|entry| entry.sequence > 0));
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return;
        };
        let _ = apply(bytes, Ordering::Key, None);
        let _ = parse_path(text);
        if let Some(context) = SpanContext::parse(text) {
            assert!(context.trace_id != 0 && context.span_id != 0);
        }
        if let Ok(settings) = Settings::parse(text) {
            taken += 1;
            assert!((1..=64).contains(&settings.pool));
            assert!(settings.leader_index() < settings.replicas.len());
            assert!(settings.collector().is_ok());
        }
    });
    assert!(taken > 0, "the corpus itself is good");
}
