package peer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Again is how long a user waits before trying again what failed.
const Again = 100 * time.Millisecond

// tick is the time between two batches of a torrent.
const tick = 5 * time.Millisecond

type ground struct {
	client  Client
	order   *Order
	witness *Witness
	tally   *tally
	stop    *atomic.Bool
}

func (g *ground) ended(since int64, limit time.Duration, failure *Failure) {
	due := g.tally.ended(since, limit, failure)
	g.heard(Commands, failure)
	if due {
		g.worked(since)
	}
}

func (g *ground) worked(since int64) { g.witness.TellOf("worked", map[string]int64{"since": since}) }

// heard: where the client does not tell of its connections, what fails and works on them does.
func (g *ground) heard(link string, failure *Failure) {
	switch {
	case g.client.TellsOfConnections():
	case failure != nil && !failure.IsAnswer:
		g.witness.Lost(link, failure.Cause)
	default:
		g.witness.Back(link)
	}
}

// limited is a context with the configuration's deadline, where it has one.
func (g *ground) limited() (context.Context, context.CancelFunc) {
	if limit := g.client.Deadline(); limit > 0 {
		return context.WithTimeout(context.Background(), limit)
	}
	return context.Background(), func() {}
}

func (g *ground) incr(key string, last int64) int64 {
	since := g.tally.begin()
	ctx, cancel := g.limited()
	value, failure := g.client.Incr(ctx, key)
	cancel()
	g.ended(since, g.client.Deadline(), failure)
	if failure != nil {
		return last
	}
	// Each caller's own replies grow. A reply of somebody else's call sooner or later does not.
	if value <= last {
		g.tally.foreign.Add(1)
	}
	return value
}

func (g *ground) call() {
	last := int64(0)
	for !g.stop.Load() {
		last = g.incr(Counter, last)
		g.pause()
	}
}

// pause is spread, so that the callers do not march in step.
func (g *ground) pause() {
	time.Sleep(time.Duration(float64(g.order.Pause.Value()) * (0.5 + rand.Float64())))
}

// spread calls INCR on many keys.
func (g *ground) spread() {
	for !g.stop.Load() {
		g.incr(fmt.Sprintf("%s:%d", Counter, rand.IntN(SpreadKeys)), 0)
		g.pause()
	}
}

// dropCalls asks for something unique with every call, and does not wait for most of them.
func (g *ground) dropCalls(caller int) {
	for serial := 1; !g.stop.Load(); serial++ {
		word := fmt.Sprintf("%d:%d", caller, serial)
		since := g.tally.begin()
		ctx, cancel := g.limited()
		impatience := time.Duration(rand.Int64N(3_000)) * time.Microsecond
		isImpatient := true
		switch rand.IntN(3) {
		case 0:
			time.AfterFunc(impatience, cancel)
		case 1:
			cancel()
			ctx, cancel = context.WithTimeout(context.Background(), impatience)
		default:
			isImpatient = false
		}
		reply, failure := g.client.Echo(ctx, word)
		cancel()
		if failure != nil && isImpatient {
			// The caller's own impatience says nothing about the connection.
			g.tally.ended(since, g.client.Deadline(), &Failure{})
			continue
		}
		g.ended(since, g.client.Deadline(), failure)
		if failure == nil && reply != word {
			g.tally.foreign.Add(1)
		}
	}
}

func (g *ground) fetch() {
	for !g.stop.Load() {
		since := g.tally.begin()
		ctx, cancel := context.WithTimeout(context.Background(), FetchLimit)
		failure := g.client.Fetch(ctx)
		cancel()
		g.ended(since, 0, failure)
		time.Sleep(g.order.Pause.Value())
	}
}

// torrent calls at a fixed rate, whatever becomes of the calls before.
func (g *ground) torrent() {
	var calls sync.WaitGroup
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for !g.stop.Load() {
		<-ticker.C
		for range g.order.Rate / 200 {
			calls.Go(func() { g.incr(Counter, 0) })
		}
	}
	calls.Wait()
}

func (g *ground) consume(ctx context.Context) {
	for ctx.Err() == nil {
		value, failure := g.client.Pop(ctx)
		if ctx.Err() != nil {
			return
		}
		g.heard(Blocking, failure)
		if failure != nil {
			fmt.Fprintln(os.Stderr, "the consumer:", failure.Cause)
			if !failure.IsUnsent {
				// It may have been executed.
				g.witness.TellOf("broken", map[string]string{"link": Blocking, "cause": failure.Cause})
			}
			Pause(ctx, Again)
			continue
		}
		if element, err := strconv.ParseUint(value, 10, 64); err == nil {
			g.witness.TellOf("element", element)
		} else {
			g.witness.TellOf("trouble", "not an element: "+value)
		}
	}
}

// probe says PING until one is answered, as a user would who wants to know whether it works.
func (g *ground) probe(ctx context.Context) {
	for ctx.Err() == nil {
		since := Now()
		limited, cancel := g.limited()
		failure := g.client.Ping(limited)
		cancel()
		g.heard(Commands, failure)
		if failure == nil {
			g.worked(since)
			return
		}
		fmt.Fprintln(os.Stderr, "the probe:", failure.Cause)
		Pause(ctx, Again)
	}
}

func (g *ground) tellTotals(ctx context.Context) {
	before := Calls{}
	for Pause(ctx, 100*time.Millisecond) {
		if now := g.tally.read(); now != before {
			g.witness.TellOf("calls", now)
			before = now
		}
	}
}
