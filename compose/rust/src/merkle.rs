//! A tree of hashes over the read model: two replicas find where they differ by a few requests.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::hex::to_hex;
use crate::state::{KeyState, Row};

/// Hexadecimal digits of a bucket's path.
pub const DEPTH: usize = 4;
const DIGITS: &str = "0123456789abcdef";

/// A path of at most four digits in lower case, or why it is none.
pub fn parse_path(text: &str) -> Result<String, String> {
    if text.len() > DEPTH || !text.bytes().all(|byte| DIGITS.as_bytes().contains(&byte)) {
        return Err(format!(
            "path: {text:?} is not 0 to {DEPTH} hexadecimal digits in lower case"
        ));
    }
    Ok(text.to_owned())
}

/// The bucket of a key.
pub fn bucket(key: &str) -> String {
    to_hex(&Sha256::digest(key.as_bytes())[..DEPTH / 2])
}

/// The node at a path: its hash, and its children or, in a bucket, its rows.
pub fn node(state: &KeyState, path: &str, prefix: u64) -> Value {
    let below = |(key, _): &(&str, &Row)| bucket(key).starts_with(path);
    let mut rows: Vec<(String, &str, &Row)> = state
        .rows()
        .filter(below)
        .map(|(key, row)| (bucket(key), key, row))
        .collect();
    // Stable: within a bucket keys stay in the order of their bytes.
    rows.sort_by(|first, second| first.0.cmp(&second.0));
    if path.len() == DEPTH {
        let hash = hash_of(state, &rows, DEPTH);
        let shown = |(_, key, row): &(String, &str, &Row)| {
            json!({
                "key": to_hex(key.as_bytes()),
                "sequence": state.shown(row.sequence).to_string(),
                "payload_hash": to_hex(&Sha256::digest(&row.payload)),
            })
        };
        let rows: Vec<Value> = rows.iter().map(shown).collect();
        return json!({ "path": path, "hash": hash, "prefix": prefix, "rows": rows });
    }
    let children = children_of(state, &rows, path.len());
    let hash = join(&children);
    json!({ "path": path, "hash": hash, "prefix": prefix, "children": children })
}

/// The texts of the 16 children of the node at `depth` that holds all of `rows`.
fn children_of(state: &KeyState, rows: &[(String, &str, &Row)], depth: usize) -> Vec<String> {
    let mut rest = rows;
    let digits = DIGITS.bytes();
    digits
        .map(|digit| {
            let count = rest.partition_point(|(bucket, ..)| bucket.as_bytes()[depth] <= digit);
            let (child, others) = rest.split_at(count);
            rest = others;
            hash_of(state, child, depth + 1)
        })
        .collect()
}

fn hash_of(state: &KeyState, rows: &[(String, &str, &Row)], depth: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    if depth < DEPTH {
        return join(&children_of(state, rows, depth));
    }
    let mut hasher = Sha256::new();
    for (_, key, row) in rows {
        state.hash_row(&mut hasher, key, row);
    }
    to_hex(&hasher.finalize())
}

/// The hash of an inner node; a node without keys has the empty text.
fn join(children: &[String]) -> String {
    if children.iter().all(String::is_empty) {
        return String::new();
    }
    to_hex(&Sha256::digest(children.join(",").as_bytes()))
}
