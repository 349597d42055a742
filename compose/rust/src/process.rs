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
use crate::links::{Links, Tallies};
use crate::listeners;
use crate::machine::Machine;
use crate::owner::{INBOX_MAX, Owner};
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
    let links = Links::open(&settings, tallies.clone())?;
    let writer = Writer::spawn(store)?;
    let mut owner = Owner::new(machine, links, tallies, writer, events);
    owner.start()?;

    let (sender, mut inbox) = mpsc::channel(INBOX_MAX);
    let mut serving = JoinSet::new();
    serving.spawn(listeners::serve_peers(peers, sender.clone()));
    serving.spawn(listeners::serve_clients(clients, sender.clone()));
    serving.spawn(control::serve(control, settings.clone(), sender));
    tracing::info!(run_id = settings.run_id, incarnation, "serving");

    tokio::select! {
        outcome = owner.run(&mut inbox) => outcome?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    serving.shutdown().await;
    owner.finish().await?;
    Ok(())
}
