//! Incoming connections that speak frames: from peers and from clients.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;

use crate::frames::FrameReader;
use crate::links::{Batch, QUEUE_FRAMES_MAX, pump};
use crate::machine::ClientId;
use crate::owner::Request;
use crate::wire::Envelope;

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

pub async fn serve_peers(listener: TcpListener, inbox: Sender<Request>) {
    accept_each(listener, move |mut stream| {
        let inbox = inbox.clone();
        async move { read_frames(&mut stream, &inbox, Request::Peer).await }
    })
    .await;
}

pub async fn serve_clients(listener: TcpListener, inbox: Sender<Request>) {
    let next = AtomicU64::new(1);
    accept_each(listener, move |stream| {
        let client = next.fetch_add(1, Ordering::Relaxed);
        serve_client(stream, client, inbox.clone())
    })
    .await;
}

async fn serve_client(stream: TcpStream, client: ClientId, inbox: Sender<Request>) {
    let (replies, mut queue): (Sender<Bytes>, Receiver<Bytes>) = mpsc::channel(QUEUE_FRAMES_MAX);
    let opened = Request::ClientOpened { client, replies };
    if inbox.send(opened).await.is_err() {
        return;
    }
    let (mut reader, mut writer) = stream.into_split();
    let mut batch = Batch::default();
    let wrap = |envelope| Request::Client { client, envelope };
    tokio::select! {
        () = read_frames(&mut reader, &inbox, wrap) => {}
        _ = pump(&mut queue, &mut batch, &mut writer) => {}
    }
    // Fails only when the owner has ended, and then nobody keeps the client.
    let _ = inbox.send(Request::ClientClosed { client }).await;
}

/// Passes frames on until the connection ends; a frame cut short by its end is lost.
async fn read_frames(
    stream: &mut (impl AsyncRead + Unpin),
    inbox: &Sender<Request>,
    wrap: impl Fn(Envelope) -> Request,
) {
    let mut reader = FrameReader::default();
    while matches!(stream.read_buf(reader.buffer_mut()).await, Ok(count) if count > 0) {
        loop {
            let request = match reader.next_body() {
                Ok(None) => break,
                Ok(Some(body)) => Envelope::decode(body).map_or(Request::Malformed, &wrap),
                Err(error) => {
                    tracing::warn!(%error, "a connection was closed");
                    let _ = inbox.send(Request::Malformed).await;
                    return;
                }
            };
            if inbox.send(request).await.is_err() {
                return;
            }
        }
    }
}
