package message

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// monotonicNS is CLOCK_MONOTONIC, which all processes of a machine share.
func monotonicNS() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return now.Nano()
}

// kernelAlarm is a timerfd: the kernel wakes the process within tens of microseconds of the instant.
type kernelAlarm struct {
	descriptor int
	file       *os.File
	wake       chan struct{}
}

// newAlarm falls back on the runtime's timers where the process has no file descriptor to spare.
func newAlarm() alarm {
	descriptor, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newRuntimeAlarm()
	}
	a := &kernelAlarm{
		descriptor: descriptor,
		file:       os.NewFile(uintptr(descriptor), "timerfd"),
		wake:       make(chan struct{}, 1),
	}
	go a.watch()
	return a
}

// watch ends when the file is closed.
func (a *kernelAlarm) watch() {
	var expirations [8]byte
	for {
		if _, err := a.file.Read(expirations[:]); err != nil {
			return
		}
		signal(a.wake)
	}
}

func (a *kernelAlarm) arm(delay time.Duration) {
	// A delay of 0 would disarm it.
	value := unix.NsecToTimespec(int64(max(delay, 1)))
	if err := unix.TimerfdSettime(a.descriptor, 0, &unix.ItimerSpec{Value: value}, nil); err != nil {
		signal(a.wake) // cannot happen on an open descriptor; the loop then polls rather than sleeps for ever
	}
}

func (a *kernelAlarm) fired() <-chan struct{} { return a.wake }
func (a *kernelAlarm) close()                 { _ = a.file.Close() }
