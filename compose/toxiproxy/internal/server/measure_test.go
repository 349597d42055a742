//go:build linux

package server

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"driftlab/toxiproxy/internal/fate"
)

// pace writes frames one by one at a rate, those of each tick together, as a loaded sender does.
func pace(b *testing.B, connection net.Conn, count, perSecond int) {
	const tick = 500 * time.Microsecond
	begin := time.Now()
	for number := range count {
		due := begin.Add(time.Duration(number) * time.Second / time.Duration(perSecond)).Truncate(tick)
		if wait := time.Until(due); wait > 0 {
			pause := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&pause, nil)
		}
		if _, err := connection.Write(frame(number)); err != nil {
			b.Fatal(err)
		}
	}
}

// report publishes quantiles of the time from write to read beyond the delay asked for.
func report(b *testing.B, arrivals []arrival, delay time.Duration) {
	late := make([]int64, len(arrivals))
	for index, got := range arrivals {
		late[index] = got.readNS - got.sentNS - int64(delay)
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(late[len(late)*99/100])/1e3, "p99-µs")
	b.ReportMetric(0, "ns/op")
}

func (l *link) waitForArrivals(count int) []arrival {
	for {
		arrivals, _ := l.received()
		if len(arrivals) == count {
			return arrivals
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// BenchmarkIdle measures one way over loopback without a toxic, with an idle row, and with a delay of about 20 ms
// that is taken off again. Run it with -benchtime 3000x.
func BenchmarkIdle(b *testing.B) {
	const delay = 20_370 * time.Microsecond // no multiple of the gap: no later frame wakes the loop
	delayed := fate.CleanRow
	delayed[fate.Table0] = 0
	for _, setting := range []struct {
		name, attributes string
		delay            time.Duration
	}{
		{"no toxic", "", 0},
		{"idle row", attributes(b, 1, nil, fate.CleanRow), 0},
		{"20 ms", attributes(b, 1, []fate.Table{constantTable(delay)}, delayed), delay},
	} {
		b.Run(setting.name, func(b *testing.B) {
			l := newLink(b, setting.attributes)
			pace(b, l.dial(), b.N, 1_000)
			report(b, l.waitForArrivals(b.N), setting.delay)
		})
	}
}

// BenchmarkRate looks for the rate on one connection at which a delay of 20 ms becomes 1 ms too long. Run it with
// -benchtime 50000x. Sender, server and receiver share the process.
func BenchmarkRate(b *testing.B) {
	const delay = 20 * time.Millisecond
	delayed := fate.CleanRow
	delayed[fate.Table0] = 0
	for _, perSecond := range []int{5_000, 10_000, 20_000, 40_000, 80_000, 120_000, 160_000} {
		for _, toxic := range []string{"", attributes(b, 1, []fate.Table{constantTable(delay)}, delayed)} {
			b.Run(fmt.Sprintf("%d per s, toxic %t", perSecond, toxic != ""), func(b *testing.B) {
				l := newLink(b, toxic)
				pace(b, l.dial(), b.N, perSecond)
				arrivals := l.waitForArrivals(b.N)
				asked := time.Duration(0)
				if toxic != "" {
					asked = delay
					sum := l.sum()
					b.ReportMetric(float64(sum.LateNSTotal)/float64(sum.Delivered)/1e3, "mean-µs-inside")
				}
				took := arrivals[len(arrivals)-1].sentNS - arrivals[0].sentNS
				b.ReportMetric(float64(b.N)*1e9/float64(took), "frames/s")
				report(b, arrivals, asked)
			})
		}
	}
}

// BenchmarkUpdate measures one PATCH of the row on one keep-alive connection, with four live connections on the link.
func BenchmarkUpdate(b *testing.B) {
	l := newLink(b, attributes(b, 1, nil, fate.CleanRow, fate.CleanRow))
	for range 4 {
		l.send(l.dial(), 0, 1, 0)
	}
	l.settle(4)
	b.ResetTimer()
	for index := range b.N {
		l.patchRow(index % 2)
	}
	b.StopTimer()
}
