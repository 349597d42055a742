package message

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"driftlab/toxiproxy/internal/fate"
)

// envelope returns a frame of that size, header included, whose Envelope is of that kind.
func envelope(t testing.TB, size, kind int) []byte {
	t.Helper()
	body := protowire.AppendTag([]byte{8, 1}, kindField, protowire.VarintType) // schema_version 1 stands before
	body = protowire.AppendVarint(body, uint64(kind))
	// The rest is the field payload, its length in two bytes whatever it is.
	left := size - headerBytes - len(body) - 3
	body = append(protowire.AppendTag(body, 10, protowire.BytesType), byte(left&0x7F|0x80), byte(left>>7))
	body = append(body, make([]byte, left)...)
	frame := frameOf(body)
	if len(frame) != size {
		t.Fatalf("a frame of %d bytes became %d", size, len(frame))
	}
	return frame
}

type goldenMessage struct {
	Row                                                   int
	NowNS                                                 int64 `json:"now_ns"`
	Size, Kind                                            int
	DelaysNS                                              []int64 `json:"delays_ns"`
	Lost, Cut, Overflow, Duplicated, Corrupted, Reordered int64
}

// goldenLink returns a toxic with the attributes of the vectors, and their messages.
func goldenLink(t *testing.T) (*Toxic, []goldenMessage) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "golden", "stateful.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Attributes map[string]json.RawMessage
		Messages   []goldenMessage
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	key := strings.Trim(string(vectors.Attributes["key"]), `"`)
	vectors.Attributes["key"] = json.RawMessage(key)
	attributes, err := json.Marshal(vectors.Attributes)
	if err != nil {
		t.Fatal(err)
	}
	return newToxic(t, string(attributes)), vectors.Messages
}

// play gives the messages to the toxic as they are in the vectors, and returns what differed.
func play(t *testing.T, toxic *Toxic, messages []goldenMessage, total *goldenMessage) []string {
	t.Helper()
	c := toxic.NewState().(*connection)
	var differ []string
	for number, message := range messages {
		patchRow(t, toxic, message.Row)
		before := toxic.counts[message.Row]
		toxic.decide(c, envelope(t, message.Size, message.Kind), message.NowNS)
		after, corrupted := toxic.counts[message.Row], int64(0)
		slices.SortFunc(c.pending.heap, func(a, b waiting) int { return int(a.sequence) - int(b.sequence) })
		delays := []int64{}
		for _, entry := range c.pending.heap {
			if entry.corrupt {
				corrupted++
			} else {
				delays = append(delays, entry.dueNS-message.NowNS)
			}
		}
		c.pending = queue{}
		got := goldenMessage{
			message.Row, message.NowNS, message.Size, message.Kind, delays, after.Lost - before.Lost,
			after.Cut - before.Cut, after.Overflow - before.Overflow, after.Duplicated - before.Duplicated,
			corrupted, after.Reordered - before.Reordered,
		}
		if fmt.Sprint(got) != fmt.Sprint(message) {
			differ = append(differ, fmt.Sprintf("message %d: %v, want %v", number, got, message))
		}
		total.Lost += got.Lost
		total.Cut += got.Cut
		total.Overflow += got.Overflow
		total.Duplicated += got.Duplicated
		total.Corrupted += got.Corrupted
		total.Reordered += got.Reordered
	}
	return differ
}

func patchRow(t testing.TB, toxic *Toxic, row int) {
	t.Helper()
	if err := json.Unmarshal(fmt.Appendf(nil, `{"row":%d}`, row), toxic); err != nil {
		t.Fatal(err)
	}
}

func TestALinkThatRemembersDoesWhatTheSimulatorsDoes(t *testing.T) {
	toxic, messages := goldenLink(t)
	var total goldenMessage
	if differ := play(t, toxic, messages, &total); len(differ) > 0 {
		t.Fatalf("%d of %d differ, first %s", len(differ), len(messages), differ[0])
	}
	for name, count := range map[string]int64{
		"lost": total.Lost, "cut": total.Cut, "overflow": total.Overflow, "duplicated": total.Duplicated,
		"corrupted": total.Corrupted, "reordered": total.Reordered,
	} {
		if count < 10 {
			t.Errorf("only %d %s: the vectors are too few to mean anything", count, name)
		}
	}
}

// What a switch of the row would forget, another number or a memory that is cleared in between, must show.
func TestTheVectorsShowWhatIsForgottenOrMistaken(t *testing.T) {
	for name, spoil := range map[string]func(toxic *Toxic){
		"a memory cleared":  func(toxic *Toxic) { clear(toxic.memory) },
		"another key":       func(toxic *Toxic) { toxic.key++ },
		"a message missing": func(toxic *Toxic) { toxic.number++ },
	} {
		toxic, messages := goldenLink(t)
		var total goldenMessage
		half := len(messages) * 61 / 100 // while a fault is confined to the first so many messages
		if differ := play(t, toxic, messages[:half], &total); len(differ) > 0 {
			t.Fatal(differ[0])
		}
		spoil(toxic)
		if differ := play(t, toxic, messages[half:], &total); len(differ) == 0 {
			t.Errorf("%s was not seen", name)
		}
	}
}

func TestMemoryIsKeptOverRowsAndClearedWhenItIsNamed(t *testing.T) {
	toxic, messages := goldenLink(t)
	var total goldenMessage
	play(t, toxic, messages, &total)
	isUsed := func() bool { return slices.ContainsFunc(toxic.memory, func(word int64) bool { return word != 0 }) }
	patchRow(t, toxic, 0)
	if !isUsed() {
		t.Fatal("a switch of the row cleared the memory")
	}
	attributes := fmt.Appendf(nil, `{"memory_words":%d}`, len(toxic.memory))
	if err := json.Unmarshal(attributes, toxic); err != nil {
		t.Fatal(err)
	}
	if isUsed() || look(t, toxic).MemoryWords != len(toxic.memory) {
		t.Error("the memory was not cleared")
	}
}

func extraJSON(changes map[int]int64) string {
	extra := fate.CleanExtra
	for column, value := range changes {
		extra[column] = value
	}
	data, _ := json.Marshal(extra)
	return string(data)
}

func TestRefusedExtrasChangeNothing(t *testing.T) {
	leaf := strings.TrimSuffix(cleanRowJSON, "]") + "," + strings.TrimPrefix(extraJSON(nil), "[")
	start := fmt.Sprintf(`{"key":5,"rows":[%s],"extras":[%s],"leaves":[%s,%s],"memory_words":2}`, cleanRowJSON,
		extraJSON(map[int]int64{fate.Rules: 1, fate.Rule0: -1, fate.Rule0 + 1: 3, fate.Rule0 + 2: 1}), leaf, leaf)
	one := func(column int, value int64) string {
		return `{"extras":[` + extraJSON(map[int]int64{column: value}) + `]}`
	}
	for _, example := range []struct{ attributes, sentence string }{
		{`{"extras":null}`, "extras must be a list of lists"},
		{`{"extras":[[1,2]]}`, "extra 0 must have 36 columns, not 2"},
		{`{"extras":[` + extraJSON(nil) + `,` + extraJSON(nil) + `]}`, "there are 2 extras and 1 rows"},
		{`{"leaves":[[1]]}`, "leaf 0 must have 45 columns, not 1"},
		{`{"leaves":[` + leaf + `]}`, "extra 0 chooses from leaf 0 on, but there are 1 leaves"},
		{`{"leaves":[` + leaf + `,[2` + leaf[2:] + `]}`, "cut of leaf 1 must lie in 0..1"},
		{`{"memory_words":-1}`, "memory_words must lie in 0..65536"},
		{`{"memory_words":65537}`, "memory_words must lie in 0..65536"},
		{`{"memory_words":1}`, "rule 0 of extra 0 counts to 3 in slot 1, but there are 1 words"},
		{`{"memory_words":2.5}`, "memory_words must be a 64-bit integer"},
		{one(fate.CorruptPPM, 1_000_001), "corrupt_ppm of extra 0 must lie in 0..1000000"},
		{one(fate.HoldUntilNS, 1), "hold_until_ns of extra 0 must lie in 0..0"},
		{one(fate.StreamSlot, 0), "stream_slot of extra 0 must lie in -1..-1"},
		{one(fate.ChainSlot, 2), "chain_slot of extra 0 must lie in -1..1"},
		{one(fate.BytesPerS, 5), "extra 0 has a bandwidth and no slot"},
		{one(fate.QueueNS, -1), "queue_ns of extra 0"},
		{one(fate.Rules, 4), "extra 0 must have 0 to 3 rules, not 4"},
		{one(fate.Rules, 2), "extra 0 chooses from leaf 0 on, but there are 2 leaves"},
	} {
		toxic := newToxic(t, start)
		toxic.memory[0] = 7
		before := fmt.Sprint(look(t, toxic))
		err := json.Unmarshal([]byte(example.attributes), toxic)
		if err == nil || !strings.Contains(err.Error(), example.sentence) {
			t.Errorf("%.60s: error %v, want %q", example.attributes, err, example.sentence)
		}
		if after := fmt.Sprint(look(t, toxic)); before != after || toxic.memory[0] != 7 {
			t.Errorf("%.60s: refused, but %v became %v", example.attributes, before, after)
		}
	}
}

func TestGarbageIsHandedOnInStepAndCountedApart(t *testing.T) {
	extra := extraJSON(map[int]int64{fate.CorruptPPM: 500_000})
	b := newBench(t, fmt.Sprintf(`{"key":3,"rows":[[0,0,1000000,0,0,-1,-1,-1,-1]],"extras":[%s]}`, extra))
	const count = 400
	go func() {
		for number := range count {
			b.send(envelope(t, 20+number%200, 1+number%200%7))
		}
		close(b.input)
	}()
	garbage, good := int64(0), int64(0)
	var s splitter
	for chunk := range b.output {
		if err := s.push(chunk.Data, func(frame []byte) {
			if _, _, size := protowire.ConsumeField(frame[headerBytes:]); size < 0 {
				garbage++
			} else if kindOf(frame) == int64(1+(len(frame)-20)%7) {
				good++
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	sum := checkSum(t, b.toxic)
	if sum.Corrupted != garbage || sum.Delivered != good || garbage+good != 2*count || len(s.partial) > 0 {
		t.Errorf("%d garbage and %d good of %d copies, counted %+v", garbage, good, 2*count, sum)
	}
	if garbage < 300 || garbage > 500 {
		t.Errorf("%d of 800 are garbage, want about half", garbage)
	}
}

func TestKindsAreReadAsTheReceiverReadsThem(t *testing.T) {
	field := func(number protowire.Number, kind protowire.Type, value []byte) []byte {
		return append(protowire.AppendTag(nil, number, kind), value...)
	}
	kind := func(value uint64) []byte {
		return field(kindField, protowire.VarintType, protowire.AppendVarint(nil, value))
	}
	for _, example := range []struct {
		name string
		body []byte
		want int64
	}{
		{"an empty body", nil, 0},
		{"the kind alone", kind(5), 5},
		{"the last one counts", append(kind(5), kind(7)...), 7},
		{"behind other fields", slices.Concat(
			field(1, protowire.Fixed64Type, make([]byte, 8)), field(3, protowire.BytesType, []byte{3, 16, 9, 9}),
			field(9, protowire.Fixed32Type, make([]byte, 4)), kind(4)), 4},
		{"the field 2 with another type", field(kindField, protowire.BytesType, []byte{1, 6}), 0},
		{"an unknown kind", kind(1 << 20), 1 << 20},
		{"cut short", append(kind(5), 0x52, 9, 1), 0},
		{"no message", append(kind(5), noTag), 0},
		{"a length over all", append(kind(5), 0x52, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1), 0},
	} {
		if got := kindOf(frameOf(example.body)); got != example.want {
			t.Errorf("%s: %d, want %d", example.name, got, example.want)
		}
	}
	if binary.BigEndian.Uint32(damaged(envelope(t, 50, 4))) != 46 || kindOf(damaged(envelope(t, 50, 4))) != 0 {
		t.Error("a damaged frame has another length, or still a kind")
	}
}
