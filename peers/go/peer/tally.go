package peer

import (
	"sync/atomic"
	"time"
)

// A working call is told at most so often, in microseconds.
const workedEvery = 5_000

type tally struct {
	begun, acked, refused, unknown, late, foreign, neverReturned, slowestMs, told atomic.Int64
}

func (t *tally) read() Calls {
	// The ended ones first, so that none is counted as open that has begun after.
	calls := Calls{
		Acked: t.acked.Load(), Refused: t.refused.Load(), Unknown: t.unknown.Load(), Late: t.late.Load(),
		Foreign: t.foreign.Load(), NeverReturned: t.neverReturned.Load(), SlowestMs: t.slowestMs.Load(),
	}
	calls.Open = max(0, t.begun.Load()-calls.Acked-calls.Refused-calls.Unknown)
	return calls
}

// giveUp: those that have not ended yet never will.
func (t *tally) giveUp() { t.neverReturned.Store(t.read().Open) }

func (t *tally) begin() int64 {
	t.begun.Add(1)
	return Now()
}

// ended counts a call; true when it is time to tell that calls work. A limit of zero is none.
func (t *tally) ended(since int64, limit time.Duration, failure *Failure) bool {
	now := Now()
	took := time.Duration(now-since) * time.Microsecond
	for {
		slowest := t.slowestMs.Load()
		if took.Milliseconds() <= slowest || t.slowestMs.CompareAndSwap(slowest, took.Milliseconds()) {
			break
		}
	}
	if limit > 0 && took > limit+time.Second {
		t.late.Add(1)
	}
	switch {
	case failure == nil:
		t.acked.Add(1)
	case failure.IsUnsent:
		t.refused.Add(1)
	default:
		t.unknown.Add(1)
	}
	told := t.told.Load()
	return failure == nil && now-told >= workedEvery && t.told.CompareAndSwap(told, now)
}
