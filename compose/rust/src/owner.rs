//! The single owner of the machine: feeds it and carries out its commands.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clock::{monotonic_ns, sleep_until_ns};
use crate::correction::RepairOutcome;
use crate::entry::Entry;
use crate::events::EventLog;
use crate::faults::{FaultChange, Faults, Waits, WallClock};
use crate::frames::encode_frame;
use crate::links::{Frame, LinkGauge, Links, Tallies, count};
use crate::machine::{ClientId, Command, Machine, Status, Timer};
use crate::measures::Measures;
use crate::otlp::Exporter;
use crate::reading::Reading;
use crate::settings::Mode;
use crate::snapshot::Snapshot;
use crate::store::{StoreError, Writer};
use crate::wire::Envelope;

/// What reaches the owner from outside.
#[derive(Debug)]
pub enum Request {
    /// `read_ns` is when the frame was read.
    Peer {
        envelope: Envelope,
        read_ns: i64,
    },
    Client {
        client: ClientId,
        envelope: Envelope,
        read_ns: i64,
    },
    ClientOpened {
        client: ClientId,
        replies: Sender<Frame>,
    },
    ClientClosed {
        client: ClientId,
    },
    /// Bytes that are no envelope.
    Malformed,
    Report(oneshot::Sender<Report>),
    SetMode {
        mode: Mode,
        done: oneshot::Sender<()>,
    },
    SetFaults {
        change: FaultChange,
        answer: oneshot::Sender<Faults>,
    },
    Read {
        key: String,
        max_staleness_ns: Option<u64>,
        answer: oneshot::Sender<Reading>,
    },
    Snapshot(oneshot::Sender<Snapshot>),
    Entry {
        sequence: u64,
        answer: oneshot::Sender<Option<Arc<Entry>>>,
    },
    /// Answered once all that it stores is durable.
    Repair {
        entries: Vec<Entry>,
        answer: oneshot::Sender<RepairOutcome>,
    },
}

/// A picture of the replica and its links at one moment.
#[derive(Debug)]
pub struct Report {
    pub status: Status,
    pub monotonic_ns: i64,
    pub links: Vec<LinkGauge>,
    pub measures: Measures,
}

/// A repair that waits for the disk.
struct Repaired {
    /// Appends that have to be durable, of all since the start.
    appends: u64,
    outcome: RepairOutcome,
    answer: oneshot::Sender<RepairOutcome>,
}

/// Requests that may wait for the owner; beyond, connections are no longer read.
pub const INBOX_MAX: usize = 4096;
/// Entries that may wait for the disk; beyond, the inbox is no longer read.
const BACKLOG_MAX: usize = 4096;
/// Requests handled before their commands are carried out.
const STEP_REQUESTS_MAX: usize = 64;
/// How long the last batch may take when the replica is told to stop.
const FINISH_TIMEOUT: Duration = Duration::from_millis(1000);
/// How long the last spans may take.
const EXPORT_TIMEOUT: Duration = Duration::from_millis(400);

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
    faults: Faults,
    waits: Arc<Waits>,
    exporter: Exporter,
    memory_bytes: u64,
    clients: HashMap<ClientId, Sender<Frame>>,
    writer: Writer,
    /// Entries for the batch after the one under way.
    backlog: Vec<Arc<Entry>>,
    /// Since the start.
    appends: u64,
    appends_durable: u64,
    repaired: Vec<Repaired>,
    events: EventLog,
    commands: Vec<Command>,
}

/// What an owner works with beside its machine.
pub struct Hands {
    pub links: Links,
    pub tallies: Arc<Tallies>,
    pub waits: Arc<Waits>,
    pub exporter: Exporter,
    pub writer: Writer,
    pub events: EventLog,
}

impl Owner {
    /// `memory_bytes` bounds what may wait for a peer; 0 is no bound.
    pub fn new(machine: Machine, memory_bytes: u64, hands: Hands) -> Self {
        Self {
            machine,
            timers: Timers::default(),
            links: hands.links,
            tallies: hands.tallies,
            faults: Faults::default(),
            waits: hands.waits,
            exporter: hands.exporter,
            memory_bytes,
            clients: HashMap::new(),
            writer: hands.writer,
            backlog: Vec::new(),
            appends: 0,
            appends_durable: 0,
            repaired: Vec::new(),
            events: hands.events,
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
        self.waits.stop();
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
        self.machine.on_stop(monotonic_ns(), &mut self.commands);
        self.carry_out()?;
        self.exporter.finish(EXPORT_TIMEOUT).await;
        // A disk that does not answer in time is left to the next start's recovery.
        outcome.unwrap_or(Ok(()))
    }

    fn take_committed(
        &mut self,
        outcome: Result<Option<usize>, StoreError>,
    ) -> Result<(), OwnerError> {
        let count = outcome.map_err(OwnerError::Store)?;
        let count = count.ok_or(OwnerError::StoreEnded)?;
        self.note_waiting();
        self.machine
            .on_committed(count, monotonic_ns(), &mut self.commands);
        self.appends_durable += count as u64;
        self.answer_repairs();
        Ok(())
    }

    /// Answers the repairs whose entries are durable. Whoever asked learns of it only once this
    /// step has been carried out, since the owner does not wait before that.
    fn answer_repairs(&mut self) {
        let durable = self.appends_durable;
        let is_done = |repaired: &mut Repaired| repaired.appends <= durable;
        for repaired in self.repaired.extract_if(.., is_done) {
            // Whoever asked may have gone; then nobody wants the answer.
            let _ = repaired.answer.send(repaired.outcome);
        }
    }

    /// Tells the machine what waits for each peer, where that is limited.
    fn note_waiting(&mut self) {
        if self.memory_bytes > 0 {
            for (target, bytes) in self.links.waiting_bytes() {
                self.machine.note_waiting(target, bytes);
            }
        }
    }

    fn take_requests(&mut self, first: Request, inbox: &mut Receiver<Request>) {
        self.take(first);
        // Where bytes are limited, each decision has to see what the one before has queued.
        let more = if self.memory_bytes > 0 {
            0
        } else {
            STEP_REQUESTS_MAX - 1
        };
        for _ in 0..more {
            match inbox.try_recv() {
                Ok(request) => self.take(request),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, request: Request) {
        let now_ns = monotonic_ns();
        self.note_waiting();
        let out = &mut self.commands;
        match request {
            Request::Peer { envelope, read_ns } => {
                self.machine.on_peer(envelope, read_ns, now_ns, out);
            }
            Request::Client {
                client,
                envelope,
                read_ns,
            } => self
                .machine
                .on_client(client, envelope, read_ns, now_ns, out),
            Request::ClientOpened { client, replies } => {
                self.clients.insert(client, replies);
            }
            Request::ClientClosed { client } => {
                self.clients.remove(&client);
                self.machine.on_client_gone(client, now_ns, out);
            }
            Request::Malformed => self.machine.count_malformed(),
            Request::SetMode { mode, done } => {
                self.machine.set_mode(mode, now_ns, out);
                let _ = done.send(());
            }
            question => self.answer(question, now_ns),
        }
    }

    /// Whoever asked may have gone; then nobody wants the answer.
    fn answer(&mut self, question: Request, now_ns: i64) {
        match question {
            Request::Report(answer) => {
                let _ = answer.send(self.report(now_ns));
            }
            Request::SetFaults { change, answer } => {
                self.faults.change(change);
                if change.sets_clock() {
                    self.machine.set_clock(WallClock::new(&self.faults, now_ns));
                }
                self.waits.set(&self.faults);
                let _ = answer.send(self.faults);
            }
            Request::Read {
                key,
                max_staleness_ns,
                answer,
            } => {
                let _ = answer.send(self.machine.read(&key, max_staleness_ns, now_ns));
            }
            Request::Snapshot(answer) => {
                let _ = answer.send(self.machine.snapshot());
            }
            Request::Entry { sequence, answer } => {
                let _ = answer.send(self.machine.entry(sequence));
            }
            Request::Repair { entries, answer } => self.repair(entries, answer, now_ns),
            _ => {}
        }
    }

    fn repair(&mut self, entries: Vec<Entry>, answer: oneshot::Sender<RepairOutcome>, now_ns: i64) {
        let Some(outcome) = self.machine.repair(entries, now_ns, &mut self.commands) else {
            return;
        };
        let commands = self.commands.iter();
        let appends = commands.filter(|command| matches!(command, Command::Append(_)));
        self.repaired.push(Repaired {
            appends: self.appends + appends.count() as u64,
            outcome,
            answer,
        });
        self.answer_repairs();
    }

    fn report(&self, now_ns: i64) -> Report {
        let mut status = self.machine.status();
        status.faults = self.faults;
        let counters = &mut status.counters;
        let tallies = &*self.tallies;
        for (counter, tally) in [
            (&mut counters.unsent, &tallies.unsent),
            (&mut counters.send_queue_full, &tallies.send_queue_full),
            (&mut counters.partial_frames, &tallies.partial_frames),
            (&mut counters.duplicated, &tallies.duplicated),
            (&mut counters.throttled, &tallies.throttled),
            (&mut counters.slowed, &tallies.slowed),
            (&mut counters.stalled, &tallies.stalled),
        ] {
            *counter += tally.load(Ordering::Relaxed);
        }
        Report {
            status,
            monotonic_ns: now_ns,
            links: self.links.gauges(),
            measures: self.machine.measures().clone(),
        }
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
                Command::Append(entry) => {
                    self.appends += 1;
                    self.backlog.push(entry);
                }
                Command::Span(span) => self.exporter.send(span),
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
            && let Err(error) = replies.try_send(encode_frame(envelope).into())
            && matches!(error, tokio::sync::mpsc::error::TrySendError::Full(_))
        {
            count(&self.tallies.send_queue_full);
        }
    }
}

async fn wait_until(due_ns: Option<i64>) {
    let Some(due_ns) = due_ns else {
        return std::future::pending().await;
    };
    sleep_until_ns(due_ns).await;
}
