package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// callsEndWithin is how long calls are waited for after the order to stop: those that have not ended then are counted as
// never returned. Ten seconds more than the longest limit that any client sets a call by default (Lettuce: 60 s).
const callsEndWithin = 70 * time.Second

// Main drives a client by what comes on standard input, until it is told to stop or the input ends.
func Main(connect Connect) {
	witness := newWitness()
	if err := drive(connect, witness); err != nil {
		witness.TellOf("trouble", err.Error())
	}
	witness.Tell("finished")
	<-witness.done
	os.Exit(0)
}

func drive(connect Connect, witness *Witness) error {
	lines := bufio.NewScanner(os.Stdin)
	if !lines.Scan() {
		return errors.New("no order came")
	}
	order := &Order{}
	if err := json.Unmarshal(lines.Bytes(), order); err != nil {
		return fmt.Errorf("the order is not understood: %w", err)
	}
	target, err := ParseTarget(order.URL)
	if err != nil {
		return err
	}
	client, err := connect(order, target, witness)
	if err != nil {
		return fmt.Errorf("the client cannot connect: %w", err)
	}
	g := &ground{client: client, order: order, witness: witness, tally: &tally{}, stop: &atomic.Bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var callers sync.WaitGroup
	begins := make(chan struct{})
	grounds := []*ground{g}
	for range order.Clients - 1 {
		another := *g
		another.witness = witness.ForAnother()
		if another.client, err = connect(order, target, another.witness); err != nil {
			return fmt.Errorf("one of many clients cannot connect: %w", err)
		}
		grounds = append(grounds, &another)
	}
	for _, each := range grounds {
		if err := each.start(ctx, &callers, begins); err != nil {
			return err
		}
	}
	go g.tellTotals(ctx)
	witness.Tell("ready")
	g.obey(ctx, lines, begins)

	g.stop.Store(true)
	ended := make(chan struct{})
	go func() {
		callers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(callsEndWithin):
		g.tally.giveUp()
	}
	cancel()
	witness.TellOf("calls", g.tally.read())
	return nil
}

// obey follows the controls until it is told to stop.
func (g *ground) obey(ctx context.Context, lines *bufio.Scanner, begins chan struct{}) {
	reading := sync.OnceFunc(func() { close(begins) })
	if g.order.Consume {
		reading()
	}
	for lines.Scan() {
		var control string
		if err := json.Unmarshal(lines.Bytes(), &control); err != nil {
			// A newer lab may know more.
			fmt.Fprintln(os.Stderr, "not a control:", lines.Text())
			continue
		}
		switch control {
		case "probe":
			go g.probe(ctx)
		case "consume":
			reading()
		case "stop":
			return
		}
	}
}

func (g *ground) start(ctx context.Context, callers *sync.WaitGroup, begins chan struct{}) error {
	for _, load := range g.order.Loads {
		switch load {
		case "idle":
		case "callers":
			for range g.order.Callers {
				callers.Go(g.call)
			}
		case "spread":
			for range g.order.Callers {
				callers.Go(g.spread)
			}
		case "droppers":
			for caller := range g.order.Callers {
				callers.Go(func() { g.dropCalls(caller) })
			}
		case "torrent":
			callers.Go(g.torrent)
		case "fetch":
			callers.Go(g.fetch)
		case "blocked":
			go g.consume(ctx)
		case "subscribed":
			if err := g.client.Subscribe(ctx); err != nil {
				return fmt.Errorf("cannot subscribe: %w", err)
			}
			go g.client.Listen(ctx, &Reader{Witness: g.witness, begins: begins})
		default:
			return fmt.Errorf("not supported: the load %s", load)
		}
	}
	return nil
}
