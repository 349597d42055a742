package reconcile

import (
	"context"
	"sync"
	"time"
)

// limit is a token bucket that holds what one second earns, and starts full.
type limit struct {
	mutex     sync.Mutex
	perSecond int64
	// emptyAt is when the bucket would have been empty.
	emptyAt time.Time
}

func newLimit(perSecond int64) *limit { return &limit{perSecond: perSecond} }

// reserve takes a token out, on credit if need be, and returns how long to wait for it.
func (l *limit) reserve(now time.Time, credit bool) (time.Duration, bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.perSecond == 0 {
		return 0, false
	}
	if full := now.Add(-time.Second); l.emptyAt.Before(full) {
		l.emptyAt = full
	}
	after := l.emptyAt.Add(time.Second / time.Duration(l.perSecond))
	wait := after.Sub(now)
	if wait > 0 && !credit {
		return 0, false
	}
	l.emptyAt = after
	return max(0, wait), true
}

// take takes a token if there is one.
func (l *limit) take() bool {
	_, taken := l.reserve(time.Now(), false)
	return taken
}

// wait waits for a token.
func (l *limit) wait(ctx context.Context) error {
	wait, _ := l.reserve(time.Now(), true)
	if wait == 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
