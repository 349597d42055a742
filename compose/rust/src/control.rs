//! The control interface over HTTP: what a replica is asked and told from outside its links.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::VERSION;
use crate::clock::monotonic_ns;
use crate::faults::FaultChange;
use crate::hex::{parse_hex, to_hex};
use crate::links::Line;
use crate::listeners::accept_each;
use crate::merkle;
use crate::metrics::metrics_text;
use crate::object::{Object, parse_object};
use crate::oneshot::{Duplicates, PPM};
use crate::owner::{Report, Request};
use crate::settings::{Mode, Settings, Wire};
use crate::snapshot::{entry_text, parse_repair};

type Answer = Response<Full<Bytes>>;

const BODY_BYTES_MAX: usize = 4 << 20;
const BODY_BYTES_DISCARDED_MAX: usize = 4 * BODY_BYTES_MAX;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JSON_LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");
/// Paths and the one method of each.
const ROUTES: [(&str, Method); 11] = [
    ("/healthz", Method::GET),
    ("/state", Method::GET),
    ("/metrics", Method::GET),
    ("/read", Method::GET),
    ("/snapshot", Method::GET),
    ("/entry", Method::GET),
    ("/merkle", Method::GET),
    ("/mode", Method::POST),
    ("/links", Method::POST),
    ("/faults", Method::POST),
    ("/repair", Method::POST),
];

struct Control {
    settings: Arc<Settings>,
    duplicates: BTreeMap<String, Arc<Duplicates>>,
    lines: BTreeMap<String, Line>,
    inbox: Sender<Request>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeRequest {
    mode: Mode,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkShares {
    duplicate_ppm: u64,
}

/// Serves until the task is aborted.
pub async fn serve(
    listener: TcpListener,
    settings: Arc<Settings>,
    duplicates: BTreeMap<String, Arc<Duplicates>>,
    lines: BTreeMap<String, Line>,
    inbox: Sender<Request>,
) {
    let control = Arc::new(Control {
        settings,
        duplicates,
        lines,
        inbox,
    });
    accept_each(listener, move |stream| {
        serve_connection(stream, control.clone())
    })
    .await;
}

async fn serve_connection(stream: TcpStream, control: Arc<Control>) {
    let service = service_fn(move |request| {
        let control = control.clone();
        async move {
            let answer = control.answer(request).await;
            let refused = |refusal: Refusal| respond(refusal.status, refusal.body, JSON);
            Ok::<_, Infallible>(answer.unwrap_or_else(refused))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = connection {
        tracing::debug!(%error, "a control connection failed");
    }
}

/// Why there is no better answer, as JSON.
struct Refusal {
    status: StatusCode,
    body: String,
}

type Outcome = Result<Answer, Refusal>;

impl Control {
    async fn answer(&self, request: HttpRequest<Incoming>) -> Outcome {
        let path = request.uri().path().to_owned();
        let Some((_, method)) = ROUTES.iter().find(|(known, _)| *known == path) else {
            return Err(failure(StatusCode::NOT_FOUND, "not found"));
        };
        if request.method() != method {
            let reason = "method not allowed";
            return Err(failure(StatusCode::METHOD_NOT_ALLOWED, reason));
        }
        let query = request.uri().query().unwrap_or("").to_owned();
        let body = body_of(request).await?;
        match path.as_str() {
            "/healthz" => Ok(self.health()),
            "/state" => self.state().await,
            "/metrics" => self.metrics().await,
            "/read" => self.read(&query).await,
            "/snapshot" => self.snapshot().await,
            "/entry" => self.entry(&query).await,
            "/merkle" => self.merkle(&query).await,
            "/mode" => self.set_mode(&body).await,
            "/links" => self.set_links(&body),
            "/faults" => self.set_faults(&body).await,
            _ => self.repair(&body).await,
        }
    }

    /// This listener is served only after the store is open and the other two are bound.
    fn health(&self) -> Answer {
        let role = if self.settings.is_leader() {
            "leader"
        } else {
            "follower"
        };
        let lines = self.lines.iter();
        let connected: BTreeMap<_, _> = lines
            .map(|(peer, line)| (peer, line.is_connected()))
            .collect();
        let mut body = json!({
            "name": self.settings.name,
            "role": role,
            "runtime": "rust",
            "version": VERSION,
            "connected": connected,
        });
        if let Some(bug) = self.settings.bug {
            body["seeded_bug"] = bug.name().into();
        }
        success(body.to_string(), JSON)
    }

    /// Asks the owner and waits for what it says.
    async fn ask<Told>(
        &self,
        request: impl FnOnce(oneshot::Sender<Told>) -> Request,
    ) -> Result<Told, Refusal> {
        let (sender, told) = oneshot::channel();
        let sent = self.inbox.send(request(sender)).await;
        sent.map_err(|_| stopping())?;
        told.await.map_err(|_| stopping())
    }

    async fn state(&self) -> Outcome {
        let Report {
            status,
            monotonic_ns,
            ..
        } = self.ask(Request::Report).await?;
        let state = status.state.clone();
        let digest = elsewhere(move || state.digest()).await?;
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
            "faults": status.faults,
            "counters": status.counters,
        });
        Ok(success(body.to_string(), JSON))
    }

    async fn metrics(&self) -> Outcome {
        let report = self.ask(Request::Report).await?;
        match metrics_text(&report, self.settings.is_leader()) {
            Ok(text) => Ok(success(text, PROMETHEUS)),
            Err(error) => Err(failure(
                StatusCode::INTERNAL_SERVER_ERROR,
                &error.to_string(),
            )),
        }
    }

    async fn read(&self, query: &str) -> Outcome {
        let key = parameter(query, "key").ok_or_else(|| refusal("key is missing"))?;
        let bytes = parse_hex(key).map_err(|reason| refusal(&format!("key: {reason}")))?;
        let key = String::from_utf8(bytes).map_err(|_| refusal("key: not UTF-8"))?;
        let limit = parameter(query, "max_staleness_ns").map(str::parse::<u64>);
        let max_staleness_ns = limit
            .transpose()
            .map_err(|error| refusal(&format!("max_staleness_ns: {error}")))?;
        let shown = to_hex(key.as_bytes());
        let ask = |answer| Request::Read {
            key,
            max_staleness_ns,
            answer,
        };
        let reading = self.ask(ask).await?;
        if reading.is_stale {
            let body = json!({ "error": "stale", "staleness_ns": reading.staleness_ns });
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let body = body.to_string();
            return Err(Refusal { status, body });
        }
        let found = reading.found.is_some();
        let (sequence, payload) = reading.found.unwrap_or_default();
        let body = json!({
            "key": shown,
            "found": found,
            "sequence": sequence,
            "payload": to_hex(&payload),
            "staleness_ns": reading.staleness_ns,
            "as_of_ns": reading.as_of_ns,
            "prefix": reading.prefix,
        });
        Ok(success(body.to_string(), JSON))
    }

    async fn snapshot(&self) -> Outcome {
        let snapshot = self.ask(Request::Snapshot).await?;
        let now_ns = monotonic_ns();
        let bug = self.settings.bug;
        let text = elsewhere(move || snapshot.to_text(now_ns, bug)).await?;
        Ok(success(text, JSON_LINES))
    }

    async fn entry(&self, query: &str) -> Outcome {
        let sequence = parameter(query, "sequence").map(str::parse::<u64>);
        let Some(Ok(sequence)) = sequence else {
            return Err(refusal("sequence is not a whole number"));
        };
        let entry = self.ask(|answer| Request::Entry { sequence, answer });
        match entry.await? {
            Some(entry) => Ok(success(entry_text(&entry), JSON)),
            None => Err(failure(StatusCode::NOT_FOUND, "there is no such entry")),
        }
    }

    async fn merkle(&self, query: &str) -> Outcome {
        let path = parameter(query, "path").unwrap_or("");
        let path = merkle::parse_path(path).map_err(|reason| refusal(&reason))?;
        let Report { status, .. } = self.ask(Request::Report).await?;
        let node = move || merkle::node(&status.state, &path, status.prefix);
        Ok(success(elsewhere(node).await?.to_string(), JSON))
    }

    async fn set_mode(&self, body: &[u8]) -> Outcome {
        let ModeRequest { mode } = parse(body)?;
        self.ask(|done| Request::SetMode { mode, done }).await?;
        Ok(success(json!({ "mode": mode }).to_string(), JSON))
    }

    fn set_links(&self, body: &[u8]) -> Outcome {
        if self.settings.wire != Wire::Oneshot {
            return Err(refusal("links can be set on the oneshot wire only"));
        }
        let shares: BTreeMap<String, Object<LinkShares>> = parse(body)?;
        for (name, Object(share)) in &shares {
            if !self.duplicates.contains_key(name) {
                return Err(refusal(&format!("{name:?} is no peer")));
            }
            if share.duplicate_ppm > PPM {
                return Err(refusal(&format!("{name}: duplicate_ppm is above {PPM}")));
            }
        }
        for (name, Object(share)) in &shares {
            self.duplicates[name].set_share_ppm(share.duplicate_ppm);
        }
        let peers = self.duplicates.iter();
        let in_force: BTreeMap<&String, LinkShares> = peers
            .map(|(name, duplicates)| {
                let duplicate_ppm = duplicates.share_ppm();
                (name, LinkShares { duplicate_ppm })
            })
            .collect();
        Ok(success(json!(in_force).to_string(), JSON))
    }

    async fn set_faults(&self, body: &[u8]) -> Outcome {
        let change = FaultChange::parse(body).map_err(|reason| refusal(&reason))?;
        let ask = |answer| Request::SetFaults { change, answer };
        let faults = self.ask(ask).await?;
        Ok(success(json!(faults).to_string(), JSON))
    }

    async fn repair(&self, body: &[u8]) -> Outcome {
        if self.settings.is_leader() {
            return Err(refusal("a leader is not repaired"));
        }
        let entries = parse_repair(body).map_err(|reason| refusal(&reason))?;
        let ask = |answer| Request::Repair { entries, answer };
        let outcome = self.ask(ask).await?;
        Ok(success(json!(outcome).to_string(), JSON))
    }
}

/// The body of a request, unless it is too long. What is too long is read all the same, up to a
/// limit and a time: a client that still writes would not see the answer.
async fn body_of(request: HttpRequest<Incoming>) -> Result<Bytes, Refusal> {
    let mut body = request.into_body();
    let mut collected = BytesMut::new();
    let mut read_bytes = 0;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| refusal(&error.to_string()))?;
            let piece = frame.into_data().unwrap_or_default();
            read_bytes += piece.len();
            if read_bytes <= BODY_BYTES_MAX {
                collected.extend_from_slice(&piece);
            } else if read_bytes > BODY_BYTES_DISCARDED_MAX {
                break;
            }
        }
        Ok(())
    };
    let in_time = timeout(BODY_TIMEOUT, reading).await;
    if read_bytes > BODY_BYTES_MAX {
        let reason = "the request is over 4 MiB";
        return Err(failure(StatusCode::PAYLOAD_TOO_LARGE, reason));
    }
    in_time.unwrap_or_else(|_| Err(failure(StatusCode::REQUEST_TIMEOUT, "no body came")))?;
    Ok(collected.freeze())
}

/// Does work that takes long enough to hold up the links.
async fn elsewhere<Made: Send + 'static>(
    work: impl FnOnce() -> Made + Send + 'static,
) -> Result<Made, Refusal> {
    let made = tokio::task::spawn_blocking(work).await;
    made.map_err(|_| stopping())
}

fn parse<'body, Asked: Deserialize<'body>>(body: &'body [u8]) -> Result<Asked, Refusal> {
    parse_object(body).map_err(|reason| refusal(&reason))
}

/// The first value under a name in a query; no value that is asked for needs escapes.
fn parameter<'query>(query: &'query str, name: &str) -> Option<&'query str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn success(body: String, content_type: HeaderValue) -> Answer {
    respond(StatusCode::OK, body, content_type)
}

fn failure(status: StatusCode, reason: &str) -> Refusal {
    let body = json!({ "error": reason }).to_string();
    Refusal { status, body }
}

fn refusal(reason: &str) -> Refusal {
    failure(StatusCode::BAD_REQUEST, reason)
}

fn stopping() -> Refusal {
    failure(StatusCode::SERVICE_UNAVAILABLE, "the replica is stopping")
}

fn respond(status: StatusCode, body: String, content_type: HeaderValue) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}
