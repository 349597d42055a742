//! Frames: a 4-byte big-endian length, then that many bytes of one envelope.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::wire::Envelope;

pub const PREFIX_BYTES: usize = 4;
/// The longest body; a longer one closes the connection it came on.
pub const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
pub struct FrameTooLong {
    pub body_bytes: usize,
}

impl fmt::Display for FrameTooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.body_bytes;
        write!(formatter, "a frame of {bytes} bytes is over the limit")
    }
}

impl std::error::Error for FrameTooLong {}

/// Cuts a stream of bytes, in whatever pieces it arrives, into frame bodies.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    /// Where the next bytes of the stream go.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        // Room for several small frames in one read.
        self.buffer.reserve(16 * 1024);
        &mut self.buffer
    }

    /// Whether a frame has begun and not ended.
    pub fn is_inside_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next whole body, or `None` until more bytes have come.
    pub fn next_body(&mut self) -> Result<Option<Bytes>, FrameTooLong> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let body_bytes = u32::from_be_bytes(*prefix) as usize;
        if body_bytes > BODY_BYTES_MAX {
            return Err(FrameTooLong { body_bytes });
        }
        if self.buffer.len() < PREFIX_BYTES + body_bytes {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(body_bytes).freeze()))
    }
}

/// The length of an envelope's frame, its prefix included.
pub fn frame_bytes(envelope: &Envelope) -> usize {
    PREFIX_BYTES + envelope.encoded_len()
}

pub fn encode_frame(envelope: &Envelope) -> Bytes {
    let body_bytes = envelope.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + body_bytes);
    frame.put_u32(body_bytes as u32);
    envelope.encode_raw(&mut frame);
    frame.freeze()
}
