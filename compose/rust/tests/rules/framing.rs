//! Frames, whole and in pieces, good and bad.

use bytes::Bytes;
use driftlab_replica::frames::{
    BODY_BYTES_MAX, FrameReader, FrameTooLong, PREFIX_BYTES, encode_frame, frame_bytes,
};
use driftlab_replica::wire::Envelope;
use prost::Message;

use crate::support::{update, write};

fn feed(reader: &mut FrameReader, bytes: &[u8]) {
    reader.buffer_mut().extend_from_slice(bytes);
}

fn bodies(reader: &mut FrameReader) -> Vec<Bytes> {
    let mut bodies = Vec::new();
    while let Some(body) = reader.next_body().expect("short enough") {
        bodies.push(body);
    }
    bodies
}

#[test]
fn a_stream_cut_anywhere_gives_the_same_frames() {
    let envelopes = [write("a"), update(2, "ключ"), Envelope::default()];
    let stream: Vec<u8> = envelopes.iter().flat_map(encode_frame).collect();
    for piece_bytes in [1, 2, 3, 5, 7, 64, stream.len()] {
        let mut reader = FrameReader::default();
        let mut decoded = Vec::new();
        for piece in stream.chunks(piece_bytes) {
            feed(&mut reader, piece);
            for body in bodies(&mut reader) {
                decoded.push(Envelope::decode(body).expect("an envelope"));
            }
        }
        assert_eq!(decoded, envelopes, "pieces of {piece_bytes}");
    }
}

#[test]
fn a_frame_cut_short_gives_nothing() {
    let frame = encode_frame(&write("a"));
    let mut reader = FrameReader::default();
    feed(&mut reader, &frame[..frame.len() - 1]);
    assert!(bodies(&mut reader).is_empty());
    feed(&mut reader, &frame[frame.len() - 1..]);
    assert_eq!(bodies(&mut reader).len(), 1);
}

#[test]
fn the_longest_frame_passes_and_a_longer_one_does_not() {
    let mut reader = FrameReader::default();
    feed(&mut reader, &(BODY_BYTES_MAX as u32).to_be_bytes());
    feed(&mut reader, &vec![0; BODY_BYTES_MAX]);
    assert_eq!(bodies(&mut reader)[0].len(), BODY_BYTES_MAX);
    let body_bytes = BODY_BYTES_MAX + 1;
    feed(&mut reader, &(body_bytes as u32).to_be_bytes());
    assert_eq!(reader.next_body(), Err(FrameTooLong { body_bytes }));
    let mut reader = FrameReader::default();
    feed(&mut reader, b"GET / HTTP/1.1\r\n");
    assert!(reader.next_body().is_err());
}

#[test]
fn a_body_that_is_no_envelope_does_not_spoil_the_next_frame() {
    let mut reader = FrameReader::default();
    feed(&mut reader, &[0, 0, 0, 2, 0xFF, 0xFF]);
    feed(&mut reader, &encode_frame(&write("a")));
    let bodies = bodies(&mut reader);
    assert!(Envelope::decode(bodies[0].clone()).is_err());
    assert_eq!(Envelope::decode(bodies[1].clone()), Ok(write("a")));
}

#[test]
fn a_frame_is_its_length_and_its_body() {
    let envelope = write("a");
    let frame = encode_frame(&envelope);
    assert_eq!(frame.len(), frame_bytes(&envelope));
    let mut prefix = [0; PREFIX_BYTES];
    prefix.copy_from_slice(&frame[..PREFIX_BYTES]);
    assert_eq!(
        u32::from_be_bytes(prefix) as usize,
        frame.len() - PREFIX_BYTES
    );
}
