//! Outgoing links: one long-lived connection to each peer, opened again whenever it breaks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{sleep, timeout};

use crate::bugs::Bug;
use crate::settings::{Settings, SettingsError, parse_address};

/// Frames that may wait for one connection, to a peer or a client.
pub const QUEUE_FRAMES_MAX: usize = 4096;
/// The bound of a queue that, by a seeded bug, has none worth the name.
const QUEUE_FRAMES_BUG: usize = 1 << 20;
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// A host that has gone answers nothing at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Frames that wait together are written together, up to this size.
const WRITE_BYTES: usize = 64 * 1024;

/// Counts kept outside the machine, because links drop frames on their own.
#[derive(Debug, Default)]
pub struct Tallies {
    pub unsent: AtomicU64,
    pub send_queue_full: AtomicU64,
}

/// The links of a replica by position in the settings' `replicas`.
pub struct Links {
    queues: BTreeMap<usize, Sender<Bytes>>,
    tallies: Arc<Tallies>,
}

impl Links {
    /// Starts a task for each peer; it ends when the links are dropped.
    pub fn open(settings: &Settings, tallies: Arc<Tallies>) -> Result<Self, SettingsError> {
        let mut queues = BTreeMap::new();
        for (index, name) in settings.replicas.iter().enumerate() {
            let Some(text) = settings.peers.get(name) else {
                continue;
            };
            let address = parse_address(&format!("peers.{name}"), text)?;
            let frames_max = if settings.has(Bug::UnboundedQueue) {
                QUEUE_FRAMES_BUG
            } else {
                QUEUE_FRAMES_MAX
            };
            let (sender, receiver) = mpsc::channel(frames_max);
            queues.insert(index, sender);
            let overlooks = settings.has(Bug::LossOverlooked);
            tokio::spawn(run_link(address, receiver, tallies.clone(), overlooks));
        }
        Ok(Self { queues, tallies })
    }

    /// Queues a frame, or drops and counts it.
    pub fn send(&self, target: usize, frame: Bytes) {
        let Some(queue) = self.queues.get(&target) else {
            self.tallies.unsent.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if queue.try_send(frame).is_err() {
            self.tallies.send_queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn run_link(
    address: SocketAddr,
    mut queue: Receiver<Bytes>,
    tallies: Arc<Tallies>,
    overlooks: bool,
) {
    loop {
        let Some(stream) = connect(address, &mut queue, &tallies).await else {
            return;
        };
        tracing::info!(%address, "a link is up");
        let (mut reader, mut writer) = stream.into_split();
        let mut batch = Batch::default();
        tokio::select! {
            () = drain(&mut reader) => {}
            ended = pump(&mut queue, &mut batch, &mut writer) => {
                if ended {
                    return;
                }
            }
        }
        if overlooks {
            // The seeded bug: frames go into the void until the replica stops.
            while queue.recv().await.is_some() {}
            return;
        }
        tallies
            .unsent
            .fetch_add(batch.unwritten(), Ordering::Relaxed);
        tracing::info!(%address, "a link is down");
        if !pause(&mut queue, &tallies).await {
            return;
        }
    }
}

/// Tries until there is a connection, dropping what is to be sent meanwhile. `None` means that
/// nothing will be sent any more.
async fn connect(
    address: SocketAddr,
    queue: &mut Receiver<Bytes>,
    tallies: &Tallies,
) -> Option<TcpStream> {
    loop {
        let attempt = timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let outcome = while_dropping(attempt, queue, tallies).await?;
        if let Ok(Ok(stream)) = outcome
            && stream.set_nodelay(true).is_ok()
        {
            return Some(stream);
        }
        if !pause(queue, tallies).await {
            return None;
        }
    }
}

/// Waits before the next try; false means that nothing will be sent any more.
async fn pause(queue: &mut Receiver<Bytes>, tallies: &Tallies) -> bool {
    let waited = while_dropping(sleep(PAUSE_BETWEEN_TRIES), queue, tallies).await;
    waited.is_some()
}

/// Awaits `work`, counting and dropping every frame that comes before it is done.
async fn while_dropping<Work: Future>(
    work: Work,
    queue: &mut Receiver<Bytes>,
    tallies: &Tallies,
) -> Option<Work::Output> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            output = &mut work => return Some(output),
            frame = queue.recv() => {
                frame?;
                tallies.unsent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Returns when the other side has closed. Nothing is expected from it: a connection carries
/// frames one way, so that each direction of a link can fail alone.
async fn drain(reader: &mut (impl AsyncRead + Unpin)) {
    let mut scratch = [0_u8; 256];
    while matches!(reader.read(&mut scratch).await, Ok(count) if count > 0) {}
}

/// Frames on their way into a connection.
#[derive(Debug, Default)]
pub struct Batch {
    buffer: BytesMut,
    /// Bytes left in the buffer once each frame has been written, in the order of frames.
    left_after: Vec<usize>,
}

impl Batch {
    fn fill(&mut self, first: Bytes, queue: &mut Receiver<Bytes>) {
        self.buffer.clear();
        self.left_after.clear();
        let mut ends = vec![first.len()];
        self.buffer.extend_from_slice(&first);
        while self.buffer.len() < WRITE_BYTES
            && let Ok(frame) = queue.try_recv()
        {
            self.buffer.extend_from_slice(&frame);
            ends.push(self.buffer.len());
        }
        let total = self.buffer.len();
        self.left_after.extend(ends.iter().map(|end| total - end));
    }

    /// Frames that were not handed to the kernel whole.
    fn unwritten(&self) -> u64 {
        let left = self.buffer.remaining();
        let written = self.left_after.iter().filter(|after| left <= **after);
        (self.left_after.len() - written.count()) as u64
    }
}

/// Writes frames until the queue ends (true) or the connection fails (false).
pub async fn pump(
    queue: &mut Receiver<Bytes>,
    batch: &mut Batch,
    writer: &mut (impl AsyncWrite + Unpin),
) -> bool {
    while let Some(first) = queue.recv().await {
        batch.fill(first, queue);
        while batch.buffer.has_remaining() {
            match writer.write_buf(&mut batch.buffer).await {
                Ok(count) if count > 0 => {}
                _ => return false,
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_the_frames_that_were_not_written_whole() {
        let (sender, mut queue) = mpsc::channel(8);
        for text in ["bbbb", "cc"] {
            sender.try_send(Bytes::from(text)).expect("room");
        }
        let mut batch = Batch::default();
        batch.fill(Bytes::from("aaa"), &mut queue);
        assert_eq!(batch.unwritten(), 3);
        batch.buffer.advance(3);
        assert_eq!(batch.unwritten(), 2);
        batch.buffer.advance(5);
        assert_eq!(batch.unwritten(), 1);
        batch.buffer.advance(1);
        assert_eq!(batch.unwritten(), 0);
    }
}
