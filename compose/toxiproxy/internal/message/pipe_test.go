package message

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

// bench is a toxic between two channels, as the library sets it up for one connection.
type bench struct {
	toxic   *Toxic
	wrapper *toxics.ToxicWrapper
	stub    *toxics.ToxicStub
	input   chan *stream.StreamChunk
	output  chan *stream.StreamChunk
}

func newBench(t testing.TB, attributes string) *bench {
	t.Helper()
	toxic := newToxic(t, attributes)
	b := &bench{
		toxic:   toxic,
		wrapper: &toxics.ToxicWrapper{Toxic: toxic, Toxicity: 1},
		input:   make(chan *stream.StreamChunk),
		output:  make(chan *stream.StreamChunk),
	}
	b.stub = toxics.NewToxicStub(b.input, b.output)
	b.stub.State = toxic.NewState()
	go b.stub.Run(b.wrapper)
	return b
}

func (b *bench) send(data []byte) {
	b.input <- &stream.StreamChunk{Data: data, Timestamp: time.Now()}
}

// update interrupts the connection and starts it again, as the library does for every update.
func (b *bench) update(t testing.TB, attributes string) {
	t.Helper()
	if err := json.Unmarshal([]byte(attributes), b.toxic); err != nil {
		t.Fatal(err)
	}
	if !b.stub.InterruptToxic() {
		t.Fatal("the connection is closed")
	}
	go b.stub.Run(b.wrapper)
}

// numbersUntilClosed returns the numbers in the bodies of the frames that come out.
func (b *bench) numbersUntilClosed(t testing.TB) []uint32 {
	t.Helper()
	var numbers []uint32
	var s splitter
	for chunk := range b.output {
		err := s.push(chunk.Data, func(frame []byte) {
			numbers = append(numbers, binary.BigEndian.Uint32(frame[headerBytes:]))
		})
		if err != nil {
			t.Error(err)
		}
	}
	if len(s.partial) > 0 {
		t.Errorf("% x is left of the output", s.partial)
	}
	return numbers
}

func numbered(number int) []byte {
	return frameOf(binary.BigEndian.AppendUint32(nil, uint32(number)))
}

func constantDelay(delay time.Duration) string {
	return fmt.Sprintf(`{"key":1,"tables":[%s],"rows":[[0,0,0,0,0,0,-1,-1,-1],[1,0,0,0,0,-1,-1,-1,-1],%s]}`,
		tableJSON(int64(delay)), cleanRowJSON)
}

// checkSum verifies that the counts add up, and returns their sum over the rows.
func checkSum(t testing.TB, toxic *Toxic) RowCounts {
	t.Helper()
	answer := look(t, toxic)
	var sum RowCounts
	for _, counts := range answer.Counts {
		sum.Frames += counts.Frames
		sum.Duplicated += counts.Duplicated
		sum.Delivered += counts.Delivered
		sum.Lost += counts.Lost
		sum.Cut += counts.Cut
		sum.Reordered += counts.Reordered
		sum.Corrupted += counts.Corrupted
		sum.Overflow += counts.Overflow
	}
	copies := sum.Delivered + sum.Corrupted + sum.Lost + sum.Cut + sum.Overflow + answer.Queued + answer.QueueDropped
	if sum.Frames+sum.Duplicated != copies {
		t.Errorf("the counts do not add up: %+v", answer)
	}
	return sum
}

func TestInterruptsInMidFlightLoseNothing(t *testing.T) {
	b := newBench(t, constantDelay(5*time.Millisecond))
	const count = 300
	go func() {
		defer close(b.input)
		for number := range count {
			frame := numbered(number)
			b.send(frame[:3]) // an interrupt may fall between the halves of a frame
			if number%7 == 0 {
				b.update(t, `{"row":0}`)
			}
			b.send(frame[3:])
			if number%5 == 0 {
				b.update(t, `{}`)
			}
		}
	}()
	numbers := b.numbersUntilClosed(t)
	if len(numbers) != count {
		t.Fatalf("%d frames of %d arrived", len(numbers), count)
	}
	for index, number := range numbers {
		if number != uint32(index) {
			t.Fatalf("place %d has frame %d: a constant delay must not reorder", index, number)
		}
	}
	if sum := checkSum(t, b.toxic); sum.Frames != count || sum.Delivered != count {
		t.Errorf("counted %+v", sum)
	}
}

func TestInterruptIsTakenWhileTheReceiverDoesNotRead(t *testing.T) {
	b := newBench(t, constantDelay(0))
	b.send(numbered(0))
	time.Sleep(5 * time.Millisecond)
	done := make(chan struct{})
	go func() {
		b.update(t, `{"row":1}`)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("the update waits for the receiver")
	}
	b.send(numbered(1)) // falls to the cut
	close(b.input)
	if numbers := b.numbersUntilClosed(t); len(numbers) != 1 || numbers[0] != 0 {
		t.Errorf("%v arrived, want frame 0", numbers)
	}
}

func TestFramesCountUnderTheRowInWhichTheyWereRead(t *testing.T) {
	b := newBench(t, constantDelay(50*time.Millisecond))
	for number := range 10 {
		b.send(numbered(number))
	}
	for look(t, b.toxic).Counts[0].Frames < 10 {
		time.Sleep(time.Millisecond)
	}
	b.update(t, `{"row":2}`)
	for number := range 5 {
		b.send(numbered(100 + number))
	}
	close(b.input)
	numbers := b.numbersUntilClosed(t)
	if len(numbers) != 15 || numbers[0] != 100 || numbers[14] != 9 {
		t.Errorf("%v arrived, want the 5 without a delay before the 10 with one", numbers)
	}
	counts := look(t, b.toxic).Counts
	if counts[0].Frames != 10 || counts[0].Delivered != 10 || counts[0].DelayNSTotal != 500_000_000 ||
		counts[2].Frames != 5 || counts[2].Delivered != 5 || counts[2].DelayNSTotal != 0 {
		t.Errorf("counted %+v", counts)
	}
}

func TestCleanupFlushesInOrderAndPassesTheBegunFrame(t *testing.T) {
	b := newBench(t, constantDelay(5*time.Minute))
	for number := range 100 {
		b.send(numbered(number))
	}
	last := numbered(100)
	b.send(last[:6])
	if !b.stub.InterruptToxic() {
		t.Fatal("the connection is closed")
	}
	go func() {
		b.toxic.Cleanup(b.stub)
		b.output <- &stream.StreamChunk{Data: last[6:]}
		close(b.output)
	}()
	numbers := b.numbersUntilClosed(t)
	if len(numbers) != 101 {
		t.Fatalf("%d frames of 101 arrived", len(numbers))
	}
	for index, number := range numbers {
		if number != uint32(index) {
			t.Fatalf("place %d has frame %d", index, number)
		}
	}
	if answer := look(t, b.toxic); answer.Queued != 0 || answer.Counts[0].LateNSTotal != 0 {
		t.Errorf("after the flush: %+v", answer)
	}
	checkSum(t, b.toxic)
}

func TestCleanupAfterTheEndOfTheSourceCloses(t *testing.T) {
	b := newBench(t, constantDelay(5*time.Minute))
	b.send(append(numbered(0), 0, 0)) // and 2 bytes of a frame that never ends
	close(b.input)
	for look(t, b.toxic).Partial != 2 {
		time.Sleep(time.Millisecond)
	}
	if !b.stub.InterruptToxic() {
		t.Fatal("the connection is closed before its frame is due")
	}
	go b.toxic.Cleanup(b.stub)
	if numbers := b.numbersUntilClosed(t); len(numbers) != 1 {
		t.Errorf("%v arrived, want frame 0", numbers)
	}
}

func TestQueueIsBounded(t *testing.T) {
	b := newBench(t, constantDelay(5*time.Minute))
	const extra = 1_000
	var chunk []byte
	for number := range queueLimitFrames + extra {
		chunk = append(chunk, numbered(number)...)
	}
	b.send(chunk)
	b.send(nil)
	if answer := look(t, b.toxic); answer.Queued != queueLimitFrames || answer.QueueDropped != extra {
		t.Errorf("%d queued and %d dropped", answer.Queued, answer.QueueDropped)
	}
	checkSum(t, b.toxic)
	b.stub.InterruptToxic()
	go b.toxic.Cleanup(b.stub)
	for received := 0; received < queueLimitFrames; {
		received += len((<-b.output).Data) / len(numbered(0))
	}
}

func TestReceiverThatIsGoneEndsTheConnection(t *testing.T) {
	b := newBench(t, constantDelay(0))
	for number := range 3 {
		b.send(numbered(number))
		time.Sleep(time.Millisecond)
	}
	close(b.input)
	// Nobody reads the output. The wait is cut short by moving its beginning into the past.
	time.Sleep(5 * time.Millisecond)
	b.stub.InterruptToxic()
	b.stub.State.(*connection).outgoingSinceNS -= stuckAfterNS
	go b.stub.Run(b.wrapper)
	deadline := time.Now().Add(5 * time.Second)
	for !b.stub.Closed() {
		if time.Now().After(deadline) {
			t.Fatal("the connection never ended")
		}
		time.Sleep(time.Millisecond)
	}
	if answer := look(t, b.toxic); answer.Queued != 0 || answer.QueueDropped != 3 {
		t.Errorf("%d queued and %d dropped, want 0 and 3", answer.Queued, answer.QueueDropped)
	}
	checkSum(t, b.toxic)
}

func TestControlCallsDuringTraffic(t *testing.T) {
	toxic := newToxic(t, constantDelay(100*time.Microsecond))
	var group sync.WaitGroup
	const connections, count = 3, 400
	for range connections {
		b := &bench{
			toxic: toxic, wrapper: &toxics.ToxicWrapper{Toxic: toxic, Toxicity: 1},
			input: make(chan *stream.StreamChunk), output: make(chan *stream.StreamChunk),
		}
		b.stub = toxics.NewToxicStub(b.input, b.output)
		b.stub.State = toxic.NewState()
		go b.stub.Run(b.wrapper)
		group.Go(func() {
			for number := range count {
				b.send(numbered(number))
			}
			close(b.input)
		})
		group.Go(func() { b.numbersUntilClosed(t) })
	}
	for index := range 300 {
		attributes := fmt.Sprintf(`{"row":%d}`, index%3)
		if err := json.Unmarshal([]byte(attributes), toxic); err != nil {
			t.Fatal(err)
		}
		checkSum(t, toxic)
	}
	group.Wait()
	answer := look(t, toxic)
	sum := checkSum(t, toxic)
	if sum.Frames != connections*count || answer.Connections != connections || answer.Queued != 0 {
		t.Errorf("%+v of %d frames, %+v", sum, connections*count, answer.LinkCounts)
	}
}

func TestZeroToxicPassesEverything(t *testing.T) {
	toxic := new(Toxic)
	input, output := make(chan *stream.StreamChunk), make(chan *stream.StreamChunk)
	stub := toxics.NewToxicStub(input, output)
	stub.State = toxic.NewState()
	b := &bench{toxic: toxic, stub: stub, input: input, output: output}
	go stub.Run(&toxics.ToxicWrapper{Toxic: toxic, Toxicity: 1})
	go func() {
		b.send(numbered(0))
		close(input)
	}()
	if numbers := b.numbersUntilClosed(t); len(numbers) != 1 {
		t.Errorf("%v arrived", numbers)
	}
}
