package node

import (
	"io"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/frame"
	"driftlab/replica/wire"
)

const (
	inboxMax = 1024
	// turnMax bounds the inputs handled before the disk gets its batch.
	turnMax = 64
	// appendsMax bounds the entries that wait for the disk; beyond it the inbox waits.
	appendsMax = 8192
)

// input is one thing for the owner to handle; exactly one of its groups is set.
type input struct {
	// peer is a frame of another replica; read is when it, or a client's, was read.
	peer *wire.Envelope
	read time.Time
	// write is a client's frame; without it, the client is gone.
	write  *wire.Envelope
	client *client
	// mode is the mode to switch to; done closes when that is done.
	mode string
	done chan struct{}
	// ask looks at the machine between two of its steps; done closes when that is done.
	ask func(core.Machine)
	// correct holds entries of a correction; the answer comes when all of it is durable.
	correct []core.Entry
	answer  chan<- core.Corrections
}

// arrival is an entry that was read and is not answered yet.
type arrival struct {
	read time.Time
	span trace.Span
}

// correction is an answer that waits for the disk.
type correction struct {
	// mark is the number of the last entry that has to be durable.
	mark   uint64
	result core.Corrections
	answer chan<- core.Corrections
}

// owner is the one goroutine that touches the machine.
type owner struct {
	node    *Node
	machine core.Machine
	events  eventLog
	timers  deadlines
	alarm   *alarm
	// links has one place for each replica; those to whom nothing is sent are nil.
	links   []*link
	clients map[uint64]*client
	// appends wait for the disk. storing is the number of entries that are at the disk now.
	appends []*core.Entry
	storing int
	batches chan []*core.Entry
	stored  chan error
	// ordered and reported count the entries given to the disk and those durable, ever.
	ordered, reported uint64
	corrections       []correction
	// arrivals holds, by sequence, what was read and not answered.
	arrivals map[uint64][]arrival
	tracing  *tracing
}

func newOwner(n *Node, machine core.Machine, events io.Writer) (*owner, error) {
	clock, err := newAlarm()
	if err != nil {
		return nil, err
	}
	made := &owner{
		node: n, machine: machine, events: eventLog{writer: events}, alarm: clock,
		links:    make([]*link, len(n.settings.Replicas)),
		clients:  make(map[uint64]*client),
		arrivals: make(map[uint64][]arrival),
		// There is at most one batch at the disk, so that neither side ever blocks the other.
		batches: make(chan []*core.Entry, 1),
		stored:  make(chan error, 1),
	}
	if made.tracing, err = n.newTracing(); err != nil {
		clock.close()
		return nil, err
	}
	for index, name := range n.settings.Replicas {
		if address, found := n.settings.Peers[name]; found {
			made.links[index] = n.newLink(index, name, address)
		}
	}
	return made, nil
}

// start opens the incarnation; it is called before the goroutine runs.
func (o *owner) start() {
	o.execute(o.machine.Start(monotonicNs()))
	o.settle()
}

func (o *owner) run() {
	defer close(o.node.owned)
	defer o.alarm.close()
	defer close(o.batches)
	go o.commit()
	for {
		inbox := o.node.inbox
		if len(o.appends) >= appendsMax {
			inbox = nil
		}
		select {
		case in := <-inbox:
			o.take(in)
			o.takeMore()
		case err := <-o.stored:
			if !o.report(err) {
				return
			}
		case <-o.alarm.rings:
			o.expire()
		case <-o.node.closing:
			o.finish()
			return
		}
		o.settle()
	}
}

// commit stores one batch after the other. While it waits for the disk the next one gathers.
func (o *owner) commit() {
	for batch := range o.batches {
		err := o.node.store.Append(batch)
		if fsyncNs := o.node.faults.Load().FsyncNs; fsyncNs > 0 {
			o.node.counters.Add(core.Stalled, 1)
			o.node.pause(time.Duration(fsyncNs))
		}
		o.stored <- err
	}
}

// settle ends a turn of the owner.
func (o *owner) settle() {
	o.handOver()
	if len(o.timers.heap) > 0 {
		if err := o.alarm.set(o.timers.heap[0].atNs); err != nil {
			o.node.fail(err)
		}
	}
	status := o.machine.Status()
	o.node.metrics.status.Store(&status)
}

// handOver gives the disk what has gathered if it is idle.
func (o *owner) handOver() {
	if o.storing > 0 || len(o.appends) == 0 {
		return
	}
	o.storing = len(o.appends)
	o.batches <- o.appends
	o.appends = nil
}

// report tells the machine what has become durable.
func (o *owner) report(err error) bool {
	count := o.storing
	o.storing = 0
	if err != nil {
		// Nothing may be acknowledged any more; the next start recovers what is on disk.
		o.node.logger.Error("the changelog cannot be stored", "error", err)
		o.node.fail(err)
		return false
	}
	o.handOver()
	o.execute(o.machine.Committed(monotonicNs(), count))
	o.reported += uint64(count)
	for len(o.corrections) > 0 && o.corrections[0].mark <= o.reported {
		o.corrections[0].answer <- o.corrections[0].result
		o.corrections = o.corrections[1:]
	}
	return true
}

// finish stores and reports what was accepted before the node was told to stop.
func (o *owner) finish() {
	o.handOver()
	for o.storing > 0 {
		if !o.report(<-o.stored) {
			return
		}
	}
}

func (o *owner) expire() {
	nowNs := monotonicNs()
	o.alarm.armedNs = 0
	for {
		timer, due := o.timers.popDue(nowNs)
		if !due {
			return
		}
		o.execute(o.machine.Expire(nowNs, timer))
	}
}

// takeMore handles what is waiting already, so that one commit serves a burst.
func (o *owner) takeMore() {
	for range turnMax {
		select {
		case in := <-o.node.inbox:
			o.take(in)
		default:
			return
		}
	}
}

func (o *owner) take(in input) {
	nowNs := monotonicNs()
	switch {
	case in.peer != nil:
		o.receive(nowNs, in.peer, in.read)
	case in.write != nil:
		o.write(nowNs, in)
	case in.client != nil:
		o.tracing.hungUp(in.client.id)
		delete(o.clients, in.client.id)
	case in.ask != nil:
		in.ask(o.machine)
		close(in.done)
	case in.answer != nil:
		o.correct(nowNs, in)
	case in.done != nil:
		o.execute(o.machine.SetMode(nowNs, in.mode))
		close(in.done)
	}
}

func (o *owner) write(nowNs int64, in input) {
	envelope := in.write
	o.clients[in.client.id] = in.client
	request := core.WriteRequest{
		Connection:    in.client.id,
		Token:         envelope.GetIdempotencyToken(),
		CorrelationID: envelope.GetCorrelationId(),
		Payload:       envelope.GetPayload(),
	}
	request.SkewNs, request.Skewed = o.node.faults.Load().skewNs(nowNs)
	span := o.tracing.write(in.client.id, envelope, in.read)
	if span != nil {
		request.Traceparent = traceparent(span)
	}
	o.node.logger.Debug("write", "token", request.Token,
		"correlation_id", request.CorrelationID, "trace_id", traceID(span))
	o.execute(o.machine.Write(nowNs, request))
}

// receive hands a peer's frame to the machine, and follows an entry until it is answered.
func (o *owner) receive(nowNs int64, envelope *wire.Envelope, read time.Time) {
	sequence := envelope.GetSequence()
	if o.node.isLeader() {
		o.execute(o.machine.Receive(nowNs, envelope))
		o.heard(envelope)
		return
	}
	if carriesEntry(envelope) {
		span := o.tracing.store(envelope, read)
		o.node.logger.Debug("entry", "seq", sequence,
			"correlation_id", envelope.GetCorrelationId(), "trace_id", traceID(span))
		o.arrivals[sequence] = append(o.arrivals[sequence], arrival{read, span})
		defer func() {
			if len(o.arrivals[sequence]) == 0 {
				delete(o.arrivals, sequence)
			}
		}()
	}
	commands := o.machine.Receive(nowNs, envelope)
	if slices.Contains(commands, core.Command(core.Ignore{})) {
		if waiting := o.arrivals[sequence]; carriesEntry(envelope) {
			if last := waiting[len(waiting)-1]; last.span != nil {
				last.span.End()
			}
			o.arrivals[sequence] = waiting[:len(waiting)-1]
		}
	}
	o.execute(commands)
}

// heard ends the spans of what a follower says it has.
func (o *owner) heard(envelope *wire.Envelope) {
	if o.tracing == nil {
		return
	}
	for _, each := range o.machine.Status().Acknowledged {
		if each.Follower == envelope.GetSource() {
			if envelope.GetKind() == wire.Kind_KIND_UPDATE_ACK {
				o.tracing.acknowledged(each.Index, envelope.GetSequence())
			} else {
				o.tracing.acknowledgedUpTo(each.Index, each.Prefix)
			}
		}
	}
}

// answered notes that an entry is durable and its acknowledgement on its way.
func (o *owner) answered(sequence uint64) {
	waiting := o.arrivals[sequence]
	if len(waiting) == 0 {
		return
	}
	o.node.metrics.processing.Observe(time.Since(waiting[0].read).Seconds())
	if waiting[0].span != nil {
		waiting[0].span.End()
	}
	if o.arrivals[sequence] = waiting[1:]; len(waiting) == 1 {
		delete(o.arrivals, sequence)
	}
}

func (o *owner) correct(nowNs int64, in input) {
	commands, result := o.machine.Correct(nowNs, in.correct)
	o.execute(commands)
	if slices.ContainsFunc(commands, func(command core.Command) bool {
		_, isAppend := command.(core.Append)
		return isAppend
	}) {
		o.corrections = append(o.corrections, correction{o.ordered, result, in.answer})
		return
	}
	in.answer <- result
}

// carriesEntry says whether a frame brings an entry of the changelog.
func carriesEntry(envelope *wire.Envelope) bool {
	kind := envelope.GetKind()
	return kind == wire.Kind_KIND_UPDATE || kind == wire.Kind_KIND_REPAIR
}

// execute carries out commands. Events go first: whoever sees a frame finds its cause logged.
func (o *owner) execute(commands []core.Command) {
	for _, command := range commands {
		if event, isEvent := command.(core.Emit); isEvent {
			o.events.add(&event)
			o.measure(&event)
		}
	}
	if err := o.events.flush(); err != nil {
		o.node.logger.Error("an event could not be written", "error", err)
	}
	for _, command := range commands {
		switch order := command.(type) {
		case core.Append:
			o.ordered++
			o.appends = append(o.appends, order.Entry)
		case core.SetTimer:
			o.timers.push(order.AtNs, order.Timer)
		case core.Send:
			o.send(order)
		case core.Reply:
			to := o.clients[order.Connection]
			if to != nil {
				if encoded := o.encode(order.Envelope); encoded != nil {
					to.offer(encoded)
				}
			}
			o.tracing.answered(order.Connection, order.Envelope, to != nil)
		case core.TimedOut:
			o.tracing.timedOut(order.Target, order.Sequence)
		case core.Warn:
			target := slices.Index(o.node.settings.Replicas, order.Replica)
			o.node.logger.Warn(order.Message, "from", order.Replica, "seq", order.Sequence,
				"correlation_id", order.CorrelationID,
				"trace_id", o.tracing.attemptID(target, order.Sequence))
		}
	}
}

// measure counts what the events tell.
func (o *owner) measure(event *core.Emit) {
	if event.Name == "released" {
		o.node.metrics.commits.Add(1)
		if event.ClockNs > 0 {
			o.node.metrics.commit.Observe(float64(event.TimeNs-event.ClockNs) / 1e9)
		}
	}
}

func (o *owner) send(order core.Send) {
	to, isEntry := o.links[order.Target], carriesEntry(order.Envelope)
	if isEntry {
		o.tracing.replicate(order.Target, to.name, order.Envelope)
	}
	encoded := o.encode(order.Envelope)
	if encoded == nil {
		return
	}
	if isEntry {
		o.node.counters.Add(core.Transmissions, 1)
		o.node.counters.Add(core.Bytes, uint64(len(encoded)))
	}
	to.send(encoded, isEntry)
	if order.Envelope.GetKind() == wire.Kind_KIND_UPDATE_ACK {
		o.answered(order.Envelope.GetSequence())
	}
}

func (o *owner) encode(envelope *wire.Envelope) []byte {
	if envelope.SchemaVersion = o.node.settings.SchemaVersion; envelope.SchemaVersion > 1 {
		envelope.EnqueuedNs = monotonicNs()
	}
	encoded, err := frame.Append(nil, envelope)
	if err != nil {
		o.node.logger.Error("a frame could not be encoded", "error", err,
			"seq", envelope.GetSequence(), "correlation_id", envelope.GetCorrelationId())
		return nil
	}
	return encoded
}
