package server

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"driftlab/toxiproxy/internal/fate"
)

// constantTable is the delay law of one value, uniformTable of all values up to one.
func constantTable(delay time.Duration) fate.Table {
	return slices.Repeat(fate.Table{int64(delay)}, fate.Knots)
}

func uniformTable(longest time.Duration) fate.Table {
	table := make(fate.Table, fate.Knots)
	for index := range table {
		table[index] = int64(longest) * int64(index) / (fate.Knots - 1)
	}
	return table
}

// attributes writes the attributes of a toxic.
func attributes(t testing.TB, key int64, tables []fate.Table, rows ...fate.Row) string {
	t.Helper()
	if tables == nil {
		tables = []fate.Table{}
	}
	data, err := json.Marshal(map[string]any{"key": key, "tables": tables, "rows": rows})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// copies returns how often each number arrived.
func copies(arrivals []arrival, count int) []int {
	times := make([]int, count)
	for _, got := range arrivals {
		times[got.number]++
	}
	return times
}

const (
	lossPPM      = 200_000
	duplicatePPM = 100_000
)

// runLossy sends frames over a link that loses and duplicates, cuts the stream elsewhere in every run, and returns how
// often each frame arrived.
func runLossy(t *testing.T, key int64, count int, reconnectAt int) []int {
	row := fate.CleanRow
	row[fate.LossPPM], row[fate.DuplicatePPM] = lossPPM, duplicatePPM
	l := newLink(t, attributes(t, key, nil, row))
	connection := l.dial()
	l.send(connection, 0, reconnectAt, 0)
	l.settle(int64(reconnectAt))
	_ = connection.Close()
	l.send(l.dial(), reconnectAt, count, 0)
	times := copies(l.settle(int64(count)), count)
	sum := l.sum()
	if got := l.look().Attributes; got.Connections != 2 || sum.Bytes != int64(count*68) {
		t.Errorf("%d connections, %d bytes counted", got.Connections, sum.Bytes)
	}
	return times
}

func TestSameKeySameFates(t *testing.T) {
	const count = 6_000
	one := runLossy(t, 77, count, 1_234)
	two := runLossy(t, 77, count, 4_321)
	other := runLossy(t, 78, count, 1_234)
	if !slices.Equal(one, two) {
		t.Error("two runs with one key lost or duplicated different frames")
	}
	differ := 0
	for number := range one {
		if one[number] != other[number] {
			differ++
		}
	}
	if differ < count/4 {
		t.Errorf("only %d of %d frames fared differently under another key", differ, count)
	}
	row := fate.CleanRow
	row[fate.LossPPM], row[fate.DuplicatePPM] = lossPPM, duplicatePPM
	for number, got := range one {
		decision := fate.Decide(&row, nil, fate.MessageKey(77, int64(number)))
		want := 0
		for _, delayNS := range []int64{decision.First, decision.Second} {
			if delayNS >= 0 {
				want++
			}
		}
		if got != want {
			t.Fatalf("frame %d arrived %d times, the reference says %d", number, got, want)
		}
	}
}

// checkRate fails where a share lies outside the 99.9 % interval about the asked probability.
func checkRate(t *testing.T, what string, count, of int64, ppm float64) {
	t.Helper()
	probability := ppm / 1e6
	half := 3.29 * math.Sqrt(probability*(1-probability)/float64(of))
	if got := float64(count) / float64(of); math.Abs(got-probability) > half {
		t.Errorf("%s: %.4f of %d, asked %.4f ± %.4f", what, got, of, probability, half)
	}
}

func TestRatesAreThoseAskedFor(t *testing.T) {
	const count = 10_000
	row := fate.Row{0, 50_000, 30_000, 150_000, 1_000_000, -1, -1, -1, -1}
	l := newLink(t, attributes(t, 20_261_123, nil, row))
	l.send(l.dial(), 0, count, 0)
	l.settle(count)
	sum := l.sum()
	checkRate(t, "duplicated", sum.Duplicated, count, 30_000)
	checkRate(t, "lost", sum.Lost, count+sum.Duplicated, 50_000)
	checkRate(t, "reordered", sum.Reordered, sum.Delivered, 150_000)
	if sum.DelayNSTotal != sum.Reordered*1_000_000 {
		t.Errorf("%d ns of delay asked for %d reordered copies", sum.DelayNSTotal, sum.Reordered)
	}
}

func TestDelaysFollowTheTable(t *testing.T) {
	const count, longest = 1_500, 40 * time.Millisecond
	row := fate.CleanRow
	row[fate.Table0] = 0
	tables := []fate.Table{uniformTable(longest)}
	l := newLink(t, attributes(t, 3, tables, row))
	l.send(l.dial(), 0, count, 200*time.Microsecond)
	arrivals := l.settle(count)
	var measured, late []int64
	for _, got := range arrivals {
		asked := fate.Decide(&row, tables, fate.MessageKey(3, int64(got.number))).First
		took := got.readNS - got.sentNS
		if took < asked {
			t.Fatalf("frame %d took %d ns, less than the %d asked for", got.number, took, asked)
		}
		measured, late = append(measured, took), append(late, took-asked)
	}
	slices.Sort(measured)
	slices.Sort(late)
	for _, percent := range []int{10, 50, 90} {
		got, want := measured[count*percent/100], int64(longest)*int64(percent)/100
		if got < want-int64(2*time.Millisecond) || got > want+int64(10*time.Millisecond) {
			t.Errorf("quantile %d is %d ns, the table has %d", percent, got, want)
		}
	}
	if median := late[count/2]; median > int64(10*time.Millisecond) {
		t.Errorf("the median frame is %d ns late", median)
	}
	if inversions(arrivals) < 100 {
		t.Errorf("only %d inversions under delays that vary by 40 ms", inversions(arrivals))
	}
}

func TestReorderingOvertakes(t *testing.T) {
	const count = 400
	tables := []fate.Table{constantTable(2 * time.Millisecond)}
	constant, reordering := fate.CleanRow, fate.CleanRow
	constant[fate.Table0], reordering[fate.Table0] = 0, 0
	reordering[fate.ReorderPPM], reordering[fate.ReorderByNS] = 200_000, int64(10*time.Millisecond)
	for _, example := range []struct {
		name          string
		row           fate.Row
		least, most   int
		leastOvertake int64
	}{{"constant", constant, 0, 0, 0}, {"reordering", reordering, 20, count, 40}} {
		l := newLink(t, attributes(t, 8, tables, example.row))
		l.send(l.dial(), 0, count, 300*time.Microsecond)
		got := inversions(l.settle(count))
		if got < example.least || got > example.most || l.sum().Reordered < example.leastOvertake {
			t.Errorf("%s: %d inversions, %d copies reordered", example.name, got, l.sum().Reordered)
		}
	}
}

func TestCutAndHealKeepTheConnection(t *testing.T) {
	delayed, cut := fate.CleanRow, fate.CleanRow
	delayed[fate.Table0], cut[fate.Cut] = 0, 1
	l := newLink(t, attributes(t, 4, []fate.Table{constantTable(30 * time.Millisecond)}, delayed, cut))
	connection := l.dial()
	l.send(connection, 0, 100, 0)
	waitFor(t, "the first hundred to be read", func() bool { return l.sum().Frames == 100 })
	l.patchRow(1)
	if queued := l.look().Attributes.Queued; queued == 0 {
		t.Error("no frame was waiting when the fault began: the test shows nothing")
	}
	l.send(connection, 100, 200, 0)
	waitFor(t, "the second hundred to be read", func() bool { return l.sum().Frames == 200 })
	l.patchRow(0)
	l.send(connection, 200, 300, 0)
	for number, times := range copies(l.settle(300), 300) {
		want := 1
		if number >= 100 && number < 200 {
			want = 0
		}
		if times != want {
			t.Errorf("frame %d arrived %d times, want %d", number, times, want)
		}
	}
	got := l.look().Attributes
	if _, ended := l.received(); got.Connections != 1 || ended != 0 {
		t.Errorf("%d connections, %d of them ended", got.Connections, ended)
	}
	if got.Counts[0].Delivered != 200 || got.Counts[1].Cut != 100 || got.Counts[1].Frames != 100 {
		t.Errorf("counted %+v", got.Counts)
	}
}

func TestFramesSplitByteByByte(t *testing.T) {
	l := newLink(t, attributes(t, 5, nil, fate.CleanRow))
	connection := l.dial()
	for number := range 5 {
		for _, one := range frame(number) {
			if _, err := connection.Write([]byte{one}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Microsecond)
		}
	}
	arrivals := l.settle(5)
	if inversions(arrivals) != 0 || l.sum().Bytes != 5*68 {
		t.Errorf("%v, counted %+v", arrivals, l.sum())
	}
}

func TestMalformedLengthClosesThatConnectionOnly(t *testing.T) {
	l := newLink(t, attributes(t, 6, []fate.Table{constantTable(20 * time.Millisecond)},
		fate.Row{0, 0, 0, 0, 0, 0, -1, -1, -1}))
	good, bad := l.dial(), l.dial()
	l.send(bad, 0, 3, 0)
	if _, err := bad.Write([]byte{0, 16, 0, 1, 9, 9}); err != nil {
		t.Fatal(err)
	}
	_ = bad.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := bad.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Fatalf("the connection was not closed: %v", err)
	}
	l.send(good, 3, 5, 0)
	if arrivals := l.settle(5); len(arrivals) != 5 {
		t.Errorf("%d frames arrived, want the 3 before the bad length and 2 elsewhere", len(arrivals))
	}
	if got := l.look().Attributes; got.Malformed != 1 || got.Partial != 0 {
		t.Errorf("malformed %d, partial %d", got.Malformed, got.Partial)
	}
}

func TestEndOfTheSourceDrains(t *testing.T) {
	l := newLink(t, attributes(t, 7, []fate.Table{uniformTable(80 * time.Millisecond)},
		fate.Row{0, 0, 0, 0, 0, 0, -1, -1, -1}))
	connection := l.dial()
	l.send(connection, 0, 200, 0)
	if _, err := connection.Write([]byte{0, 0, 0, 9, 1}); err != nil {
		t.Fatal(err)
	}
	_ = connection.Close()
	arrivals := l.settle(200)
	for number, times := range copies(arrivals, 200) {
		if times != 1 {
			t.Errorf("frame %d arrived %d times", number, times)
		}
	}
	waitFor(t, "the receiver to see the end", func() bool {
		_, ended := l.received()
		return ended == 1
	})
	if got := l.look().Attributes; got.Partial != 5 {
		t.Errorf("%d bytes of a partial frame, want 5", got.Partial)
	}
}
