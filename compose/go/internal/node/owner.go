package node

import (
	"io"
	"sync/atomic"

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
	// peer is a frame of another replica.
	peer *wire.Envelope
	// write is a client's frame; without it, the client is gone.
	write  *wire.Envelope
	client *client
	// mode is the mode to switch to; done closes when that is done.
	mode string
	done chan struct{}
	// inspect receives a copy of the state.
	inspect chan<- inspection
}

// inspection is a consistent copy of the state.
type inspection struct {
	status core.Status
	cells  []core.Cell
}

// gauges are the numbers that the control interface reads without asking the owner.
type gauges struct {
	lastSequence, prefix, waiting, outstanding atomic.Int64
	breakers                                   atomic.Pointer[[]core.Breaker]
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
}

func newOwner(n *Node, machine core.Machine, events io.Writer) (*owner, error) {
	clock, err := newAlarm()
	if err != nil {
		return nil, err
	}
	made := &owner{
		node: n, machine: machine, events: eventLog{writer: events}, alarm: clock,
		links:   make([]*link, len(n.settings.Replicas)),
		clients: make(map[uint64]*client),
		// There is at most one batch at the disk, so that neither side ever blocks the other.
		batches: make(chan []*core.Entry, 1),
		stored:  make(chan error, 1),
	}
	framesMax := queueFramesMax
	if n.bug == core.BugUnboundedQueue {
		framesMax = queueFramesBug
	}
	for index, name := range n.settings.Replicas {
		if address, found := n.settings.Peers[name]; found {
			made.links[index] = &link{
				outbox: newOutbox(n.counters, framesMax), name: name, address: address,
				logger: n.logger, overlooks: n.bug == core.BugLossOverlooked,
			}
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
		o.stored <- o.node.store.Append(batch)
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
	o.node.gauges.lastSequence.Store(int64(status.LastSequence))
	o.node.gauges.prefix.Store(int64(status.Prefix))
	o.node.gauges.waiting.Store(int64(status.Waiting))
	o.node.gauges.outstanding.Store(int64(status.Outstanding))
	o.node.gauges.breakers.Store(&status.Breakers)
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
		o.execute(o.machine.Receive(nowNs, in.peer))
	case in.write != nil:
		o.write(nowNs, in.write, in.client)
	case in.client != nil:
		delete(o.clients, in.client.id)
	case in.inspect != nil:
		in.inspect <- inspection{status: o.machine.Status(), cells: o.machine.Cells()}
	case in.done != nil:
		o.execute(o.machine.SetMode(nowNs, in.mode))
		close(in.done)
	}
}

func (o *owner) write(nowNs int64, envelope *wire.Envelope, from *client) {
	o.clients[from.id] = from
	o.node.logger.Debug("write", "token", envelope.GetIdempotencyToken(),
		"correlation_id", envelope.GetCorrelationId())
	o.execute(o.machine.Write(nowNs, core.WriteRequest{
		Connection:    from.id,
		Token:         envelope.GetIdempotencyToken(),
		CorrelationID: envelope.GetCorrelationId(),
		Payload:       envelope.GetPayload(),
	}))
}

// execute carries out commands. Events go first: whoever sees a frame finds its cause logged.
func (o *owner) execute(commands []core.Command) {
	for _, command := range commands {
		if event, isEvent := command.(core.Emit); isEvent {
			o.events.add(&event)
		}
	}
	if err := o.events.flush(); err != nil {
		o.node.logger.Error("an event could not be written", "error", err)
	}
	for _, command := range commands {
		switch order := command.(type) {
		case core.Append:
			o.appends = append(o.appends, order.Entry)
		case core.SetTimer:
			o.timers.push(order.AtNs, order.Timer)
		case core.Send:
			o.send(order)
		case core.Reply:
			if to := o.clients[order.Connection]; to != nil {
				if encoded := o.encode(order.Envelope); encoded != nil {
					to.offer(encoded)
				}
			}
		case core.Warn:
			o.node.logger.Warn(order.Message, "from", order.Replica, "seq", order.Sequence,
				"correlation_id", order.CorrelationID)
		}
	}
}

func (o *owner) send(order core.Send) {
	encoded := o.encode(order.Envelope)
	if encoded == nil {
		return
	}
	kind := order.Envelope.GetKind()
	if kind == wire.Kind_KIND_UPDATE || kind == wire.Kind_KIND_REPAIR {
		o.node.counters.Add(core.Transmissions, 1)
		o.node.counters.Add(core.Bytes, uint64(len(encoded)))
	}
	o.links[order.Target].offer(encoded)
}

func (o *owner) encode(envelope *wire.Envelope) []byte {
	encoded, err := frame.Append(nil, envelope)
	if err != nil {
		o.node.logger.Error("a frame could not be encoded", "error", err,
			"seq", envelope.GetSequence(), "correlation_id", envelope.GetCorrelationId())
		return nil
	}
	return encoded
}
