//! The arithmetic that all implementations of a replica share, modulo 2^64.

use sha2::{Digest, Sha256};

/// A 63-bit value that depends on every bit of `key` and `word`.
pub fn mix(key: u64, word: u64) -> u64 {
    let mut z = key
        .wrapping_mul(0xD134_2543_DE82_EF95)
        .wrapping_add(word)
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    z ^= z >> 30;
    z = z.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^= z >> 27;
    z = z.wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    z >> 1
}

/// Maps a 63-bit draw to `0..bound`; only its top 24 bits count.
pub fn scale(draw: u64, bound: u64) -> u64 {
    let product = u128::from(draw >> 39) * u128::from(bound);
    // Below `bound`, since the draw's top part is below 2^24.
    (product >> 24) as u64
}

/// Whether a 63-bit draw falls into a share of so many millionths.
pub fn is_within_share(draw: u64, share_ppm: u64) -> bool {
    scale(draw, 1_000_000) < share_ppm
}

/// The 63-bit word that stands for a payload in the prefix hash.
pub fn payload_word(payload: &[u8]) -> u64 {
    let digest = Sha256::digest(payload);
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first) >> 1
}

/// The hash of the prefix that ends with `sequence`; the empty prefix hashes to 0.
pub fn extend_prefix_hash(prefix_hash: u64, sequence: u64, payload_word: u64) -> u64 {
    mix(mix(prefix_hash, sequence), payload_word)
}
