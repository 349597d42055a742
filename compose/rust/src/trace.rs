//! Spans: what one operation did, across replicas. Nothing here touches a clock or a socket.

use std::fmt;

use crate::hashes::mix;
use crate::machine::Command;
use crate::settings::Settings;

/// W3C trace context: which span something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    pub trace_id: u128,
    pub span_id: u64,
    pub sampled: bool,
}

impl SpanContext {
    /// Reads a `traceparent`; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split('-').collect();
        let [version, trace_id, span_id, flags, rest @ ..] = fields.as_slice() else {
            return None;
        };
        let widths = [(version, 2), (trace_id, 32), (span_id, 16), (flags, 2)];
        let is_lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let fits = widths
            .iter()
            .all(|(field, width)| field.len() == *width && field.bytes().all(is_lower_hex));
        if !fits || *version == "ff" || (*version == "00" && !rest.is_empty()) {
            return None;
        }
        let context = Self {
            trace_id: u128::from_str_radix(trace_id, 16).ok()?,
            span_id: u64::from_str_radix(span_id, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// The trace's id as logs show it.
    pub fn trace_text(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for SpanContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, span_id) = (self.trace_id, self.span_id);
        let flags = u8::from(self.sampled);
        write!(formatter, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

/// The trace that a `traceparent` names, for logs; empty where it names none.
pub fn trace_id_of(traceparent: &str) -> String {
    let context = SpanContext::parse(traceparent);
    context.map_or(String::new(), |context| context.trace_text())
}

/// The numbers are those of the OpenTelemetry protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Server = 2,
    Producer = 4,
    Consumer = 5,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    Text(String),
    Number(i64),
}

/// A span; its times are those of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub context: SpanContext,
    /// 0 for the first span of a trace.
    pub parent_span_id: u64,
    pub name: &'static str,
    pub kind: SpanKind,
    pub begun_ns: i64,
    pub ended_ns: i64,
    pub failed: bool,
    pub attributes: Vec<(&'static str, Attribute)>,
}

impl Span {
    pub fn number(&mut self, name: &'static str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.attributes.push((name, Attribute::Number(value)));
    }

    pub fn text(&mut self, name: &'static str, value: &str) {
        let value = Attribute::Text(value.to_owned());
        self.attributes.push((name, value));
    }
}

/// A span under way; boxed, because most replicas record none.
pub type OpenSpan = Option<Box<Span>>;

/// What the frames that a span sends carry.
pub fn context_of(span: &OpenSpan) -> Option<SpanContext> {
    span.as_ref().map(|span| span.context)
}

/// The trace of a span, for logs; empty where none is recorded.
pub fn trace_text(span: &OpenSpan) -> String {
    context_of(span).map_or(String::new(), |context| context.trace_text())
}

/// Ends a span and hands it over, if it is recorded.
pub fn end(span: OpenSpan, ended_ns: i64, out: &mut Vec<Command>) {
    if let Some(mut span) = span
        && span.context.sampled
    {
        span.ended_ns = ended_ns;
        out.push(Command::Span(span));
    }
}

/// Begins spans; their numbers are draws that no two starts of any replica of a run share.
#[derive(Debug)]
pub struct Tracer {
    enabled: bool,
    key: u64,
    serial: u64,
}

impl Tracer {
    pub fn new(settings: &Settings, incarnation: u64) -> Self {
        let started = mix(mix(settings.seed, incarnation), settings.index as u64);
        Self {
            enabled: !settings.traces.is_empty(),
            key: started,
            serial: 0,
        }
    }

    pub fn begin(
        &mut self,
        name: &'static str,
        kind: SpanKind,
        parent: Option<SpanContext>,
        begun_ns: i64,
    ) -> OpenSpan {
        if !self.enabled {
            return None;
        }
        let span_id = self.draw();
        let context = match parent {
            Some(parent) => SpanContext { span_id, ..parent },
            None => SpanContext {
                trace_id: u128::from(self.draw()) << 64 | u128::from(self.draw()),
                span_id,
                sampled: true,
            },
        };
        Some(Box::new(Span {
            context,
            parent_span_id: parent.map_or(0, |parent| parent.span_id),
            name,
            kind,
            begun_ns,
            ended_ns: begun_ns,
            failed: false,
            attributes: Vec::new(),
        }))
    }

    fn draw(&mut self) -> u64 {
        self.serial += 1;
        // 0 is no valid number of a span.
        mix(self.key, self.serial).max(1)
    }
}
