package node

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"driftlab/replica/internal/core"
	"driftlab/replica/wire"
)

const (
	// spansQueued bounds the spans that wait to be exported, spansOpen of each kind the open ones.
	spansQueued   = 2048
	spansOpen     = 8192
	spansPerBatch = 512
	exportTimeout = time.Second
	exportEvery   = 500 * time.Millisecond
)

// tracing makes the spans of a replica. Only the owner uses it; a nil one records nothing.
type tracing struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	// writes holds the spans of requests that are not answered, by connection and token.
	writes map[writeKey][]trace.Span
	open   int
	// replications holds the spans of attempts and repairs that are not acknowledged.
	replications map[replicationKey]*replication
}

type writeKey struct {
	connection uint64
	token      string
}

type replicationKey struct {
	target   int
	sequence uint64
}

type replication struct{ update, repair trace.Span }

// newTracing returns nil where the settings want no traces.
func (n *Node) newTracing() (*tracing, error) {
	if n.settings.Traces == "" {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(n.settings.Traces+"/v1/traces"),
		otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}),
		// The settings say where to; nothing in the environment shall send it elsewhere.
		otlptracehttp.WithProxy(func(*http.Request) (*url.URL, error) { return nil, nil }))
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		n.logger.Info("spans are lost", "error", err)
	}))
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(spansQueued),
			sdk.WithMaxExportBatchSize(spansPerBatch), sdk.WithExportTimeout(exportTimeout),
			sdk.WithBatchTimeout(exportEvery)),
		sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample())),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", n.settings.Name),
			attribute.String("service.instance.id", n.settings.RunID),
			attribute.String("driftlab.runtime", "go"))))
	return &tracing{
		provider: provider, tracer: provider.Tracer("driftlab/replica"),
		writes:       make(map[writeKey][]trace.Span),
		replications: make(map[replicationKey]*replication),
	}, nil
}

// start opens a span below the one that a traceparent names, or a root.
func (t *tracing) start(name, parent string, kind trace.SpanKind, options ...trace.SpanStartOption) trace.Span {
	carrier := propagation.MapCarrier{"traceparent": parent}
	above := propagation.TraceContext{}.Extract(context.Background(), carrier)
	_, span := t.tracer.Start(above, name, append(options, trace.WithSpanKind(kind))...)
	return span
}

// traceparent names a span to others.
func traceparent(span trace.Span) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), span), carrier)
	return carrier["traceparent"]
}

// traceID is for log lines, "" without a span.
func traceID(span trace.Span) string {
	if span == nil || !span.SpanContext().HasTraceID() {
		return ""
	}
	return span.SpanContext().TraceID().String()
}

func finish(span trace.Span, outcome string) {
	if span != nil {
		span.SetAttributes(attribute.String("driftlab.outcome", outcome))
		span.End()
	}
}

// write opens the span of a client's request.
func (t *tracing) write(connection uint64, envelope *wire.Envelope, read time.Time) trace.Span {
	if t == nil || t.open >= spansOpen {
		return nil
	}
	token := envelope.GetIdempotencyToken()
	span := t.start("write", envelope.GetTraceparent(), trace.SpanKindServer,
		trace.WithTimestamp(read), trace.WithAttributes(attribute.String("driftlab.token", token)))
	if _, err := core.PayloadKey(envelope.GetPayload()); err != nil || token == "" {
		finish(span, "malformed")
		return span
	}
	key := writeKey{connection, token}
	t.writes[key] = append(t.writes[key], span)
	t.open++
	return span
}

// answered ends the span of the oldest request that an answer is for.
func (t *tracing) answered(connection uint64, envelope *wire.Envelope, sent bool) {
	if t == nil {
		return
	}
	key := writeKey{connection, envelope.GetIdempotencyToken()}
	spans := t.writes[key]
	if len(spans) == 0 {
		return
	}
	outcome := "acknowledged"
	switch {
	case !sent:
		outcome = "dropped"
	case envelope.GetKind() == wire.Kind_KIND_WRITE_REJECT:
		outcome = "rejected"
	}
	if sequence := envelope.GetSequence(); sequence > 0 {
		spans[0].SetAttributes(attribute.Int64("driftlab.sequence", int64(sequence)))
	}
	finish(spans[0], outcome)
	t.open--
	if t.writes[key] = spans[1:]; len(spans) == 1 {
		delete(t.writes, key)
	}
}

// hungUp ends the spans of requests whose client is gone.
func (t *tracing) hungUp(connection uint64) {
	if t == nil {
		return
	}
	for key, spans := range t.writes {
		if key.connection == connection {
			for _, span := range spans {
				finish(span, "dropped")
			}
			t.open -= len(spans)
			delete(t.writes, key)
		}
	}
}

// replicate opens the span of an attempt or a repair and lets the frame name it.
func (t *tracing) replicate(target int, name string, envelope *wire.Envelope) {
	if t == nil || len(t.replications) >= spansOpen {
		return
	}
	span := t.start("replicate", envelope.GetTraceparent(), trace.SpanKindProducer,
		trace.WithAttributes(
			attribute.String("driftlab.follower", name),
			attribute.Int64("driftlab.sequence", int64(envelope.GetSequence())),
			attribute.Int64("driftlab.attempt", int64(envelope.GetAttempt()))))
	envelope.Traceparent = traceparent(span)
	key := replicationKey{target, envelope.GetSequence()}
	spans := t.replications[key]
	if spans == nil {
		spans = &replication{}
		t.replications[key] = spans
	}
	place := &spans.update
	if envelope.GetKind() == wire.Kind_KIND_REPAIR {
		place = &spans.repair
	}
	finish(*place, "given_up")
	*place = span
}

// acknowledged ends the spans of what a follower has.
func (t *tracing) acknowledged(target int, sequence uint64) {
	if t == nil {
		return
	}
	key := replicationKey{target, sequence}
	if spans := t.replications[key]; spans != nil {
		finish(spans.update, "acknowledged")
		finish(spans.repair, "acknowledged")
		delete(t.replications, key)
	}
}

// acknowledgedUpTo does so for a whole prefix.
func (t *tracing) acknowledgedUpTo(target int, prefix uint64) {
	if t == nil {
		return
	}
	for key := range t.replications {
		if key.target == target && key.sequence <= prefix {
			t.acknowledged(target, key.sequence)
		}
	}
}

// timedOut ends the span of an attempt.
func (t *tracing) timedOut(target int, sequence uint64) {
	if t == nil {
		return
	}
	key := replicationKey{target, sequence}
	if spans := t.replications[key]; spans != nil {
		finish(spans.update, "timed_out")
		if spans.update = nil; spans.repair == nil {
			delete(t.replications, key)
		}
	}
}

// attemptID is the trace of the attempt outstanding to a replica.
func (t *tracing) attemptID(target int, sequence uint64) string {
	if t == nil {
		return ""
	}
	if spans := t.replications[replicationKey{target, sequence}]; spans != nil {
		return traceID(spans.update)
	}
	return ""
}

// store opens the span of an entry that came.
func (t *tracing) store(envelope *wire.Envelope, read time.Time) trace.Span {
	if t == nil {
		return nil
	}
	return t.start("store", envelope.GetTraceparent(), trace.SpanKindConsumer,
		trace.WithTimestamp(read), trace.WithAttributes(
			attribute.Int64("driftlab.sequence", int64(envelope.GetSequence()))))
}

// close ends what is open and exports what is left.
func (t *tracing) close() {
	if t == nil {
		return
	}
	for _, spans := range t.writes {
		for _, span := range spans {
			finish(span, "dropped")
		}
	}
	for _, spans := range t.replications {
		finish(spans.update, "given_up")
		finish(spans.repair, "given_up")
	}
	limited, cancel := context.WithTimeout(context.Background(), exportTimeout)
	defer cancel()
	t.provider.Shutdown(limited)
}
