package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"driftlab/toxiproxy/internal/message"
)

var start = time.Now()

// arrival is a frame at the receiver; instants count from start.
type arrival struct {
	number         int
	sentNS, readNS int64
}

// link is a proxy with a message toxic, driven through the HTTP API, and a receiver behind it.
type link struct {
	t   testing.TB
	api string
	// listen is the address of the proxy.
	listen string

	mutex    sync.Mutex
	arrivals []arrival
	ended    int // connections that the receiver saw end
}

// newLink starts everything on loopback; an empty text makes a proxy without a toxic.
func newLink(t testing.TB, attributes string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(NewHandler(zerolog.Nop()))
	l := &link{t: t, api: api.URL}
	go l.receive(listener)
	var proxy struct{ Listen string }
	l.must(201, "POST", "/proxies", fmt.Sprintf(`{"name":"link","listen":"127.0.0.1:0","upstream":"%s"}`,
		listener.Addr()), &proxy)
	l.listen = proxy.Listen
	if attributes != "" {
		l.must(200, "POST", "/proxies/link/toxics",
			`{"name":"fate","type":"message","stream":"upstream","attributes":`+attributes+`}`, nil)
	}
	t.Cleanup(func() {
		l.must(204, "DELETE", "/proxies/link", "", nil)
		_ = listener.Close()
		api.Close()
	})
	return l
}

// call makes one request and returns the status and the body.
func (l *link) call(method, path, body string) (int, string) {
	l.t.Helper()
	request, err := http.NewRequest(method, l.api+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

func (l *link) must(status int, method, path, body string, into any) {
	l.t.Helper()
	got, data := l.call(method, path, body)
	if got != status {
		l.t.Fatalf("%s %s answered %d, want %d: %s", method, path, got, status, data)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(data), into); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *link) patchRow(row int) {
	l.t.Helper()
	l.must(200, "PATCH", "/proxies/link/toxics/fate", fmt.Sprintf(`{"attributes":{"row":%d}}`, row), nil)
}

// answer is what a GET of the toxic says.
type answer struct {
	Toxicity   float64
	Attributes struct {
		Key    int64
		Row    int
		Counts []message.RowCounts
		message.LinkCounts
	}
}

func (l *link) look() answer {
	l.t.Helper()
	var got answer
	l.must(200, "GET", "/proxies/link/toxics/fate", "", &got)
	return got
}

// sum returns the counts summed over the rows.
func (l *link) sum() message.RowCounts {
	l.t.Helper()
	sum, _ := l.sumAndQueued()
	return sum
}

// sumAndQueued verifies that the counts add up, and returns them as they were at one instant.
func (l *link) sumAndQueued() (message.RowCounts, int64) {
	l.t.Helper()
	got := l.look().Attributes
	var sum message.RowCounts
	for _, counts := range got.Counts {
		sum.Frames += counts.Frames
		sum.Bytes += counts.Bytes
		sum.Lost += counts.Lost
		sum.Cut += counts.Cut
		sum.Duplicated += counts.Duplicated
		sum.Reordered += counts.Reordered
		sum.Delivered += counts.Delivered
		sum.DelayNSTotal += counts.DelayNSTotal
		sum.LateNSTotal += counts.LateNSTotal
	}
	if sum.Frames+sum.Duplicated != sum.Delivered+sum.Lost+sum.Cut+got.Queued+got.QueueDropped {
		l.t.Errorf("the counts do not add up: %+v", got)
	}
	return sum, got.Queued
}

func (l *link) receive(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go l.readFrames(connection)
	}
}

func (l *link) readFrames(connection net.Conn) {
	defer func() { _ = connection.Close() }()
	reader := bufio.NewReader(connection)
	header := make([]byte, 4)
	for {
		if _, err := io.ReadFull(reader, header); err != nil {
			break
		}
		body := make([]byte, binary.BigEndian.Uint32(header))
		if _, err := io.ReadFull(reader, body); err != nil {
			break
		}
		got := arrival{readNS: int64(time.Since(start))}
		got.number = int(binary.BigEndian.Uint64(body))
		got.sentNS = int64(binary.BigEndian.Uint64(body[8:]))
		l.mutex.Lock()
		l.arrivals = append(l.arrivals, got)
		l.mutex.Unlock()
	}
	l.mutex.Lock()
	l.ended++
	l.mutex.Unlock()
}

// received returns the arrivals so far and how many connections the receiver saw end.
func (l *link) received() ([]arrival, int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Clone(l.arrivals), l.ended
}

func (l *link) dial() net.Conn {
	l.t.Helper()
	connection, err := net.Dial("tcp", l.listen)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// frame returns a frame of 68 bytes with its number and the present instant in it.
func frame(number int) []byte {
	body := make([]byte, 64)
	binary.BigEndian.PutUint64(body, uint64(number))
	binary.BigEndian.PutUint64(body[8:], uint64(time.Since(start)))
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// send writes the frames first to last-1, pausing after each where pause is above 0.
func (l *link) send(connection net.Conn, first, last int, pause time.Duration) {
	l.t.Helper()
	var joined bytes.Buffer
	for number := first; number < last; number++ {
		joined.Write(frame(number))
		if pause > 0 || joined.Len() > 10_000 || number == last-1 {
			if _, err := connection.Write(joined.Bytes()); err != nil {
				l.t.Fatal(err)
			}
			joined.Reset()
			time.Sleep(pause)
		}
	}
}

// settle waits until so many frames were read by the toxic and none waits, and returns all arrivals at the receiver.
func (l *link) settle(frames int64) []arrival {
	l.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		sum, queued := l.sumAndQueued()
		arrivals, _ := l.received()
		if sum.Frames == frames && queued == 0 && int64(len(arrivals)) == sum.Delivered {
			return arrivals
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%d arrivals, queued %d, counted %+v", len(arrivals), queued, sum)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// waitFor polls until the condition holds.
func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// inversions counts the arrivals whose predecessor has a higher number.
func inversions(arrivals []arrival) int {
	count := 0
	for index := 1; index < len(arrivals); index++ {
		if arrivals[index].number < arrivals[index-1].number {
			count++
		}
	}
	return count
}
