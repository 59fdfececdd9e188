// Package peer is what every driver in Go shares: the line protocol, the loads, the counting.
package peer

import (
	"os"
	"strings"
	"time"
)

const (
	// Jobs is the list that the consumer pops from.
	Jobs = "jobs"
	// News is the channel that the subscriber listens to.
	News = "news"
	// Counter is the key that the callers increment.
	Counter = "counter"
	// SpreadKeys is over how many keys the load "spread" is spread: counter:0, counter:1, …
	SpreadKeys = 256
	// Big is the key of the large value.
	Big = "big"
)

// Links: which of a client's connections.
const (
	Commands      = "commands"
	Blocking      = "blocking"
	Subscriptions = "subscriptions"
)

// Duration is as the lab writes it: seconds and nanoseconds.
type Duration struct {
	Secs  int64 `json:"secs"`
	Nanos int64 `json:"nanos"`
}

// Value is the same duration.
func (d Duration) Value() time.Duration {
	return time.Duration(d.Secs)*time.Second + time.Duration(d.Nanos)
}

// Order is what a driver is to do. Fields that it does not know are skipped.
type Order struct {
	URL          string   `json:"url"`
	Pace         string   `json:"pace"`
	Clients      int      `json:"clients"`
	Loads        []string `json:"loads"`
	Callers      int      `json:"callers"`
	Pause        Duration `json:"pause"`
	Rate         int      `json:"rate"`
	Consume      bool     `json:"consume"`
	Shard        bool     `json:"shard"`
	PasswordFile string   `json:"password_file"`
}

// IsFast tells whether the documented best configuration is wanted.
func (o *Order) IsFast() bool { return o.Pace == "fast" }

// Has tells whether a load is asked for.
func (o *Order) Has(load string) bool {
	for _, each := range o.Loads {
		if each == load {
			return true
		}
	}
	return false
}

// PasswordNow is the password that is in the file at this moment. An unreadable file is an empty password, which the
// server refuses: that is retried, too.
func (o *Order) PasswordNow() string {
	text, _ := os.ReadFile(o.PasswordFile)
	return strings.TrimSpace(string(text))
}

// Calls is what became of the calls so far.
type Calls struct {
	Acked         int64 `json:"acked"`
	Refused       int64 `json:"refused"`
	Unknown       int64 `json:"unknown"`
	Open          int64 `json:"open"`
	Late          int64 `json:"late"`
	Foreign       int64 `json:"foreign"`
	NeverReturned int64 `json:"never_returned"`
	SlowestMs     int64 `json:"slowest_ms"`
}

// Now is this moment: microseconds since 1970, by the clock that the lab's process reads, too.
func Now() int64 { return time.Now().UnixMicro() }
