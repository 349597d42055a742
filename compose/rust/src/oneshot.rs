//! Links that give each frame a connection of its own, from a pool that is dialled ahead: a server
//! between the replicas that knows no frames can then lose, delay and reorder them one by one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep};

use crate::hashes::{is_within_share, mix};
use crate::links::{Frame, PAUSE_BETWEEN_TRIES, Pace, Tallies, connect, count, drain};

/// Connections of one pool that are dialled at a time.
const DIALLERS: usize = 4;
const DUPLICATE_WORD: u64 = 0x6475_706c;
pub const PPM: u64 = 1_000_000;

/// Which frames to a peer are sent twice.
#[derive(Debug)]
pub struct Duplicates {
    key: u64,
    share_ppm: AtomicU64,
}

impl Duplicates {
    pub fn new(seed: u64, peer_index: u64) -> Self {
        Self {
            key: mix(mix(seed, DUPLICATE_WORD), peer_index),
            share_ppm: AtomicU64::new(0),
        }
    }

    pub fn share_ppm(&self) -> u64 {
        self.share_ppm.load(Ordering::Relaxed)
    }

    pub fn set_share_ppm(&self, share_ppm: u64) {
        self.share_ppm.store(share_ppm, Ordering::Relaxed);
    }

    pub fn chooses(&self, number: u64) -> bool {
        is_within_share(mix(self.key, number), self.share_ppm())
    }
}

/// What a connection is to write: the frame, and how its writing is noted.
struct Job {
    frame: Frame,
    is_copy: bool,
    done: Arc<Pace>,
}

/// Connections that wait for a frame, the oldest first.
#[derive(Default)]
struct Idle(Mutex<VecDeque<oneshot::Sender<Job>>>);

impl Idle {
    fn queue(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_any(&self) -> bool {
        self.queue().iter().any(|waiting| !waiting.is_closed())
    }

    /// Hands a job to a connection, or gives it back when there is none.
    fn give(&self, mut job: Job) -> Result<(), Job> {
        loop {
            let Some(connection) = self.queue().pop_front() else {
                return Err(job);
            };
            match connection.send(job) {
                Ok(()) => return Ok(()),
                // The other side has closed it.
                Err(returned) => job = returned,
            }
        }
    }
}

/// Tells whether a pool has a connection that is ready.
#[derive(Clone)]
pub struct Watch(Weak<Idle>);

impl Watch {
    pub fn is_ready(&self) -> bool {
        self.0.upgrade().is_some_and(|idle| idle.has_any())
    }
}

/// Connections to one peer; the tasks that dial them end with the pool.
pub struct Pool {
    idle: Arc<Idle>,
}

impl Pool {
    pub fn open(address: SocketAddr, size: usize) -> Self {
        let idle = Arc::new(Idle::default());
        let diallers = Arc::new(Semaphore::new(DIALLERS));
        for _ in 0..size {
            tokio::spawn(keep_place(address, Arc::downgrade(&idle), diallers.clone()));
        }
        Self { idle }
    }

    /// A look at whether a connection is ready, which does not keep the pool.
    pub fn watch(&self) -> Watch {
        Watch(Arc::downgrade(&self.idle))
    }
}

/// Keeps one place of a pool filled: dials, waits for a frame, writes it, closes, dials again.
async fn keep_place(address: SocketAddr, idle: Weak<Idle>, diallers: Arc<Semaphore>) {
    while idle.strong_count() > 0 {
        let Ok(permit) = diallers.acquire().await else {
            return;
        };
        let Some(mut stream) = connect(address).await else {
            sleep(PAUSE_BETWEEN_TRIES).await;
            continue;
        };
        drop(permit);
        let (sender, job) = oneshot::channel();
        match idle.upgrade() {
            Some(idle) => {
                let mut queue = idle.queue();
                queue.retain(|waiting| !waiting.is_closed());
                queue.push_back(sender);
            }
            None => return,
        }
        let dialled = Instant::now();
        let job = {
            let (mut reader, _) = stream.split();
            tokio::select! {
                biased;
                job = job => Some(job),
                () = drain(&mut reader) => None,
            }
        };
        let Some(job) = job else {
            // A server that takes connections only to close them is not dialled in a busy loop.
            sleep(PAUSE_BETWEEN_TRIES.saturating_sub(dialled.elapsed())).await;
            continue;
        };
        match job {
            Ok(job) => write(stream, job).await,
            Err(_) => return,
        }
    }
}

async fn write(mut stream: TcpStream, job: Job) {
    let written = stream.write_all(&job.frame.bytes).await;
    match written {
        Ok(()) => {
            if job.is_copy {
                count(&job.done.tallies.duplicated);
            } else {
                job.done.written(&job.frame);
            }
        }
        Err(_) => count(&job.done.tallies.unsent),
    }
    drop(job);
    // The other side sees the end of the frame whether this works or not.
    let _ = stream.shutdown().await;
}

/// Sends each frame on a connection of the pool, or counts and drops it: nothing waits here but
/// for the channel's bandwidth.
pub async fn run_link(
    pool: Pool,
    mut queue: Receiver<Frame>,
    mut pace: Pace,
    duplicates: Arc<Duplicates>,
) {
    let noted = Arc::new(Pace {
        throttle: None,
        tallies: pace.tallies.clone(),
        delays: pace.delays.clone(),
    });
    while let Some(frame) = queue.recv().await {
        let copy = duplicates
            .chooses(frame.number)
            .then(|| Frame::from(frame.bytes.clone()));
        pace.wait(frame.bytes.len()).await;
        hand_over(&pool, frame, false, &noted);
        if let Some(copy) = copy {
            pace.wait(copy.bytes.len()).await;
            hand_over(&pool, copy, true, &noted);
        }
    }
}

fn hand_over(pool: &Pool, frame: Frame, is_copy: bool, noted: &Arc<Pace>) {
    let job = Job {
        frame,
        is_copy,
        done: noted.clone(),
    };
    let tallies: &Tallies = &noted.tallies;
    if pool.idle.give(job).is_err() {
        count(&tallies.unsent);
    }
}
