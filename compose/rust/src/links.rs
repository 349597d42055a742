//! Outgoing links: one long-lived connection to each peer, opened again whenever it breaks. The
//! other kind of link, a connection for each frame, is in `oneshot`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use prometheus::Histogram;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{sleep, timeout};

use crate::bugs::Bug;
use crate::clock::monotonic_ns;
use crate::measures::observe;
use crate::oneshot::{self, Duplicates};
use crate::settings::{Settings, SettingsError, Wire, parse_address};
use crate::throttle::Throttle;

/// Frames that may wait for one connection, to a peer or a client.
pub const QUEUE_FRAMES_MAX: usize = 4096;
/// The bound of a queue that, by a seeded bug, has none worth the name.
const QUEUE_FRAMES_BUG: usize = 1 << 20;
pub const PAUSE_BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// A host that has gone answers nothing at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Frames that wait together are written together, up to this size.
const WRITE_BYTES: usize = 64 * 1024;

/// Counts kept outside the machine, by tasks and threads that decide on their own.
#[derive(Debug, Default)]
pub struct Tallies {
    pub unsent: AtomicU64,
    pub send_queue_full: AtomicU64,
    pub partial_frames: AtomicU64,
    pub duplicated: AtomicU64,
    pub throttled: AtomicU64,
    pub slowed: AtomicU64,
    pub stalled: AtomicU64,
}

pub fn count(tally: &AtomicU64) {
    tally.fetch_add(1, Ordering::Relaxed);
}

/// What waits for one peer.
#[derive(Debug, Default)]
pub struct Backlog {
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// A frame's place in a backlog, given up when the frame is written or dropped.
#[derive(Debug)]
struct Place {
    backlog: Arc<Backlog>,
    bytes: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.backlog.frames.fetch_sub(1, Ordering::Relaxed);
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A frame on its way out.
#[derive(Debug)]
pub struct Frame {
    pub bytes: Bytes,
    pub queued_ns: i64,
    /// Position among the frames to this peer, from 1.
    pub number: u64,
    _place: Option<Place>,
}

impl From<Bytes> for Frame {
    /// A frame that nobody meters.
    fn from(bytes: Bytes) -> Self {
        Self {
            bytes,
            queued_ns: 0,
            number: 0,
            _place: None,
        }
    }
}

/// How frames leave: at what rate, and where their waits are noted.
#[derive(Default)]
pub struct Pace {
    pub throttle: Option<Throttle>,
    pub tallies: Arc<Tallies>,
    pub delays: Option<Histogram>,
}

impl Pace {
    /// Waits until a frame of this length may leave.
    pub async fn wait(&mut self, frame_bytes: usize) {
        let Some(throttle) = &mut self.throttle else {
            return;
        };
        let mut waited = false;
        while let Err(wait_ns) = throttle.take(frame_bytes as u64, monotonic_ns()) {
            if !waited {
                waited = true;
                count(&self.tallies.throttled);
            }
            sleep(Duration::from_nanos(wait_ns)).await;
        }
    }

    /// Notes a frame that has been written.
    pub fn written(&self, frame: &Frame) {
        if let Some(delays) = &self.delays {
            observe(delays, frame.queued_ns, monotonic_ns());
        }
    }
}

/// Whether there is a connection to a peer.
#[derive(Clone)]
pub enum Line {
    Framed(Arc<AtomicBool>),
    Oneshot(oneshot::Watch),
}

impl Line {
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Framed(is_up) => is_up.load(Ordering::Relaxed),
            Self::Oneshot(watch) => watch.is_ready(),
        }
    }
}

struct Link {
    name: String,
    line: Line,
    queue: Sender<Frame>,
    backlog: Arc<Backlog>,
    offered: u64,
    duplicates: Arc<Duplicates>,
}

/// A link as it is at one moment.
#[derive(Debug)]
pub struct LinkGauge {
    pub peer: String,
    pub frames: u64,
    pub bytes: u64,
    pub is_connected: bool,
}

/// The links of a replica by position in the settings' `replicas`.
pub struct Links {
    links: BTreeMap<usize, Link>,
    tallies: Arc<Tallies>,
    memory_bytes: u64,
}

impl Links {
    /// Starts the tasks of each peer; they end when the links are dropped.
    pub fn open(
        settings: &Settings,
        tallies: &Arc<Tallies>,
        delays: &Histogram,
    ) -> Result<Self, SettingsError> {
        let mut links = BTreeMap::new();
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
            let (queue, receiver) = mpsc::channel(frames_max);
            let pace = Pace {
                throttle: Throttle::new(settings.channel.bandwidth_bytes_per_s, monotonic_ns()),
                tallies: tallies.clone(),
                delays: Some(delays.clone()),
            };
            let duplicates = Arc::new(Duplicates::new(settings.seed, index as u64));
            let line = match settings.wire {
                Wire::Framed => {
                    let overlooks = settings.has(Bug::LossOverlooked);
                    let is_up = Arc::new(AtomicBool::new(false));
                    tokio::spawn(run_link(address, receiver, pace, overlooks, is_up.clone()));
                    Line::Framed(is_up)
                }
                Wire::Oneshot => {
                    let pool = oneshot::Pool::open(address, settings.pool);
                    let line = Line::Oneshot(pool.watch());
                    tokio::spawn(oneshot::run_link(pool, receiver, pace, duplicates.clone()));
                    line
                }
            };
            let link = Link {
                name: name.clone(),
                line,
                queue,
                backlog: Arc::default(),
                offered: 0,
                duplicates,
            };
            links.insert(index, link);
        }
        Ok(Self {
            links,
            tallies: tallies.clone(),
            memory_bytes: settings.channel.memory_bytes,
        })
    }

    /// Queues a frame, or drops and counts it.
    pub fn send(&mut self, target: usize, bytes: Bytes) {
        let Some(link) = self.links.get_mut(&target) else {
            count(&self.tallies.unsent);
            return;
        };
        link.offered += 1;
        let frame_bytes = bytes.len() as u64;
        let waiting_bytes = link.backlog.bytes.load(Ordering::Relaxed);
        if self.memory_bytes > 0 && waiting_bytes + frame_bytes > self.memory_bytes {
            count(&self.tallies.send_queue_full);
            return;
        }
        link.backlog.frames.fetch_add(1, Ordering::Relaxed);
        link.backlog.bytes.fetch_add(frame_bytes, Ordering::Relaxed);
        let frame = Frame {
            bytes,
            queued_ns: monotonic_ns(),
            number: link.offered,
            _place: Some(Place {
                backlog: link.backlog.clone(),
                bytes: frame_bytes,
            }),
        };
        if link.queue.try_send(frame).is_err() {
            count(&self.tallies.send_queue_full);
        }
    }

    pub fn gauges(&self) -> Vec<LinkGauge> {
        let links = self.links.values();
        links
            .map(|link| LinkGauge {
                peer: link.name.clone(),
                frames: link.backlog.frames.load(Ordering::Relaxed),
                bytes: link.backlog.bytes.load(Ordering::Relaxed),
                is_connected: link.line.is_connected(),
            })
            .collect()
    }

    /// Bytes that wait, by position of the peer.
    pub fn waiting_bytes(&self) -> impl Iterator<Item = (usize, u64)> {
        let links = self.links.iter();
        links.map(|(index, link)| (*index, link.backlog.bytes.load(Ordering::Relaxed)))
    }

    /// By peer, what tells whether there is a connection.
    pub fn lines(&self) -> BTreeMap<String, Line> {
        let links = self.links.values();
        links
            .map(|link| (link.name.clone(), link.line.clone()))
            .collect()
    }

    /// By peer, how many of a million frames are sent twice.
    pub fn duplicates(&self) -> BTreeMap<String, Arc<Duplicates>> {
        let links = self.links.values();
        links
            .map(|link| (link.name.clone(), link.duplicates.clone()))
            .collect()
    }
}

async fn run_link(
    address: SocketAddr,
    mut queue: Receiver<Frame>,
    mut pace: Pace,
    overlooks: bool,
    is_up: Arc<AtomicBool>,
) {
    let tallies = pace.tallies.clone();
    loop {
        let Some(stream) = connect_dropping(address, &mut queue, &tallies).await else {
            return;
        };
        tracing::info!(%address, "a link is up");
        is_up.store(true, Ordering::Relaxed);
        let (mut reader, mut writer) = stream.into_split();
        let mut batch = Batch::default();
        tokio::select! {
            () = drain(&mut reader) => {}
            ended = pump(&mut queue, &mut batch, &mut writer, &mut pace) => {
                if ended {
                    return;
                }
            }
        }
        is_up.store(false, Ordering::Relaxed);
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

/// One try; `None` when it fails.
pub async fn connect(address: SocketAddr) -> Option<TcpStream> {
    let attempt = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = attempt.ok()?.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// Tries until there is a connection, dropping what is to be sent meanwhile. `None` means that
/// nothing will be sent any more.
async fn connect_dropping(
    address: SocketAddr,
    queue: &mut Receiver<Frame>,
    tallies: &Tallies,
) -> Option<TcpStream> {
    loop {
        let outcome = while_dropping(connect(address), queue, tallies).await?;
        if let Some(stream) = outcome {
            return Some(stream);
        }
        if !pause(queue, tallies).await {
            return None;
        }
    }
}

/// Waits before the next try; false means that nothing will be sent any more.
async fn pause(queue: &mut Receiver<Frame>, tallies: &Tallies) -> bool {
    let waited = while_dropping(sleep(PAUSE_BETWEEN_TRIES), queue, tallies).await;
    waited.is_some()
}

/// Awaits `work`, counting and dropping every frame that comes before it is done.
async fn while_dropping<Work: Future>(
    work: Work,
    queue: &mut Receiver<Frame>,
    tallies: &Tallies,
) -> Option<Work::Output> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            output = &mut work => return Some(output),
            frame = queue.recv() => {
                frame?;
                count(&tallies.unsent);
            }
        }
    }
}

/// Returns when the other side has closed. Nothing is expected from it: a connection carries
/// frames one way, so that each direction of a link can fail alone.
pub async fn drain(reader: &mut (impl AsyncRead + Unpin)) {
    let mut scratch = [0_u8; 256];
    while matches!(reader.read(&mut scratch).await, Ok(count) if count > 0) {}
}

/// Frames on their way into a connection.
#[derive(Debug, Default)]
pub struct Batch {
    buffer: BytesMut,
    /// Frames not written whole, each with the bytes left in the buffer once it has been.
    frames: Vec<(usize, Frame)>,
}

impl Batch {
    /// Takes the first frame and, unless frames leave one by one, those that wait behind it.
    fn fill(&mut self, first: Frame, queue: &mut Receiver<Frame>, is_paced: bool) {
        self.buffer.clear();
        self.frames.clear();
        let mut next = Some(first);
        while let Some(frame) = next {
            self.buffer.extend_from_slice(&frame.bytes);
            self.frames.push((self.buffer.len(), frame));
            let has_room = !is_paced && self.buffer.len() < WRITE_BYTES;
            next = if has_room {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        let total = self.buffer.len();
        for (end, _) in &mut self.frames {
            *end = total - *end;
        }
    }

    /// Lets go of the frames that were handed to the kernel whole.
    fn release_written(&mut self, pace: &Pace) {
        let left = self.buffer.remaining();
        let written = self.frames.partition_point(|(after, _)| left <= *after);
        for (_, frame) in self.frames.drain(..written) {
            pace.written(&frame);
        }
    }

    /// Frames that were not handed to the kernel whole.
    fn unwritten(&self) -> u64 {
        self.frames.len() as u64
    }
}

/// Writes frames until the queue ends (true) or the connection fails (false).
pub async fn pump(
    queue: &mut Receiver<Frame>,
    batch: &mut Batch,
    writer: &mut (impl AsyncWrite + Unpin),
    pace: &mut Pace,
) -> bool {
    while let Some(first) = queue.recv().await {
        batch.fill(first, queue, pace.throttle.is_some());
        pace.wait(batch.buffer.len()).await;
        while batch.buffer.has_remaining() {
            match writer.write_buf(&mut batch.buffer).await {
                Ok(count) if count > 0 => batch.release_written(pace),
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
    fn a_batch_keeps_the_frames_that_were_not_written_whole() {
        let (sender, mut queue) = mpsc::channel(8);
        for text in ["bbbb", "cc"] {
            sender.try_send(Bytes::from(text).into()).expect("room");
        }
        let mut batch = Batch::default();
        let pace = Pace::default();
        batch.fill(Bytes::from("aaa").into(), &mut queue, false);
        assert_eq!(batch.unwritten(), 3);
        for (written, left) in [(3, 2), (3, 2), (2, 1), (1, 0)] {
            batch.buffer.advance(written.min(batch.buffer.len()));
            batch.release_written(&pace);
            assert_eq!(batch.unwritten(), left);
        }
    }

    #[test]
    fn a_paced_batch_is_one_frame() {
        let (sender, mut queue) = mpsc::channel(8);
        sender.try_send(Bytes::from("b").into()).expect("room");
        let mut batch = Batch::default();
        batch.fill(Bytes::from("a").into(), &mut queue, true);
        assert_eq!(batch.unwritten(), 1);
        assert!(queue.try_recv().is_ok());
    }
}
