// Package rueidisdriver is the driver for rueidis.
package rueidisdriver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"peers/peer"
)

// callTimeout limits a call in the best configuration, by its context.
const callTimeout = 5 * time.Second

type driver struct {
	order  *peer.Order
	client rueidis.Client
	// fetching has another limit.
	fetching rueidis.Client
	witness  *peer.Witness
	begins   chan struct{}
	reader   *peer.Reader
	// isOurs: the next confirmation is that of a Receive that was begun here, not of a reconnect of the client's.
	isOurs atomic.Bool
}

// Connect makes one client; it keeps pools of its own for what blocks.
func Connect(order *peer.Order, target peer.Target, witness *peer.Witness) (peer.Client, error) {
	client, err := rueidis.NewClient(settings(order, target))
	if err != nil {
		return nil, err
	}
	d := &driver{order: order, client: client, fetching: client, witness: witness, begins: make(chan struct{})}
	if order.Has("fetch") {
		option := settings(order, target)
		// pkg.go.dev, ClientOption.ConnWriteTimeout: it holds for the reply, too, also where the context has more time
		// (pipe.go, syncDo), and is the client's.
		option.ConnWriteTimeout = peer.FetchLimit
		if d.fetching, err = rueidis.NewClient(option); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// TellsOfConnections: nothing is told but by the hooks of a subscription.
func (d *driver) TellsOfConnections() bool { return false }

func (d *driver) Deadline() time.Duration {
	if d.order.IsFast() {
		return callTimeout
	}
	return 0
}

func (d *driver) Incr(ctx context.Context, key string) (int64, *peer.Failure) {
	value, err := d.client.Do(ctx, d.client.B().Incr().Key(key).Build()).AsInt64()
	return value, failure(err)
}

func (d *driver) Ping(ctx context.Context) *peer.Failure {
	return failure(d.client.Do(ctx, d.client.B().Ping().Build()).Error())
}

func (d *driver) Echo(ctx context.Context, word string) (string, *peer.Failure) {
	reply, err := d.client.Do(ctx, d.client.B().Echo().Message(word).Build()).ToString()
	return reply, failure(err)
}

func (d *driver) Fetch(ctx context.Context) *peer.Failure {
	return failure(d.fetching.Do(ctx, d.fetching.B().Get().Key(peer.Big).Build()).Error())
}

func (d *driver) Pop(ctx context.Context) (string, *peer.Failure) {
	reply, err := d.client.Do(ctx, d.client.B().Brpop().Key(peer.Jobs).Timeout(0).Build()).AsStrSlice()
	if err != nil || len(reply) != 2 {
		return "", failure(err)
	}
	return reply[1], nil
}

// Subscribe starts Receive, which subscribes again by itself and ends with an error when it cannot.
func (d *driver) Subscribe(ctx context.Context) error {
	confirmed := make(chan struct{})
	confirm := sync.OnceFunc(func() { close(confirmed) })
	failed := make(chan error, 1)
	d.isOurs.Store(true)
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(notice rueidis.PubSubSubscription) {
		if notice.Kind != "subscribe" && notice.Kind != "ssubscribe" {
			// An end of the subscription: Receive returns, and says more.
			return
		}
		// The hook must not block: this is the goroutine that reads.
		if !d.isOurs.Swap(false) {
			go d.again()
			return
		}
		confirm()
		go d.witness.Back(peer.Subscriptions)
	})
	go d.receive(hooked, failed)
	select {
	case <-confirmed:
		return nil
	case err := <-failed:
		return err
	}
}

func (d *driver) again() {
	d.witness.Lost(peer.Subscriptions, "it had been lost: subscribed again")
	d.witness.Back(peer.Subscriptions)
}

func (d *driver) receive(ctx context.Context, failed chan<- error) {
	for ctx.Err() == nil {
		var command rueidis.Completed
		if d.order.Shard {
			command = d.client.B().Ssubscribe().Channel(peer.News).Build()
		} else {
			command = d.client.B().Subscribe().Channel(peer.News).Build()
		}
		err := d.client.Receive(ctx, command, func(message rueidis.PubSubMessage) {
			<-d.begins
			d.reader.Message(message.Message)
		})
		if ctx.Err() != nil {
			return
		}
		d.isOurs.Store(true)
		if err == nil {
			// pkg.go.dev, Client.Receive: nil when it was unsubscribed. Nobody asked for that here: a shard channel's slot has
			// moved (pipe.go, "sunsubscribe"), and the connection is well.
			continue
		}
		select {
		case failed <- err:
		default:
		}
		d.witness.Lost(peer.Subscriptions, fmt.Sprint(err))
		fmt.Fprintln(os.Stderr, "the subscriber:", err)
		peer.Pause(ctx, peer.Again)
	}
}

func (d *driver) Listen(_ context.Context, reader *peer.Reader) {
	reader.WaitToBegin()
	d.reader = reader
	close(d.begins)
}

// failure: only what reads is sent again by the client, so that for INCR an error reply means that it was not executed.
func failure(err error) *peer.Failure {
	if err == nil {
		return nil
	}
	_, isAnswer := rueidis.IsRedisErr(err)
	var network *net.OpError
	isUnsent := errors.As(err, &network) && network.Op == "dial"
	return &peer.Failure{IsAnswer: isAnswer, IsUnsent: isAnswer || isUnsent, Cause: err.Error()}
}
