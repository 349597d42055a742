//! The single owner of the machine: feeds it and carries out its commands.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::clock::monotonic_ns;
use crate::entry::Entry;
use crate::events::EventLog;
use crate::frames::encode_frame;
use crate::links::{Links, Tallies};
use crate::machine::{ClientId, Command, Machine, Status, Timer};
use crate::settings::Mode;
use crate::store::{StoreError, Writer};
use crate::wire::Envelope;

/// What reaches the owner from outside.
#[derive(Debug)]
pub enum Request {
    Peer(Envelope),
    Client {
        client: ClientId,
        envelope: Envelope,
    },
    ClientOpened {
        client: ClientId,
        replies: Sender<Bytes>,
    },
    ClientClosed {
        client: ClientId,
    },
    /// Bytes that are no envelope.
    Malformed,
    Status(oneshot::Sender<Status>),
    SetMode {
        mode: Mode,
        done: oneshot::Sender<()>,
    },
}

/// Requests that may wait for the owner; beyond, connections are no longer read.
pub const INBOX_MAX: usize = 4096;
/// Entries that may wait for the disk; beyond, the inbox is no longer read.
const BACKLOG_MAX: usize = 4096;
/// Requests handled before their commands are carried out.
const STEP_REQUESTS_MAX: usize = 64;
/// How long the last batch may take when the replica is told to stop.
const FINISH_TIMEOUT: Duration = Duration::from_millis(1000);

#[derive(Debug)]
pub enum OwnerError {
    Store(StoreError),
    StoreEnded,
    Events(io::Error),
}

impl fmt::Display for OwnerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(formatter, "{error}"),
            Self::StoreEnded => formatter.write_str("store: the writing thread has ended"),
            Self::Events(error) => write!(formatter, "events: {error}"),
        }
    }
}

impl std::error::Error for OwnerError {}

impl From<io::Error> for OwnerError {
    fn from(error: io::Error) -> Self {
        Self::Events(error)
    }
}

/// Timers by the time they are due; the serial keeps those of one time in order.
#[derive(Default)]
struct Timers {
    heap: BinaryHeap<Reverse<(i64, u64, Timer)>>,
    serial: u64,
}

impl Timers {
    fn start(&mut self, at_ns: i64, timer: Timer) {
        self.serial += 1;
        self.heap.push(Reverse((at_ns, self.serial, timer)));
    }

    fn next_ns(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((at_ns, ..))| *at_ns)
    }

    fn pop_due(&mut self, now_ns: i64) -> Option<Timer> {
        if self.next_ns()? > now_ns {
            return None;
        }
        self.heap.pop().map(|Reverse((.., timer))| timer)
    }
}

pub struct Owner {
    machine: Machine,
    timers: Timers,
    links: Links,
    tallies: Arc<Tallies>,
    clients: HashMap<ClientId, Sender<Bytes>>,
    writer: Writer,
    /// Entries for the batch after the one under way.
    backlog: Vec<Arc<Entry>>,
    events: EventLog,
    commands: Vec<Command>,
}

impl Owner {
    pub fn new(
        machine: Machine,
        links: Links,
        tallies: Arc<Tallies>,
        writer: Writer,
        events: EventLog,
    ) -> Self {
        Self {
            machine,
            timers: Timers::default(),
            links,
            tallies,
            clients: HashMap::new(),
            writer,
            backlog: Vec::new(),
            events,
            commands: Vec::new(),
        }
    }

    pub fn start(&mut self) -> Result<(), OwnerError> {
        self.machine.start(monotonic_ns(), &mut self.commands);
        self.carry_out()
    }

    /// Works until the inbox ends or something fails that cannot be repaired. May be given up
    /// at any wait: everything decided so far has then been carried out.
    pub async fn run(&mut self, inbox: &mut Receiver<Request>) -> Result<(), OwnerError> {
        loop {
            let due_ns = self.timers.next_ns();
            let has_room = self.backlog.len() < BACKLOG_MAX;
            tokio::select! {
                biased;
                outcome = self.writer.committed() => self.take_committed(outcome)?,
                () = wait_until(due_ns) => {}
                request = inbox.recv(), if has_room => match request {
                    Some(request) => self.take_requests(request, inbox),
                    None => return Ok(()),
                },
            }
            self.fire_timers();
            self.carry_out()?;
        }
    }

    /// Finishes what is on its way to the disk and closes the store.
    pub async fn finish(&mut self) -> Result<(), OwnerError> {
        let work = async {
            while !self.writer.is_idle() {
                let outcome = self.writer.committed().await;
                self.take_committed(outcome)?;
                self.carry_out()?;
            }
            self.writer.close().await;
            Ok(())
        };
        let outcome = timeout(FINISH_TIMEOUT, work).await;
        self.events.flush()?;
        // A disk that does not answer in time is left to the next start's recovery.
        outcome.unwrap_or(Ok(()))
    }

    fn take_committed(
        &mut self,
        outcome: Result<Option<usize>, StoreError>,
    ) -> Result<(), OwnerError> {
        let count = outcome.map_err(OwnerError::Store)?;
        let count = count.ok_or(OwnerError::StoreEnded)?;
        self.machine
            .on_committed(count, monotonic_ns(), &mut self.commands);
        Ok(())
    }

    fn take_requests(&mut self, first: Request, inbox: &mut Receiver<Request>) {
        self.take(first);
        for _ in 1..STEP_REQUESTS_MAX {
            match inbox.try_recv() {
                Ok(request) => self.take(request),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, request: Request) {
        let now_ns = monotonic_ns();
        let out = &mut self.commands;
        match request {
            Request::Peer(envelope) => self.machine.on_peer(envelope, now_ns, out),
            Request::Client { client, envelope } => {
                self.machine.on_client(client, envelope, now_ns, out);
            }
            Request::ClientOpened { client, replies } => {
                self.clients.insert(client, replies);
            }
            Request::ClientClosed { client } => {
                self.clients.remove(&client);
            }
            Request::Malformed => self.machine.count_malformed(),
            Request::Status(answer) => {
                // Whoever asked may have gone; then nobody wants the answer.
                let _ = answer.send(self.status());
            }
            Request::SetMode { mode, done } => {
                self.machine.set_mode(mode, now_ns, out);
                let _ = done.send(());
            }
        }
    }

    fn status(&self) -> Status {
        let mut status = self.machine.status();
        let counters = &mut status.counters;
        counters.unsent += self.tallies.unsent.load(Ordering::Relaxed);
        counters.send_queue_full += self.tallies.send_queue_full.load(Ordering::Relaxed);
        status
    }

    fn fire_timers(&mut self) {
        let now_ns = monotonic_ns();
        while let Some(timer) = self.timers.pop_due(now_ns) {
            self.machine.on_timer(timer, now_ns, &mut self.commands);
        }
    }

    /// Events first: whoever sees an answer finds the event that explains it.
    fn carry_out(&mut self) -> Result<(), OwnerError> {
        for command in &self.commands {
            if let Command::Event(event) = command {
                self.events.push(event)?;
            }
        }
        self.events.flush()?;
        let mut commands = std::mem::take(&mut self.commands);
        for command in commands.drain(..) {
            match command {
                Command::Event(_) => {}
                Command::Append(entry) => self.backlog.push(entry),
                Command::Send { target, envelope } => {
                    self.links.send(target, encode_frame(&envelope));
                }
                Command::Reply { client, envelope } => self.reply(client, &envelope),
                Command::StartTimer { at_ns, timer } => self.timers.start(at_ns, timer),
            }
        }
        self.commands = commands;
        if self.writer.is_idle() && !self.backlog.is_empty() {
            self.writer.begin(std::mem::take(&mut self.backlog));
        }
        Ok(())
    }

    /// Answers a client, unless it has gone.
    fn reply(&self, client: ClientId, envelope: &Envelope) {
        if let Some(replies) = self.clients.get(&client)
            && let Err(error) = replies.try_send(encode_frame(envelope))
            && matches!(error, tokio::sync::mpsc::error::TrySendError::Full(_))
        {
            self.tallies.send_queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn wait_until(due_ns: Option<i64>) {
    let Some(due_ns) = due_ns else {
        return std::future::pending().await;
    };
    let left_ns = due_ns.saturating_sub(monotonic_ns());
    if let Ok(left_ns) = u64::try_from(left_ns) {
        sleep(Duration::from_nanos(left_ns)).await;
    }
}
