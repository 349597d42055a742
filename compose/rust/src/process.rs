//! The life of a replica: open the store, serve, stop when told to.

use std::error::Error;
use std::fs;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::realtime_ns;
use crate::control;
use crate::events::EventLog;
use crate::faults::Waits;
use crate::links::{Links, Tallies};
use crate::listeners::{self, Reception};
use crate::machine::Machine;
use crate::otlp::Exporter;
use crate::owner::{Hands, INBOX_MAX, Owner};
use crate::settings::{Settings, parse_address};
use crate::store::{Store, Writer};

/// Returns after SIGTERM or SIGINT, or with the error that makes it impossible to go on.
pub async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    // Heard from the first moment on: the first process of a container has no default action.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let settings = Arc::new(settings);
    let events = EventLog::open(settings.events)?;

    fs::create_dir_all(&settings.data_dir)?;
    let store = Store::open(&settings.data_dir)?;
    let stored = store.entries()?;
    let incarnation = u64::try_from(realtime_ns())?;
    let machine = Machine::recover(settings.clone(), incarnation, stored)?;

    let listen = &settings.listen;
    let peers = listeners::bind(parse_address("listen.peer", &listen.peer)?).await?;
    let clients = listeners::bind(parse_address("listen.client", &listen.client)?).await?;
    let control = listeners::bind(parse_address("listen.control", &listen.control)?).await?;

    let tallies = Arc::new(Tallies::default());
    let waits = Arc::new(Waits::default());
    let links = Links::open(&settings, &tallies, &machine.measures().enqueue_delay)?;
    let duplicates = links.duplicates();
    let lines = links.lines();
    let (slow_disk, stalls) = (waits.clone(), tallies.clone());
    let writer = Writer::spawn(store, move || slow_disk.stall(&stalls.stalled))?;
    let hands = Hands {
        links,
        tallies: tallies.clone(),
        waits: waits.clone(),
        exporter: Exporter::start(&settings, settings.collector()?),
        writer,
        events,
    };
    let mut owner = Owner::new(machine, settings.channel.memory_bytes, hands);
    owner.start()?;

    let (inbox, mut requests) = mpsc::channel(INBOX_MAX);
    let reception = Reception {
        inbox: inbox.clone(),
        tallies,
        waits,
    };
    let mut serving = JoinSet::new();
    serving.spawn(listeners::serve_peers(peers, reception.clone()));
    serving.spawn(listeners::serve_clients(clients, reception));
    serving.spawn(control::serve(
        control,
        settings.clone(),
        duplicates,
        lines,
        inbox,
    ));
    tracing::info!(run_id = settings.run_id, incarnation, "serving");

    tokio::select! {
        outcome = owner.run(&mut requests) => outcome?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    serving.shutdown().await;
    owner.finish().await?;
    Ok(())
}
