package node

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"driftlab/replica/internal/core"
)

// monotonicNs reads the clock that all containers of a host share.
func monotonicNs() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // The kernel always has this clock.
	}
	return now.Nano()
}

func realtimeNs() uint64 { return uint64(time.Now().UnixNano()) }

// alarm wakes its owner at an absolute time of the monotonic clock. The runtime's own timers
// are rounded up to whole milliseconds when a process is idle; the kernel's timer is not.
type alarm struct {
	descriptor int
	file       *os.File
	// rings carries at most one signal; the owner looks at its timers, not at the signal.
	rings chan struct{}
	// armedNs is what the kernel's timer is set to; 0 when it is off.
	armedNs int64
}

func newAlarm() (*alarm, error) {
	flags := unix.TFD_NONBLOCK | unix.TFD_CLOEXEC
	descriptor, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, flags)
	if err != nil {
		return nil, err
	}
	made := &alarm{
		descriptor: descriptor,
		file:       os.NewFile(uintptr(descriptor), "timer"),
		rings:      make(chan struct{}, 1),
	}
	go made.listen()
	return made, nil
}

func (a *alarm) listen() {
	var expirations [8]byte
	for {
		if _, err := a.file.Read(expirations[:]); err != nil {
			return
		}
		select {
		case a.rings <- struct{}{}:
		default:
		}
	}
}

// set moves the alarm; only its owner calls it.
func (a *alarm) set(atNs int64) error {
	if atNs == a.armedNs {
		return nil
	}
	a.armedNs = atNs
	// The kernel reads zero as "off", and a time that has passed as "now".
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(atNs, 1))}
	return unix.TimerfdSettime(a.descriptor, unix.TFD_TIMER_ABSTIME, &spec, nil)
}

func (a *alarm) close() { a.file.Close() }

// deadline is a timer of the state machine and its time.
type deadline struct {
	atNs  int64
	order uint64
	timer core.Timer
}

func (d *deadline) before(other *deadline) bool {
	return d.atNs < other.atNs || d.atNs == other.atNs && d.order < other.order
}

// deadlines is a binary heap with the earliest at its root; equal times keep their order.
type deadlines struct {
	heap  []deadline
	count uint64
}

func (d *deadlines) push(atNs int64, timer core.Timer) {
	d.count++
	d.heap = append(d.heap, deadline{atNs: atNs, order: d.count, timer: timer})
	child := len(d.heap) - 1
	for child > 0 {
		parent := (child - 1) / 2
		if !d.heap[child].before(&d.heap[parent]) {
			return
		}
		d.heap[child], d.heap[parent] = d.heap[parent], d.heap[child]
		child = parent
	}
}

// popDue takes the earliest timer out if its time has come.
func (d *deadlines) popDue(nowNs int64) (core.Timer, bool) {
	if len(d.heap) == 0 || d.heap[0].atNs > nowNs {
		return core.Timer{}, false
	}
	due := d.heap[0].timer
	last := len(d.heap) - 1
	d.heap[0] = d.heap[last]
	d.heap = d.heap[:last]
	parent := 0
	for {
		child := 2*parent + 1
		if child >= last {
			return due, true
		}
		if child+1 < last && d.heap[child+1].before(&d.heap[child]) {
			child++
		}
		if !d.heap[child].before(&d.heap[parent]) {
			return due, true
		}
		d.heap[child], d.heap[parent] = d.heap[parent], d.heap[child]
		parent = child
	}
}
