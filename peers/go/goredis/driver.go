// Package goredis is the driver for go-redis.
package goredis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"peers/peer"
)

// callTimeout limits a call in the best configuration. By default a call may take several read time-outs and retries.
const callTimeout = 5 * time.Second

type driver struct {
	order        *peer.Order
	client       redis.UniversalClient
	fetching     redis.Cmdable
	subscription *redis.PubSub
	messages     <-chan *redis.Message
	notices      <-chan interface{}
}

// Connect makes one client; it has its own pool, with a connection for each blocking call.
func Connect(order *peer.Order, target peer.Target, _ *peer.Witness) (peer.Client, error) {
	d := &driver{order: order, client: newClient(order, target)}
	d.fetching = d.client
	if single, ok := d.client.(*redis.Client); ok {
		// pkg.go.dev, Client.WithTimeout: the same client and pool, another limit of reads and writes. A cluster's client has
		// no such method.
		d.fetching = single.WithTimeout(peer.FetchLimit)
	}
	// The client dials when it is first asked: an order without a server is refused here.
	if err := d.client.Ping(context.Background()).Err(); err != nil {
		return nil, err
	}
	return d, nil
}

// TellsOfConnections: there is a hook for new connections (OnConnect), none for lost ones.
func (d *driver) TellsOfConnections() bool { return false }

func (d *driver) Deadline() time.Duration {
	if d.order.IsFast() {
		return callTimeout
	}
	return 0
}

func (d *driver) Incr(ctx context.Context, key string) (int64, *peer.Failure) {
	value, err := d.client.Incr(ctx, key).Result()
	return value, failure(err)
}

func (d *driver) Ping(ctx context.Context) *peer.Failure {
	return failure(d.client.Ping(ctx).Err())
}

func (d *driver) Echo(ctx context.Context, word string) (string, *peer.Failure) {
	reply, err := d.client.Echo(ctx, word).Result()
	return reply, failure(err)
}

func (d *driver) Fetch(ctx context.Context) *peer.Failure {
	return failure(d.fetching.Get(ctx, peer.Big).Err())
}

func (d *driver) Pop(ctx context.Context) (string, *peer.Failure) {
	reply, err := d.client.BRPop(ctx, 0, peer.Jobs).Result()
	if err != nil || len(reply) != 2 {
		return "", failure(err)
	}
	return reply[1], nil
}

func (d *driver) Subscribe(ctx context.Context) error {
	if d.order.Shard {
		d.subscription = d.client.SSubscribe(ctx, peer.News)
	} else {
		d.subscription = d.client.Subscribe(ctx, peer.News)
	}
	if _, err := d.subscription.Receive(ctx); err != nil {
		return err
	}
	if d.order.IsFast() {
		// pkg.go.dev, PubSub.ChannelWithSubscriptions: tells when it has subscribed again. The health check is a PING
		// after so long without a message (pubsub.go; 3 s by default), the size is in messages (100 by default).
		d.notices = d.subscription.ChannelWithSubscriptions(
			redis.WithChannelHealthCheckInterval(time.Second), redis.WithChannelPingTimeout(2*time.Second),
			redis.WithChannelSize(65_536))
	} else {
		// As the documentation's first example of it.
		d.messages = d.subscription.Channel()
	}
	return nil
}

func (d *driver) Listen(ctx context.Context, reader *peer.Reader) {
	reader.WaitToBegin()
	if d.messages != nil {
		// Nothing is told here, neither of a loss nor of the server's "sunsubscribe" (pubsub.go, initMsgChan).
		for message := range d.messages {
			reader.Message(message.Payload)
		}
	}
	for d.notices != nil {
		switch notice := (<-d.notices).(type) {
		case *redis.Message:
			reader.Message(notice.Payload)
		case *redis.Subscription:
			if notice.Kind == "sunsubscribe" {
				// The server's word that the channel's slot has moved, and no loss of the connection.
				d.subscribeAgain(ctx)
				continue
			}
			reader.Witness.Lost(peer.Subscriptions, "it had been lost: "+notice.Kind+" again")
			reader.Witness.Back(peer.Subscriptions)
		default:
			d.notices = nil
		}
	}
	reader.Witness.Lost(peer.Subscriptions, "the channel of messages was closed")
}

// subscribeAgain makes another subscription: a PubSub keeps the connection to the node that it has chosen first.
func (d *driver) subscribeAgain(ctx context.Context) {
	for ctx.Err() == nil {
		_ = d.subscription.Close()
		if cluster, ok := d.client.(*redis.ClusterClient); ok {
			// pkg.go.dev, ClusterClient.ReloadState: asks where the slots are now.
			cluster.ReloadState(ctx)
		}
		err := d.Subscribe(ctx)
		if err == nil {
			return
		}
		fmt.Fprintln(os.Stderr, "the subscriber:", err)
		peer.Pause(ctx, peer.Again)
	}
}

// failure: a call is sent again by the client (MaxRetries 3), also one that may have been executed, so that its last error
// does not tell.
func failure(err error) *peer.Failure {
	if err == nil {
		return nil
	}
	var answer redis.Error
	return &peer.Failure{IsAnswer: errors.As(err, &answer), Cause: err.Error()}
}
