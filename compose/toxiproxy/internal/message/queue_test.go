package message

import (
	"math/rand"
	"sort"
	"testing"
)

func TestQueueReleasesByDueTimeThenArrival(t *testing.T) {
	chooser := rand.New(rand.NewSource(9))
	var q queue
	var wanted []waiting
	for sequence := uint64(0); sequence < 5_000; sequence++ {
		entry := waiting{dueNS: chooser.Int63n(500), sequence: sequence, frame: make([]byte, 5)}
		q.push(entry)
		wanted = append(wanted, entry)
	}
	if q.bytes != 25_000 {
		t.Errorf("%d bytes are queued, want 25000", q.bytes)
	}
	sort.Slice(wanted, func(a, b int) bool { return wanted[a].before(&wanted[b]) })
	for index := range wanted {
		got := q.pop()
		if got.dueNS != wanted[index].dueNS || got.sequence != wanted[index].sequence {
			t.Fatalf("place %d has %d/%d, want %d/%d", index, got.dueNS, got.sequence,
				wanted[index].dueNS, wanted[index].sequence)
		}
	}
	if q.bytes != 0 || len(q.heap) != 0 {
		t.Errorf("%d bytes in %d entries are left", q.bytes, len(q.heap))
	}
}
