//! Sends spans to a collector: OTLP over HTTP, protobuf, in batches. Losing spans is allowed,
//! holding up the replica is not.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::VERSION;
use crate::clock::{monotonic_ns, realtime_ns};
use crate::settings::Settings;
use crate::trace::{Attribute, Span};

/// Spans that may wait; beyond, they are dropped.
const QUEUE_SPANS_MAX: usize = 2048;
const BATCH_SPANS_MAX: usize = 512;
/// How long a batch gathers.
const PAUSE: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(1);
const STATUS_ERROR: i32 = 2;

/// The part of `opentelemetry/proto` that spans need.
pub mod proto {
    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub struct ExportTraceServiceRequest {
        #[prost(message, repeated, tag = "1")]
        pub resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scope_spans: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct ScopeSpans {
        #[prost(message, optional, tag = "1")]
        pub scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Scope {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub version: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub name: String,
        #[prost(int32, tag = "6")]
        pub kind: i32,
        #[prost(fixed64, tag = "7")]
        pub start_time_unix_nano: u64,
        #[prost(fixed64, tag = "8")]
        pub end_time_unix_nano: u64,
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub status: Option<Status>,
        #[prost(fixed32, tag = "16")]
        pub flags: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Status {
        #[prost(int32, tag = "3")]
        pub code: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct KeyValue {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct AnyValue {
        #[prost(oneof = "Value", tags = "1, 3")]
        pub value: Option<Value>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Number(i64),
    }
}

/// Where finished spans go.
pub struct Exporter {
    queue: Option<Sender<Box<Span>>>,
    task: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Starts sending to the collector of the settings; without one, spans go nowhere.
    pub fn start(settings: &Settings, collector: Option<SocketAddr>) -> Self {
        let Some(collector) = collector else {
            return Self {
                queue: None,
                task: None,
            };
        };
        let (queue, spans) = mpsc::channel(QUEUE_SPANS_MAX);
        let resource = proto::Resource {
            attributes: vec![
                text("service.name", &settings.name),
                text("service.instance.id", &settings.run_id),
                text("driftlab.runtime", "rust"),
            ],
        };
        let task = tokio::spawn(run(collector, resource, spans));
        Self {
            queue: Some(queue),
            task: Some(task),
        }
    }

    /// Never waits: a span that finds no room is lost.
    pub fn send(&self, span: Box<Span>) {
        if let Some(queue) = &self.queue {
            let _ = queue.try_send(span);
        }
    }

    /// Sends what is left, for as long as `patience` allows.
    pub async fn finish(&mut self, patience: Duration) {
        self.queue = None;
        if let Some(task) = self.task.take() {
            let _ = timeout(patience, task).await;
        }
    }
}

async fn run(collector: SocketAddr, resource: proto::Resource, mut spans: Receiver<Box<Span>>) {
    let mut failing = false;
    let mut batch = Vec::new();
    while spans.recv_many(&mut batch, BATCH_SPANS_MAX).await > 0 {
        if !spans.is_closed() {
            sleep(PAUSE).await;
        }
        while batch.len() < BATCH_SPANS_MAX
            && let Ok(span) = spans.try_recv()
        {
            batch.push(span);
        }
        let body = encode(&resource, &batch, realtime_ns() - monotonic_ns());
        batch.clear();
        let outcome = timeout(DEADLINE, post(collector, body)).await;
        let outcome = outcome.unwrap_or_else(|_| Err("no answer within 1 s".to_owned()));
        if let Err(error) = &outcome
            && !failing
        {
            tracing::warn!(%collector, error, "spans are lost");
        }
        failing = outcome.is_err();
    }
}

async fn post(collector: SocketAddr, body: Bytes) -> Result<(), String> {
    let stream = TcpStream::connect(collector).await.map_err(describe)?;
    stream.set_nodelay(true).map_err(describe)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(describe)?;
    let request = Request::post("/v1/traces")
        .header(HOST, collector.to_string())
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(body))
        .map_err(describe)?;
    let mut answer = pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // A server may close together with its answer.
        _ = connection => answer.await,
    };
    let status = answer.map_err(describe)?.status();
    if status.is_success() {
        return Ok(());
    }
    Err(format!("the collector answered {status}"))
}

fn describe(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn text(key: &str, value: &str) -> proto::KeyValue {
    key_value(key, proto::Value::Text(value.to_owned()))
}

fn key_value(key: &str, value: proto::Value) -> proto::KeyValue {
    proto::KeyValue {
        key: key.to_owned(),
        value: Some(proto::AnyValue { value: Some(value) }),
    }
}

/// One export of spans; `epoch_ns` is what turns a monotonic time into one since the epoch.
fn encode(resource: &proto::Resource, spans: &[Box<Span>], epoch_ns: i64) -> Bytes {
    let spans = spans.iter().map(|span| encode_span(span, epoch_ns));
    let request = proto::ExportTraceServiceRequest {
        resource_spans: vec![proto::ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![proto::ScopeSpans {
                scope: Some(proto::Scope {
                    name: "driftlab-replica".to_owned(),
                    version: VERSION.to_owned(),
                }),
                spans: spans.collect(),
            }],
        }],
    };
    request.encode_to_vec().into()
}

fn encode_span(span: &Span, epoch_ns: i64) -> proto::Span {
    let unix_ns = |time_ns: i64| u64::try_from(time_ns.saturating_add(epoch_ns)).unwrap_or(0);
    let parent_span_id = match span.parent_span_id {
        0 => Vec::new(),
        number => number.to_be_bytes().to_vec(),
    };
    let attributes = span.attributes.iter().map(|(key, value)| match value {
        Attribute::Text(value) => text(key, value),
        Attribute::Number(value) => key_value(key, proto::Value::Number(*value)),
    });
    proto::Span {
        trace_id: span.context.trace_id.to_be_bytes().to_vec(),
        span_id: span.context.span_id.to_be_bytes().to_vec(),
        parent_span_id,
        name: span.name.to_owned(),
        kind: span.kind as i32,
        start_time_unix_nano: unix_ns(span.begun_ns),
        end_time_unix_nano: unix_ns(span.ended_ns),
        attributes: attributes.collect(),
        status: span.failed.then_some(proto::Status { code: STATUS_ERROR }),
        flags: u32::from(span.context.sampled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{SpanContext, SpanKind};

    #[test]
    fn an_export_has_the_bytes_of_the_protocol() {
        let context = SpanContext {
            trace_id: 0x0102,
            span_id: 0x0304,
            sampled: true,
        };
        let mut span = Span {
            context,
            parent_span_id: 0x05,
            name: "store",
            kind: SpanKind::Consumer,
            begun_ns: 10,
            ended_ns: 30,
            failed: true,
            attributes: Vec::new(),
        };
        span.number("n", 7);
        let encoded = encode_span(&span, 1000).encode_to_vec();
        let mut expected = vec![0x0A, 16];
        expected.extend(0x0102_u128.to_be_bytes());
        expected.extend([0x12, 8, 0, 0, 0, 0, 0, 0, 3, 4]);
        expected.extend([0x22, 8, 0, 0, 0, 0, 0, 0, 0, 5]);
        expected.extend([0x2A, 5]);
        expected.extend(*b"store");
        expected.extend([0x30, 5]);
        expected.push(0x39);
        expected.extend(1010_u64.to_le_bytes());
        expected.push(0x41);
        expected.extend(1030_u64.to_le_bytes());
        expected.extend([0x4A, 7, 0x0A, 1, b'n', 0x12, 2, 0x18, 7]);
        expected.extend([0x7A, 2, 0x18, 2]);
        expected.extend([0x85, 0x01, 1, 0, 0, 0]);
        assert_eq!(encoded, expected);
        let resource = proto::Resource {
            attributes: vec![text("service.name", "f1")],
        };
        let request = encode(&resource, &[Box::new(span)], 0);
        let decoded = proto::ExportTraceServiceRequest::decode(request).expect("a request");
        assert_eq!(decoded.resource_spans[0].scope_spans[0].spans.len(), 1);
    }
}
