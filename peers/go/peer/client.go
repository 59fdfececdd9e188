package peer

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// FetchLimit is the time limit of Fetch, in both configurations: its reply comes slowly, and its caller knows. Where a client
// has no limit of one call, the call has a connection of its own with this one.
const FetchLimit = 600 * time.Second

// Failure is why a call failed.
type Failure struct {
	// IsUnsent: it is known that it was not executed.
	IsUnsent bool
	// IsAnswer: the server answered it, with an error; the connection is well.
	IsAnswer bool
	Cause    string
}

// Connect makes a client with the connections that the order's loads need.
type Connect func(order *Order, target Target, witness *Witness) (Client, error)

// Client is a client under test.
type Client interface {
	// TellsOfConnections: whether the client says by itself when it loses a connection. If not, a call that fails without
	// an answer is what its user sees of that.
	TellsOfConnections() bool
	// Deadline is how long a call may take at most, by the configuration; zero where nothing limits it.
	Deadline() time.Duration
	Incr(ctx context.Context, key string) (int64, *Failure)
	Ping(ctx context.Context) *Failure
	Echo(ctx context.Context, word string) (string, *Failure)
	// Fetch is GET big; ctx has the limit FetchLimit.
	Fetch(ctx context.Context) *Failure
	// Pop is BRPOP jobs 0.
	Pop(ctx context.Context) (string, *Failure)
	// Subscribe subscribes to news and returns once the server has confirmed.
	Subscribe(ctx context.Context) error
	// Listen reads the subscription until ctx ends.
	Listen(ctx context.Context, reader *Reader)
}

// Reader is the application's end of a subscription.
type Reader struct {
	Witness *Witness
	begins  chan struct{}
}

// WaitToBegin waits until the application wants to read.
func (r *Reader) WaitToBegin() { <-r.begins }

// Message says that a message was received. What comes after its number is ballast.
func (r *Reader) Message(payload string) {
	r.Witness.Back(Subscriptions)
	word, _, _ := strings.Cut(payload, " ")
	number, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		r.Witness.TellOf("trouble", "not a message: "+payload[:min(len(payload), 40)])
		return
	}
	r.Witness.TellOf("message", number)
}

// Pause waits, or until ctx ends; false in that case.
func Pause(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
