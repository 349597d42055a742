package node

import (
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/settings"
)

func TestBucketLetsBytesLeaveAtItsRate(t *testing.T) {
	b := &bucket{bytesPerS: 1000}
	nowNs := int64(500e9)
	if at := b.leaveNs(nowNs, bucketBytesMin); at != nowNs {
		t.Errorf("a full bucket holds %d ns back", at-nowNs)
	}
	if at := b.leaveNs(nowNs, 100); at != nowNs+100e6 {
		t.Errorf("100 bytes at 1000 a second leave after %d ns", at-nowNs)
	}
	if at := b.leaveNs(nowNs+1000e9, 2*bucketBytesMin); at != nowNs+1000e9 {
		t.Errorf("a frame as large as the bucket waits %d ns", at-nowNs-1000e9)
	}
	if at := b.leaveNs(nowNs+1000e9, 1); at != nowNs+1000e9+1e6 {
		t.Errorf("the next one waits %d ns", at-nowNs-1000e9)
	}
}

func TestOutboxOfBoundedBytes(t *testing.T) {
	counters := &core.Counters{}
	queue := &link{outbox: newOutbox(counters, queueFramesMax)}
	queue.bytesMax = 100
	queue.open()
	queue.send(make([]byte, 101), true)
	if counters.Get(core.SendQueueFull) != 1 || queue.full(0) {
		t.Error("a frame over the limit is dropped, and an empty queue is not full")
	}
	queue.send(make([]byte, 40), true)
	if queue.full(0) || !queue.full(1) {
		t.Error("one more fits, two do not")
	}
	queue.send(make([]byte, 30), false)
	if !queue.full(0) || queue.waitingBytes.Load() != 70 || queue.waitingFrames.Load() != 2 {
		t.Errorf("%d bytes wait", queue.waitingBytes.Load())
	}
	queue.shut(0)
	if queue.waitingBytes.Load() != 0 || queue.waitingFrames.Load() != 0 ||
		counters.Get(core.Unsent) != 2 {
		t.Errorf("%d bytes are left", queue.waitingBytes.Load())
	}
}

func TestPoolReplacesWhatIsClosed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := newPool(1)
	<-p.wanted
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.put(connection)
	other.Close()
	select {
	case <-p.wanted:
	case <-time.After(5 * time.Second):
		t.Fatal("nobody notices")
	}
	if p.take() != nil {
		t.Error("a closed connection is given away")
	}
}

func TestOneshotClusterConverges(t *testing.T) {
	c := newCluster(t, 3, func(s *settings.Settings) { s.Mode, s.Wire = "sync", "oneshot" })
	client := c.dial()
	for _, token := range []string{"a", "b", "c"} {
		if answer := client.write(token); answer.GetIdempotencyToken() != token {
			t.Fatalf("answer %v", answer)
		}
	}
	c.converged(3)
}

func TestSkew(t *testing.T) {
	const hourNs = int64(time.Hour)
	for _, test := range []struct {
		faults  faults
		afterNs int64
		want    int64
		skewed  bool
	}{
		{faults{}, hourNs, 0, false},
		{faults{ClockOffsetNs: -5}, hourNs, -5, true},
		{faults{ClockDriftPpm: 100}, 0, 0, true},
		{faults{ClockDriftPpm: -1}, 1_999_999, -1, true},
		{faults{ClockDriftPpm: 100_000, ClockOffsetNs: 1}, 1000 * hourNs, 100*hourNs + 1, true},
	} {
		test.faults.sinceNs = 7
		if got, skewed := test.faults.skewNs(7 + test.afterNs); got != test.want || skewed != test.skewed {
			t.Errorf("%+v: %d, %v", test, got, skewed)
		}
	}
}

func TestFaultsAreSetWholeOrNotAtAll(t *testing.T) {
	change := func(f faults, text string) (faults, error) {
		var wanted map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &wanted); err != nil {
			t.Fatal(err)
		}
		return f.change(50, wanted)
	}
	first, err := change(faults{}, `{"clock_offset_ns": 3, "fsync_ns": 4}`)
	if err != nil || first != (faults{ClockOffsetNs: 3, FsyncNs: 4, sinceNs: 50}) {
		t.Errorf("%+v: %v", first, err)
	}
	first.sinceNs = 1
	if again, err := change(first, `{"service_ns": 9}`); err != nil || again.sinceNs != 1 ||
		again.FsyncNs != 4 || again.ServiceNs != 9 {
		t.Errorf("%+v: %v", again, err)
	}
	for _, text := range []string{`{"fsync_ns": null}`, `{"fsync_ns": -1}`, `{"disk": 1}`, `{"fsync_ns": 1e99}`} {
		if _, err := change(first, text); err == nil {
			t.Errorf("taken: %s", text)
		}
	}
}

func TestPauseEndsWithTheNode(t *testing.T) {
	n := &Node{closing: make(chan struct{})}
	before := monotonicNs()
	n.pause(3 * time.Millisecond)
	if waited := monotonicNs() - before; waited < 3e6 {
		t.Errorf("waited %d ns", waited)
	}
	close(n.closing)
	done := make(chan struct{})
	go func() {
		n.pause(time.Hour)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("it waits on")
	}
}

func TestPartialFramesAreCounted(t *testing.T) {
	c := newCluster(t, 2, nil)
	client := c.dial()
	client.Write([]byte{0, 0, 0, 9, 1})
	client.Conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, client)
	if got := c.state(0).Counters["partial_frames"]; got != 1 {
		t.Errorf("%d partial frames", got)
	}
}
