//! The control interface: health, state, mode and metrics over HTTP.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::VERSION;
use crate::clock::monotonic_ns;
use crate::listeners::accept_each;
use crate::machine::Status;
use crate::owner::Request;
use crate::settings::{Mode, Settings};

type Answer = Response<Full<Bytes>>;

const BODY_BYTES_MAX: usize = 4096;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

struct Control {
    settings: Arc<Settings>,
    inbox: Sender<Request>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeRequest {
    mode: Mode,
}

/// Serves until the task is aborted.
pub async fn serve(listener: TcpListener, settings: Arc<Settings>, inbox: Sender<Request>) {
    let control = Arc::new(Control { settings, inbox });
    accept_each(listener, move |stream| {
        serve_connection(stream, control.clone())
    })
    .await;
}

async fn serve_connection(stream: TcpStream, control: Arc<Control>) {
    let service = service_fn(move |request| {
        let control = control.clone();
        async move { Ok::<_, Infallible>(control.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = connection {
        tracing::debug!(%error, "a control connection failed");
    }
}

impl Control {
    async fn answer(&self, request: HttpRequest<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/healthz") => self.health(),
            (&Method::GET, "/state") => self.state().await,
            (&Method::GET, "/metrics") => self.metrics().await,
            (&Method::POST, "/mode") => self.set_mode(request).await,
            (_, "/healthz" | "/state" | "/metrics" | "/mode") => {
                failure(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
            }
            _ => failure(StatusCode::NOT_FOUND, "not found"),
        }
    }

    /// This listener is served only after the store is open and the other two are bound.
    fn health(&self) -> Answer {
        let role = if self.settings.is_leader() {
            "leader"
        } else {
            "follower"
        };
        let mut body = json!({
            "name": self.settings.name,
            "role": role,
            "runtime": "rust",
            "version": VERSION,
        });
        if let Some(bug) = self.settings.bug {
            body["seeded_bug"] = bug.name().into();
        }
        success(body.to_string(), JSON)
    }

    async fn status(&self) -> Option<Status> {
        let (sender, receiver) = oneshot::channel();
        self.inbox.send(Request::Status(sender)).await.ok()?;
        receiver.await.ok()
    }

    async fn state(&self) -> Answer {
        let Some(status) = self.status().await else {
            return stopping();
        };
        let monotonic_ns = monotonic_ns();
        let state = status.state.clone();
        // Hashing much state takes long enough to hold up the links.
        let hashing = tokio::task::spawn_blocking(move || state.digest());
        let Ok(digest) = hashing.await else {
            return stopping();
        };
        let body = json!({
            "name": self.settings.name,
            "mode": status.mode,
            "last_sequence": status.last_sequence,
            "prefix": status.prefix,
            "prefix_hash": status.prefix_hash,
            "digest": digest,
            "keys": status.state.key_count(),
            "waiting": status.waiting,
            "outstanding": status.outstanding,
            "monotonic_ns": monotonic_ns,
            "incarnation": status.incarnation,
            "breakers": status.breakers,
            "counters": status.counters,
        });
        success(body.to_string(), JSON)
    }

    async fn metrics(&self) -> Answer {
        let Some(status) = self.status().await else {
            return stopping();
        };
        match metrics_text(&status) {
            Ok(text) => success(text, PROMETHEUS),
            Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    async fn set_mode(&self, request: HttpRequest<Incoming>) -> Answer {
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
        let bytes = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => return failure(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let mode = match serde_json::from_slice::<ModeRequest>(&bytes) {
            Ok(request) => request.mode,
            Err(error) => return failure(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let (done, finished) = oneshot::channel();
        let request = Request::SetMode { mode, done };
        if self.inbox.send(request).await.is_err() || finished.await.is_err() {
            return stopping();
        }
        success(json!({ "mode": mode }).to_string(), JSON)
    }
}

fn metrics_text(status: &Status) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    for (name, help, value) in status.counters.rows() {
        let counter = IntCounter::new(format!("driftlab_{name}_total"), help)?;
        counter.inc_by(value);
        registry.register(Box::new(counter))?;
    }
    let gauges = [
        (
            "last_sequence",
            "Highest sequence stored.",
            status.last_sequence,
        ),
        ("prefix", "Length of the gapless prefix.", status.prefix),
        ("waiting", "Entries behind a gap.", status.waiting as u64),
        (
            "outstanding",
            "Attempts outstanding.",
            status.outstanding as u64,
        ),
    ];
    for (name, help, value) in gauges {
        let gauge = IntGauge::new(format!("driftlab_{name}"), help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))?;
    }
    if !status.breakers.is_empty() {
        let help = "Circuit breaker: 0 closed, 1 half-open, 2 open.";
        let opts = Opts::new("driftlab_breaker_state", help);
        let breakers = IntGaugeVec::new(opts, &["follower"])?;
        for (name, state) in &status.breakers {
            breakers.with_label_values(&[name]).set(state.number());
        }
        registry.register(Box::new(breakers))?;
    }
    TextEncoder::new().encode_to_string(&registry.gather())
}

fn success(body: String, content_type: HeaderValue) -> Answer {
    respond(StatusCode::OK, body, content_type)
}

fn failure(status: StatusCode, reason: &str) -> Answer {
    respond(status, json!({ "error": reason }).to_string(), JSON)
}

fn stopping() -> Answer {
    failure(StatusCode::SERVICE_UNAVAILABLE, "the replica is stopping")
}

fn respond(status: StatusCode, body: String, content_type: HeaderValue) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}
