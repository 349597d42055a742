package node

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/settings"
	"driftlab/replica/wire"
)

func TestThreeReplicasConverge(t *testing.T) {
	c := newCluster(t, 3, func(s *settings.Settings) { s.Mode = "sync" })
	c.connected()
	client := c.dial()
	for number := range 50 {
		token := fmt.Sprint("t", number)
		answer := client.write(token)
		if answer.GetKind() != wire.Kind_KIND_WRITE_ACK || answer.GetIdempotencyToken() != token ||
			answer.GetSequence() != uint64(number)+1 || answer.GetCorrelationId() != "c-"+token {
			t.Fatalf("answer %v", answer)
		}
		// The acknowledgement in sync mode says that every follower has logged it already.
		for index, each := range c.journals {
			if each.count(fmt.Sprintf(`"token":"%s"}`, token)) == 0 {
				t.Fatalf("%s is not in the log of replica %d", token, index)
			}
		}
	}
	c.converged(50)
	for index, want := range []map[string]int{
		{"start": 1, "accepted": 50, "applied": 50, "released": 50},
		{"start": 1, "accepted": 0, "applied": 50, "released": 0},
	} {
		for name, count := range want {
			if got := c.journals[index].count(`"e":"` + name + `"`); got != count {
				t.Errorf("replica %d logged %d times %s", index, got, name)
			}
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(c.journals[0].String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestRestartedFollowerIsRepaired(t *testing.T) {
	c := newCluster(t, 3, func(s *settings.Settings) { s.Policy.Attempts = 1 })
	c.connected()
	client := c.dial()
	client.write("before")
	c.converged(1)
	c.nodes[2].Stop()
	c.eventually("the link is down", func() bool {
		client.write(fmt.Sprint("meanwhile", c.state(0).Prefix))
		return c.state(0).Counters["unsent"] > 0
	})
	c.restart(2)
	c.converged(c.state(0).Prefix)
	leader := c.state(0)
	if leader.Counters["repairs"] == 0 {
		t.Errorf("counters %v", leader.Counters)
	}
	if c.journals[2].count(`"start"`) != 2 {
		t.Errorf("log %s", c.journals[2])
	}
}

func TestRestartedLeaderKeepsItsLog(t *testing.T) {
	c := newCluster(t, 2, nil)
	c.connected()
	client := c.dial()
	client.write("a")
	before := c.state(0)
	c.nodes[0].Stop()
	c.restart(0)
	after := c.state(0)
	if after.Prefix != 1 || after.Digest != before.Digest || after.PrefixHash != before.PrefixHash {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if after.Incarnation <= before.Incarnation {
		t.Errorf("incarnation %d after %d", after.Incarnation, before.Incarnation)
	}
	client = c.dial()
	if answer := client.write("a"); answer.GetSequence() != 1 {
		t.Errorf("the token is stored twice: %v", answer)
	}
	if answer := client.write("b"); answer.GetSequence() != 2 {
		t.Errorf("answer %v", answer)
	}
}

func TestModeSwitchAnswersWaitingClients(t *testing.T) {
	c := newCluster(t, 3, func(s *settings.Settings) { s.Mode = "sync" })
	c.connected()
	c.nodes[2].Stop()
	client := c.dial()
	client.send("a")
	c.eventually("one follower has it", func() bool { return c.state(1).Prefix == 1 })
	if c.journals[0].count("released") != 0 {
		t.Fatal("released without the second follower")
	}
	post := func(body string) (int, string) {
		response, err := http.Post("http://"+c.settings[0].Listen.Control+"/mode",
			"application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	for _, body := range []string{`{"mode":"most"}`, `{"mood":"async"}`, `nonsense`} {
		if status, text := post(body); status != 400 || !strings.Contains(text, `"error"`) {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	if status, _ := post(`{"mode":"quorum"}`); status != 200 {
		t.Errorf("status %d", status)
	}
	if answer := client.receive(); answer.GetKind() != wire.Kind_KIND_WRITE_ACK {
		t.Errorf("answer %v", answer)
	}
	if c.state(0).Mode != "quorum" || c.journals[0].count(`"e":"mode","mode":"quorum"`) != 1 {
		t.Errorf("log %s", c.journals[0])
	}
}

func TestControlInterface(t *testing.T) {
	c := newCluster(t, 2, func(s *settings.Settings) { s.ReconcileEveryNs = 0 })
	c.connected()
	c.dial().write("a")
	var seen health
	c.get(1, "/healthz", &seen)
	want := health{
		Name: "f1", Role: "follower", Runtime: "go", Version: "test", Connected: map[string]bool{"leader": true},
	}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("health %+v", seen)
	}
	response, err := http.Get("http://" + c.settings[0].Listen.Control + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"driftlab_transmissions_total 1", "driftlab_malformed_total 0", "driftlab_prefix 1",
		"driftlab_last_sequence 1", "driftlab_waiting 0", "driftlab_outstanding 0",
	} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("%q is missing", line)
		}
	}
	if counters := c.state(0).Counters; len(counters) != len(core.AllCounters()) {
		t.Errorf("%d counters", len(counters))
	}
}

func TestBadFramesAreCountedAndLargeOnesHangUp(t *testing.T) {
	c := newCluster(t, 2, nil)
	c.connected()
	client := c.dial()
	client.Write([]byte{0, 0, 0, 1, 0xff})
	if answer := client.write("a"); answer.GetSequence() != 1 {
		t.Errorf("answer %v", answer)
	}
	if got := c.state(0).Counters["malformed"]; got != 1 {
		t.Errorf("%d malformed", got)
	}
	client.Write([]byte{0, 0x10, 0, 1})
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection goes on: %v", err)
	}
	if got := c.state(0).Counters["malformed"]; got != 2 {
		t.Errorf("%d malformed", got)
	}
}

func TestEventsCanBeSwitchedOff(t *testing.T) {
	c := newCluster(t, 2, func(s *settings.Settings) { s.Events = false })
	c.connected()
	c.dial().write("a")
	if text := c.journals[0].String(); text != "" {
		t.Errorf("logged %s", text)
	}
}

func TestAlarmIsPreciseAndTimersAreOrdered(t *testing.T) {
	clock, err := newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer clock.close()
	if err := clock.set(monotonicNs() + int64(5*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	<-clock.rings
	if waited := time.Since(before); waited < 4*time.Millisecond {
		t.Errorf("rang after %s", waited)
	}
	var timers deadlines
	for _, atNs := range []int64{5, 3, 9, 3, 1, 7} {
		timers.push(atNs, core.Timer{Sequence: uint64(atNs), Epoch: timers.count})
	}
	order := ""
	for {
		timer, due := timers.popDue(7)
		if !due {
			break
		}
		order += fmt.Sprint(timer.Sequence, "/", timer.Epoch, " ")
	}
	if order != "1/4 3/1 3/3 5/0 7/5 " {
		t.Errorf("order %s", order)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	counters := &core.Counters{}
	queue := newOutbox(counters, queueFramesMax)
	queue.offer([]byte("nobody there"))
	if counters.Get(core.Unsent) != 1 {
		t.Error("a frame without a connection is unsent")
	}
	queue.open()
	for range queueFramesMax + 3 {
		queue.offer([]byte("frame"))
	}
	if got := counters.Get(core.SendQueueFull); got != 3 {
		t.Errorf("%d dropped", got)
	}
	queue.shut(2)
	if got := counters.Get(core.Unsent); got != 1+2+queueFramesMax || len(queue.frames) != 0 {
		t.Errorf("%d unsent", got)
	}
}
