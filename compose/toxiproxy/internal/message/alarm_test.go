package message

import (
	"testing"
	"time"
)

func TestAlarmsNeverFireEarlyAndCanBeMoved(t *testing.T) {
	for name, a := range map[string]alarm{"best": newAlarm(), "runtime": newRuntimeAlarm()} {
		for range 20 {
			a.arm(time.Minute)
			before := time.Now()
			a.arm(2 * time.Millisecond)
			select {
			case <-a.fired():
			case <-time.After(5 * time.Second):
				t.Fatalf("%s: did not fire", name)
			}
			if waited := time.Since(before); waited < 2*time.Millisecond {
				t.Errorf("%s: fired after %v", name, waited)
			}
		}
		a.arm(0)
		<-a.fired()
		a.arm(5 * time.Millisecond)
		a.arm(time.Minute)
		select {
		case <-a.fired():
			t.Errorf("%s: fired at the instant it was moved from", name)
		case <-time.After(20 * time.Millisecond):
		}
		a.close()
	}
}
