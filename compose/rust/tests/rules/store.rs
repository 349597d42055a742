//! The durable changelog.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use driftlab_replica::entry::{Entry, EntryError};
use driftlab_replica::store::Store;

use crate::support::update;

/// An empty folder that belongs to one test.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs::remove_dir_all(&path).expect("an old folder goes");
    }
    fs::create_dir_all(&path).expect("a new folder");
    path
}

fn entry(sequence: u64) -> Arc<Entry> {
    Arc::new(Entry::from_envelope(update(sequence, "ключ")).expect("an entry"))
}

#[test]
fn a_store_that_is_opened_again_holds_what_was_appended() {
    let path = folder("store-again");
    let store = Store::open(&path).expect("a store");
    assert!(store.entries().expect("readable").is_empty());
    store.append(&[entry(2), entry(1)]).expect("appended");
    store.append(&[entry(4)]).expect("appended");
    drop(store);
    let store = Store::open(&path).expect("a store");
    let expected: Vec<Entry> = [1, 2, 4].into_iter().map(|n| (*entry(n)).clone()).collect();
    assert_eq!(store.entries().expect("readable"), expected);
}

#[test]
fn a_file_left_half_made_is_made_again() {
    let path = folder("store-half-made");
    fs::write(path.join("changelog.redb.new"), b"half").expect("a file");
    let store = Store::open(&path).expect("a store");
    store.append(&[entry(1)]).expect("appended");
    assert_eq!(store.entries().expect("readable").len(), 1);
}

#[test]
fn a_file_that_is_no_store_is_refused_and_kept() {
    let path = folder("store-foreign");
    let file = path.join("changelog.redb");
    fs::write(&file, b"something else").expect("a file");
    assert!(Store::open(&path).is_err());
    assert_eq!(fs::read(&file).expect("still there"), b"something else");
}

#[test]
fn two_replicas_cannot_share_a_store() {
    let path = folder("store-shared");
    let first = Store::open(&path).expect("a store");
    assert!(Store::open(&path).is_err());
    drop(first);
    assert!(Store::open(&path).is_ok());
}

#[test]
fn a_record_gives_the_entry_back_and_damage_is_noticed() {
    let mut envelope = update(7, "k");
    let mut payload = envelope.payload.to_vec();
    payload.extend_from_slice(&[0xFA, 0x01, 0x01, 0x2A]);
    envelope.payload = payload.into();
    let entry = Entry::from_envelope(envelope).expect("an entry");
    let record = entry.to_record();
    assert_eq!(Entry::from_record(&record), Ok(entry));
    let cut = Entry::from_record(&record[..record.len() - 1]);
    assert!(matches!(cut, Err(EntryError::Record(_))));
}
