//! Incoming connections that speak frames: from peers and from clients.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;

use crate::clock::{monotonic_ns, sleep_until_ns};
use crate::faults::Waits;
use crate::frames::FrameReader;
use crate::links::{Batch, Frame, Pace, QUEUE_FRAMES_MAX, Tallies, count, pump};
use crate::machine::ClientId;
use crate::owner::Request;
use crate::wire::{Envelope, Kind};

/// Connections of one listener at a time; those beyond are closed at once.
const CONNECTIONS_MAX: usize = 1024;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Accepts until the task is aborted, and gives each connection to a task of its own.
pub async fn accept_each<Serve, Served>(listener: TcpListener, serve: Serve)
where
    Serve: Fn(TcpStream) -> Served,
    Served: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let Ok(place) = places.clone().try_acquire_owned() else {
                    tracing::warn!(%address, "a connection over the limit was closed");
                    continue;
                };
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                let served = serve(stream);
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// What the connections of a listener share.
#[derive(Clone)]
pub struct Reception {
    pub inbox: Sender<Request>,
    pub tallies: Arc<Tallies>,
    pub waits: Arc<Waits>,
}

pub async fn serve_peers(listener: TcpListener, reception: Reception) {
    accept_each(listener, move |mut stream| {
        let reception = reception.clone();
        let wrap = |envelope, read_ns| Request::Peer { envelope, read_ns };
        async move { reception.read_frames(&mut stream, wrap).await }
    })
    .await;
}

pub async fn serve_clients(listener: TcpListener, reception: Reception) {
    let next = AtomicU64::new(1);
    accept_each(listener, move |stream| {
        let client = next.fetch_add(1, Ordering::Relaxed);
        serve_client(stream, client, reception.clone())
    })
    .await;
}

async fn serve_client(stream: TcpStream, client: ClientId, reception: Reception) {
    let (replies, mut queue): (Sender<Frame>, Receiver<Frame>) = mpsc::channel(QUEUE_FRAMES_MAX);
    let opened = Request::ClientOpened { client, replies };
    if reception.inbox.send(opened).await.is_err() {
        return;
    }
    let (mut reader, mut writer) = stream.into_split();
    let mut batch = Batch::default();
    let mut pace = Pace::default();
    let wrap = |envelope, read_ns| Request::Client {
        client,
        envelope,
        read_ns,
    };
    tokio::select! {
        () = reception.read_frames(&mut reader, wrap) => {}
        _ = pump(&mut queue, &mut batch, &mut writer, &mut pace) => {}
    }
    // Fails only when the owner has ended, and then nobody keeps the client.
    let _ = reception.inbox.send(Request::ClientClosed { client }).await;
}

impl Reception {
    /// Passes frames on until the connection ends; a frame cut short by its end is lost.
    async fn read_frames(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        wrap: impl Fn(Envelope, i64) -> Request,
    ) {
        let mut reader = FrameReader::default();
        while matches!(stream.read_buf(reader.buffer_mut()).await, Ok(count) if count > 0) {
            let read_ns = monotonic_ns();
            loop {
                let request = match reader.next_body() {
                    Ok(None) => break,
                    Ok(Some(body)) => match Envelope::decode(body) {
                        Ok(envelope) => {
                            self.serve(&envelope, read_ns).await;
                            wrap(envelope, read_ns)
                        }
                        Err(_) => Request::Malformed,
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a connection was closed");
                        let _ = self.inbox.send(Request::Malformed).await;
                        return;
                    }
                };
                if self.inbox.send(request).await.is_err() {
                    return;
                }
            }
        }
        if reader.is_inside_frame() {
            count(&self.tallies.partial_frames);
        }
    }

    /// Where this node is slow, an update waits its turn, and its connection with it.
    async fn serve(&self, envelope: &Envelope, read_ns: i64) {
        if !matches!(envelope.kind(), Kind::Update | Kind::Repair) {
            return;
        }
        if let Some(served_ns) = self.waits.serve(read_ns) {
            count(&self.tallies.slowed);
            sleep_until_ns(served_ns).await;
        }
    }
}
