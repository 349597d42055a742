//! The durable changelog: one table from sequence to record, and the thread that writes it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::mpsc;

use crate::entry::{Entry, EntryError};

const CHANGELOG: TableDefinition<u64, &[u8]> = TableDefinition::new("changelog");
const FILE_NAME: &str = "changelog.redb";
const FILE_NAME_NEW: &str = "changelog.redb.new";
/// The whole log is in memory already, so pages need little room.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub enum StoreError {
    Files(io::Error),
    Database(Box<redb::Error>),
    Entry { sequence: u64, error: EntryError },
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(error) => write!(formatter, "store: {error}"),
            Self::Database(error) => write!(formatter, "store: {error}"),
            Self::Entry { sequence, error } => {
                write!(formatter, "store: entry {sequence}: {error}")
            }
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Files(error)
    }
}

/// All errors of the database, whichever step they come from.
fn database_error(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

#[derive(Debug)]
pub struct Store {
    database: Database,
}

impl Store {
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        if path.try_exists()? {
            let database = Self::builder().open(&path).map_err(database_error)?;
            return Ok(Self { database });
        }
        // A process killed while it makes the file must not leave half of one under its name.
        let path_new = directory.join(FILE_NAME_NEW);
        if path_new.try_exists()? {
            fs::remove_file(&path_new)?;
        }
        let database = Self::builder().create(&path_new).map_err(database_error)?;
        let store = Self { database };
        store.append(&[])?;
        fs::rename(&path_new, &path)?;
        File::open(directory)?.sync_all()?;
        Ok(store)
    }

    fn builder() -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        builder
    }

    /// Everything stored, in the order of sequences.
    pub fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let reading = self.database.begin_read().map_err(database_error)?;
        let table = reading.open_table(CHANGELOG).map_err(database_error)?;
        let mut entries = Vec::new();
        for row in table.iter().map_err(database_error)? {
            let (key, record) = row.map_err(database_error)?;
            let sequence = key.value();
            let entry = Entry::from_record(record.value())
                .map_err(|error| StoreError::Entry { sequence, error })?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Returns once all of the batch would survive a crash of the process or the host.
    pub fn append(&self, batch: &[Arc<Entry>]) -> Result<(), StoreError> {
        let mut writing = self.database.begin_write().map_err(database_error)?;
        writing
            .set_durability(Durability::Immediate)
            .map_err(database_error)?;
        {
            let mut table = writing.open_table(CHANGELOG).map_err(database_error)?;
            for entry in batch {
                table
                    .insert(entry.sequence, entry.to_record().as_slice())
                    .map_err(database_error)?;
            }
        }
        writing.commit().map_err(database_error)
    }
}

/// The store on a thread of its own, since a commit blocks until the disk has answered. One
/// batch is under way at a time; what comes meanwhile makes the next batch.
pub struct Writer {
    batches: Option<SyncSender<Vec<Arc<Entry>>>>,
    outcomes: mpsc::Receiver<Result<usize, StoreError>>,
    in_flight: bool,
}

impl Writer {
    /// `stall` runs on the thread after each durable write and may take its time.
    pub fn spawn(store: Store, stall: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (batches, incoming) = sync_channel::<Vec<Arc<Entry>>>(1);
        let (outcome_sender, outcomes) = mpsc::channel(1);
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                for batch in incoming {
                    let outcome = store.append(&batch).map(|()| batch.len());
                    let failed = outcome.is_err();
                    stall();
                    if outcome_sender.blocking_send(outcome).is_err() || failed {
                        break;
                    }
                }
                // Closed before the owner learns, by the end of `outcomes`, that it is.
                drop(store);
                drop(outcome_sender);
            })?;
        Ok(Self {
            batches: Some(batches),
            outcomes,
            in_flight: false,
        })
    }

    pub fn is_idle(&self) -> bool {
        !self.in_flight
    }

    /// Hands over a batch; only for an idle writer.
    pub fn begin(&mut self, batch: Vec<Arc<Entry>>) {
        assert!(self.is_idle(), "a batch is under way");
        self.in_flight = true;
        if let Some(batches) = &self.batches {
            // A thread that has ended reports so through `outcomes`.
            let _ = batches.send(batch);
        }
    }

    /// Waits for the batch under way, or for ever when there is none. Nothing is lost when the
    /// wait is given up. `Ok(None)` means that the thread has ended.
    pub async fn committed(&mut self) -> Result<Option<usize>, StoreError> {
        if !self.in_flight {
            std::future::pending::<()>().await;
        }
        let outcome = self.outcomes.recv().await;
        self.in_flight = false;
        outcome.transpose()
    }

    /// Waits until the store is closed.
    pub async fn close(&mut self) {
        self.batches = None;
        while self.outcomes.recv().await.is_some() {}
    }
}
