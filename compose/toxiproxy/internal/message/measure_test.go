//go:build linux

package message

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"golang.org/x/sys/unix"
)

// BenchmarkRelease measures how late the toxic alone releases frames, at 1,000 frames a second delayed by about 20 ms: not
// by a multiple of the gap, or the arrival of a later frame would wake the loop just in time. Run it with -benchtime
// 5000x.
func BenchmarkRelease(b *testing.B) {
	const delay, gap = 20_370 * time.Microsecond, time.Millisecond
	link := newBench(b, constantDelay(delay))
	readNS := make([]int64, b.N)
	late := make([]int64, 0, b.N)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for chunk := range link.output {
			now := nowNS()
			for data := chunk.Data; len(data) > 0; data = data[8:] {
				number := binary.BigEndian.Uint32(data[headerBytes:])
				late = append(late, now-readNS[number]-int64(delay))
			}
		}
	}()
	begin := time.Now()
	for number := range b.N {
		if wait := time.Until(begin.Add(time.Duration(number) * gap)); wait > 0 {
			pause := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&pause, nil)
		}
		now := time.Now()
		readNS[number] = int64(now.Sub(start))
		link.input <- &stream.StreamChunk{Data: numbered(number), Timestamp: now}
	}
	close(link.input)
	<-done
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2])/1e3, "p50-µs-late")
	b.ReportMetric(float64(late[len(late)*99/100])/1e3, "p99-µs-late")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDecide measures the work for one frame with two tables, loss, duplication and reordering.
func BenchmarkDecide(b *testing.B) {
	toxic := newToxic(b, `{"key":1,"tables":[`+tableJSON(5)+`,`+tableJSON(6)+
		`],"rows":[[0,50000,50000,50000,1000,0,1,-1,-1]]}`)
	c := toxic.NewState().(*connection)
	frame := frameOf(make([]byte, 128))
	b.ReportAllocs()
	for range b.N {
		toxic.mutex.Lock()
		toxic.decide(c, frame, 0)
		toxic.mutex.Unlock()
		for len(c.pending.heap) > 0 {
			c.pending.pop()
		}
	}
}
