package hold

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

func start(toxicity float32) (*toxics.ToxicWrapper, *toxics.ToxicStub, chan *stream.StreamChunk, chan *stream.StreamChunk) {
	input, output := make(chan *stream.StreamChunk), make(chan *stream.StreamChunk, 10)
	stub := toxics.NewToxicStub(input, output)
	wrapper := &toxics.ToxicWrapper{Toxic: new(Toxic), Toxicity: toxicity}
	go stub.Run(wrapper)
	return wrapper, stub, input, output
}

func TestWhatComesWaitsAndLeavesInOrderAsIfSentThen(t *testing.T) {
	wrapper, stub, input, output := start(1)
	early := time.Now().Add(-time.Hour)
	for _, text := range []string{"a", "bc"} {
		input <- &stream.StreamChunk{Data: []byte(text), Timestamp: early}
	}
	select {
	case <-output:
		t.Fatal("it did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	released := time.Now()
	if !stub.InterruptToxic() {
		t.Fatal("not interrupted")
	}
	for _, want := range []string{"a", "bc"} {
		chunk := <-output
		if string(chunk.Data) != want || chunk.Timestamp.Before(released) {
			t.Fatalf("got %q of %v", chunk.Data, chunk.Timestamp)
		}
	}
	shown, err := json.Marshal(wrapper.Toxic)
	if err != nil || string(shown) != `{"held_bytes":3}` {
		t.Fatalf("%s %v", shown, err)
	}
}

func TestASourceThatEndsMeanwhileEndsTheConnectionAfterwards(t *testing.T) {
	wrapper, stub, input, output := start(1)
	input <- &stream.StreamChunk{Data: []byte("a"), Timestamp: time.Now()}
	close(input)
	time.Sleep(5 * time.Millisecond)
	if !stub.InterruptToxic() {
		t.Fatal("not interrupted")
	}
	wrapper.Toxicity = 0
	go stub.Run(wrapper)
	if chunk := <-output; string(chunk.Data) != "a" {
		t.Fatalf("got %v", chunk)
	}
	if chunk, open := <-output; open {
		t.Fatalf("got %v, not the end", chunk)
	}
}

func TestNothingWaitsWhileItDoesNotAct(t *testing.T) {
	_, _, input, output := start(0)
	input <- &stream.StreamChunk{Data: []byte("a"), Timestamp: time.Now()}
	if chunk := <-output; string(chunk.Data) != "a" {
		t.Fatalf("got %v", chunk)
	}
}
