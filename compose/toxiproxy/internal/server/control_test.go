package server

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"driftlab/toxiproxy/internal/fate"
)

func TestBadRequestsAreRefusedAndChangeNothing(t *testing.T) {
	l := newLink(t, attributes(t, 1, nil, fate.CleanRow, fate.CleanRow))
	before := l.look()
	for _, example := range []struct{ body, sentence string }{
		{`{"attributes":{"row":2}}`, "row 2 is out of range: there are 2 rows, the first is 0"},
		{`{"attributes":{"row":1,"rwo":1}}`, `unknown attribute \"rwo\"`},
		{`{"attributes":{"row":1,"key":-4}}`, "key must lie in"},
		{`{"attributes":{"row":1},"toxicity":0.5}`, "toxicity of a message toxic must be 1"},
		{`{"attributes":{"row":1},"toxicity":"1"}`, "toxicity of a message toxic must be 1"},
		{`{"attributes":{"row":1},"nmae":"x"}`, `unknown field \"nmae\"`},
		{`{"attributes":null}`, "attributes must not be null"},
		{`{"attributes":[1]}`, "the attributes must be an object"},
		{`{"attributes":{"row":1}} {}`, "the body must be one JSON object"},
		{`{"attributes":{"row":1}`, "the body must be one JSON object"},
	} {
		for _, method := range []string{"PATCH", "POST"} {
			status, data := l.call(method, "/proxies/link/toxics/fate", example.body)
			if status != 400 || !strings.Contains(data, example.sentence) ||
				!strings.Contains(data, `"status":400`) {
				t.Errorf("%s %s answered %d %s, want 400 with %q", method, example.body, status, data,
					example.sentence)
			}
		}
	}
	if after := l.look(); !reflect.DeepEqual(before, after) {
		t.Errorf("refused, but %+v became %+v", before, after)
	}
	var answered struct {
		answer
		Name, Type, Stream string
	}
	l.must(200, "POST", "/proxies/link/toxics/fate", `{"attributes":{"row":1}}`, &answered)
	if answered.Name != "fate" || answered.Type != "message" || answered.Stream != "upstream" ||
		answered.Toxicity != 1 || answered.Attributes.Row != 1 {
		t.Errorf("the update answered %+v", answered)
	}
	l.must(200, "PATCH", "/proxies/link/toxics/fate", `{"toxicity":1.0}`, nil)
	l.must(404, "PATCH", "/proxies/link/toxics/none", `{"attributes":{"row":1}}`, nil)
	l.must(404, "PATCH", "/proxies/none/toxics/fate", `{"attributes":{"row":1}}`, nil)
	if l.look().Attributes.Row != 1 {
		t.Error("POST did not update")
	}
}

func TestBadCreationsAreRefused(t *testing.T) {
	l := newLink(t, "")
	good := attributes(t, 1, nil, fate.CleanRow)
	for _, example := range []struct{ body, sentence string }{
		{`{"type":"message"}`, "needs the attributes key and rows"},
		{`{"type":"message","attributes":{}}`, "needs the attributes key and rows"},
		{`{"type":"message","attributes":` + good + `,"toxicity":0}`, "must be 1"},
		{`{"type":"message","attributes":` + good + `,"toxcity":1}`, "unknown field"},
		{`{"type":"message","name":5,"attributes":` + good + `}`, "must be strings"},
		{`{"type":"massage","attributes":` + good + `}`, "invalid toxic type"},
	} {
		status, data := l.call("POST", "/proxies/link/toxics", example.body)
		if status != 400 || !strings.Contains(data, example.sentence) {
			t.Errorf("%.80s answered %d %s, want 400 with %q", example.body, status, data, example.sentence)
		}
	}
	if status, data := l.call("GET", "/proxies/link/toxics", ""); status != 200 || data != "[]" {
		t.Errorf("a refused toxic is there: %d %s", status, data)
	}
}

func TestStockToxicsAreThere(t *testing.T) {
	l := newLink(t, "")
	for _, kind := range []string{"latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"} {
		l.must(200, "POST", "/proxies/link/toxics", fmt.Sprintf(`{"type":"%s","toxicity":0.0}`, kind), nil)
	}
	l.must(200, "PATCH", "/proxies/link/toxics/latency_downstream", `{"attributes":{"latency":5},"toxicity":0.25}`, nil)
}

// Adding and removing other toxics interrupts the connection; taking the message toxic off releases what waits.
func TestOtherToxicsDisturbNothing(t *testing.T) {
	row := fate.CleanRow
	row[fate.Table0] = 0
	l := newLink(t, attributes(t, 2, []fate.Table{constantTable(15 * time.Millisecond)}, row))
	connection := l.dial()
	const count = 600
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.send(connection, 0, count, 300*time.Microsecond)
	}()
	for range 10 {
		l.must(200, "POST", "/proxies/link/toxics", `{"name":"late","type":"latency","stream":"upstream"}`, nil)
		l.patchRow(0)
		l.must(204, "DELETE", "/proxies/link/toxics/late", "", nil)
		time.Sleep(5 * time.Millisecond)
	}
	<-done
	arrivals := l.settle(count)
	if got := inversions(arrivals); got != 0 {
		t.Errorf("%d inversions under a constant delay", got)
	}
	for number, times := range copies(arrivals, count) {
		if times != 1 {
			t.Errorf("frame %d arrived %d times", number, times)
		}
	}
	if got := l.look().Attributes; got.Connections != 1 {
		t.Errorf("%d connections, want the first to survive", got.Connections)
	}
}

func TestRemovalFlushes(t *testing.T) {
	row := fate.CleanRow
	row[fate.Table0] = 0
	l := newLink(t, attributes(t, 2, []fate.Table{constantTable(time.Minute)}, row))
	connection := l.dial()
	l.send(connection, 0, 500, 0)
	waitFor(t, "all to be read", func() bool { return l.look().Attributes.Queued == 500 })
	whole := frame(500)
	_, _ = connection.Write(whole[:30])
	time.Sleep(5 * time.Millisecond)
	l.must(204, "DELETE", "/proxies/link/toxics/fate", "", nil)
	_, _ = connection.Write(whole[30:])
	l.send(connection, 501, 510, 0)
	var arrivals []arrival
	waitFor(t, "all to arrive", func() bool {
		arrivals, _ = l.received()
		return len(arrivals) == 510
	})
	if got := inversions(arrivals); got != 0 {
		t.Errorf("%d inversions", got)
	}
}

// Disabling a proxy closes its connections under the toxic, and the library tells the toxic only that its source has ended.
func TestDisabledProxyLeavesNoFrameWaiting(t *testing.T) {
	t.Parallel()
	row := fate.CleanRow
	row[fate.Table0] = 0
	l := newLink(t, attributes(t, 2, []fate.Table{uniformTable(50 * time.Millisecond)}, row))
	l.send(l.dial(), 0, 500, 0)
	waitFor(t, "all to be read", func() bool { return l.sum().Frames == 500 })
	l.must(200, "PATCH", "/proxies/link", `{"enabled":false}`, nil)
	deadline := time.Now().Add(8 * time.Second)
	for l.look().Attributes.Queued > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting: %+v", l.look())
		}
		time.Sleep(50 * time.Millisecond)
	}
	if l.look().Attributes.QueueDropped == 0 {
		t.Error("no frame was given up: the test shows nothing")
	}
	l.sum()
	l.must(200, "PATCH", "/proxies/link", `{"enabled":true}`, nil)
	l.send(l.dial(), 500, 510, 0)
	waitFor(t, "the frames after", func() bool { return l.sum().Frames == 510 })
}

func TestPipelinedUpdatesAnswerInOrder(t *testing.T) {
	l := newLink(t, attributes(t, 1, nil, fate.CleanRow, fate.CleanRow, fate.CleanRow))
	connection, err := net.Dial("tcp", strings.TrimPrefix(l.api, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	rows := []int{1, 2, 9, 0, 2, 1}
	var requests strings.Builder
	for _, row := range rows {
		body := fmt.Sprintf(`{"attributes":{"row":%d}}`, row)
		fmt.Fprintf(&requests, "PATCH /proxies/link/toxics/fate HTTP/1.1\r\nHost: lab\r\nContent-Length: %d\r\n\r\n%s",
			len(body), body)
	}
	if _, err := connection.Write([]byte(requests.String())); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(connection)
	for _, row := range rows {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		var data strings.Builder
		_ = response.Write(&data)
		want, text := 200, fmt.Sprintf(`"row":%d`, row)
		if row == 9 {
			want, text = 400, "out of range"
		}
		if response.StatusCode != want || !strings.Contains(data.String(), text) {
			t.Errorf("row %d: %d %s", row, response.StatusCode, data.String())
		}
	}
}

func TestHealth(t *testing.T) {
	l := newLink(t, "")
	if err := CheckHealth(strings.TrimPrefix(l.api, "http://")); err != nil {
		t.Error(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	if CheckHealth(address) == nil {
		t.Error("a port nobody listens on is healthy")
	}
}
