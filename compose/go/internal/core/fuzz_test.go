package core

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"driftlab/replica/wire"
)

// FuzzReceive feeds any envelope to a leader and to a follower that already hold something:
// whatever comes, they neither panic nor go back on what they hold.
func FuzzReceive(f *testing.F) {
	for _, envelope := range []*wire.Envelope{
		{}, updateFrame(2, "k"), updateFrame(1<<63, "k"),
		{Kind: wire.Kind_KIND_DIGEST, Source: "f1", Sequence: 1, Incarnation: 1 << 63},
		{Kind: wire.Kind_KIND_UPDATE_ACK, Source: "f2", Sequence: 1},
		{Kind: wire.Kind_KIND_UPDATE_ACK, Source: "f2", Sequence: 1<<64 - 1},
	} {
		encoded, err := proto.Marshal(envelope)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		envelope := &wire.Envelope{}
		if proto.Unmarshal(encoded, envelope) != nil {
			return
		}
		leader, follower := newBench(t, testConfig("leader")), newBench(t, testConfig("f1"))
		leader.accept("a")
		follower.take(1, "a")
		for _, b := range []*bench{leader, follower} {
			stored := len(b.appended)
			b.run(b.machine.Receive(b.nowNs, envelope))
			b.run(b.machine.Receive(b.nowNs, envelope))
			if len(b.appended) > stored+1 {
				t.Fatal("the same frame was stored twice")
			}
			b.run(b.machine.Committed(b.nowNs, len(b.appended)-stored))
			if status := b.machine.Status(); status.Prefix < 1 || status.Keys < 1 {
				t.Fatalf("%+v", status)
			}
		}
	})
}
