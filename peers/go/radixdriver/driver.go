// Package radixdriver is the driver for radix.
package radixdriver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mediocregopher/radix/v4"
	"github.com/mediocregopher/radix/v4/resp/resp3"

	"peers/peer"
)

// callTimeout limits a call in the best configuration, by its context.
const callTimeout = 5 * time.Second

type asker interface {
	Do(context.Context, radix.Action) error
}

type driver struct {
	order    *peer.Order
	target   peer.Target
	witness  *peer.Witness
	commands asker
	blocking asker
	pubsub   radix.PubSubConn
}

// Connect makes a pool for commands and, since a connection is shared by calls and BRPOP holds it, one for the consumer.
func Connect(order *peer.Order, target peer.Target, witness *peer.Witness) (peer.Client, error) {
	d := &driver{order: order, target: target, witness: witness}
	var err error
	if d.commands, err = d.connect(d.pool(peer.Commands, 0)); err != nil {
		return nil, err
	}
	if order.Has("blocked") {
		if d.blocking, err = d.connect(d.pool(peer.Blocking, 1)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// TellsOfConnections: by the pool's trace.
func (d *driver) TellsOfConnections() bool { return true }

func (d *driver) Deadline() time.Duration {
	if d.order.IsFast() {
		return callTimeout
	}
	return 0
}

func (d *driver) Incr(ctx context.Context, key string) (int64, *peer.Failure) {
	var value int64
	err := d.commands.Do(ctx, radix.Cmd(&value, "INCR", key))
	return value, failure(err)
}

func (d *driver) Ping(ctx context.Context) *peer.Failure {
	return failure(d.commands.Do(ctx, radix.Cmd(nil, "PING")))
}

func (d *driver) Echo(ctx context.Context, word string) (string, *peer.Failure) {
	var reply string
	err := d.commands.Do(ctx, radix.Cmd(&reply, "ECHO", word))
	return reply, failure(err)
}

func (d *driver) Fetch(ctx context.Context) *peer.Failure {
	var value []byte
	return failure(d.commands.Do(ctx, radix.Cmd(&value, "GET", peer.Big)))
}

func (d *driver) Pop(ctx context.Context) (string, *peer.Failure) {
	var reply []string
	err := d.blocking.Do(ctx, radix.Cmd(&reply, "BRPOP", peer.Jobs, "0"))
	if err != nil || len(reply) != 2 {
		return "", failure(err)
	}
	return reply[1], nil
}

func (d *driver) Subscribe(ctx context.Context) error {
	if d.order.Shard {
		return errors.New("not supported: shard channels")
	}
	pubsub, err := d.persistent(ctx)
	if err != nil {
		return err
	}
	d.pubsub = pubsub
	return pubsub.Subscribe(ctx, peer.News)
}

func (d *driver) Listen(ctx context.Context, reader *peer.Reader) {
	reader.WaitToBegin()
	for ctx.Err() == nil {
		message, err := d.pubsub.Next(ctx)
		switch {
		case err == nil:
			reader.Message(string(message.Message))
		case ctx.Err() == nil:
			reader.Witness.Lost(peer.Subscriptions, err.Error())
			fmt.Fprintln(os.Stderr, "the subscriber:", err)
			peer.Pause(ctx, peer.Again)
		}
	}
}

// failure: a call is sent once, so that an error reply means that it was not executed.
func failure(err error) *peer.Failure {
	if err == nil {
		return nil
	}
	var answer resp3.SimpleError
	isAnswer := errors.As(err, &answer)
	return &peer.Failure{IsAnswer: isAnswer, IsUnsent: isAnswer, Cause: err.Error()}
}
