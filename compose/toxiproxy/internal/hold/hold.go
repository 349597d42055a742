// Package hold provides the toxic "hold": while it acts, what comes waits, and leaves when it ends as if it had been sent
// then. It goes before "message", so that what it lets go meets the fate and the delay of the moment at which it leaves.
package hold

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

// TypeName is the toxic's type in the HTTP API.
const TypeName = "hold"

const (
	limitBytes   = 64 << 20 // of one connection; beyond that the sender is made to wait
	flushTimeout = 5 * time.Second
)

// Toxic has no attributes to set. Its zero value works, because the library makes it by reflection.
type Toxic struct {
	heldBytes atomic.Int64 // over all connections since the toxic was made
}

// Register makes the toxic known to the library.
func Register() {
	toxics.Register(TypeName, new(Toxic))
}

// Pipe keeps what comes until it is interrupted, which a change of the toxicity does, and then lets it go in order.
func (t *Toxic) Pipe(stub *toxics.ToxicStub) {
	var waiting []*stream.StreamChunk
	waitingBytes, ended := 0, false
	for {
		input := stub.Input
		if ended || waitingBytes > limitBytes {
			input = nil
		}
		select {
		case <-stub.Interrupt:
			for _, chunk := range waiting {
				chunk.Timestamp = time.Now()
				if stub.WriteOutput(chunk, flushTimeout) != nil {
					break // the receiver takes nothing; the connection is dead
				}
			}
			return
		case chunk := <-input:
			if chunk == nil {
				ended = true
				continue
			}
			waiting = append(waiting, chunk)
			waitingBytes += len(chunk.Data)
			t.heldBytes.Add(int64(len(chunk.Data)))
		}
	}
}

// MarshalJSON shows how many bytes were held so far.
func (t *Toxic) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]int64{"held_bytes": t.heldBytes.Load()})
}

// UnmarshalJSON takes what was shown and nothing else: there is nothing to set.
func (t *Toxic) UnmarshalJSON(data []byte) error {
	var shown struct {
		HeldBytes int64 `json:"held_bytes"`
	}
	return json.Unmarshal(data, &shown)
}
