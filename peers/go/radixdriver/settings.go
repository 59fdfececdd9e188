package radixdriver

import (
	"context"
	"time"

	"github.com/mediocregopher/radix/v4"
	"github.com/mediocregopher/radix/v4/trace"

	"peers/peer"
)

func (d *driver) dialer() radix.Dialer {
	dialer := radix.Dialer{AuthUser: d.target.User, AuthPass: d.target.Password}
	if d.order.IsFast() {
		// pkg.go.dev, Dialer.NetDialer: Go's own by default.
		dialer.NetDialer = peer.WatchfulDialer()
	}
	if d.order.PasswordFile == "" {
		return dialer
	}
	// pkg.go.dev, Dialer.CustomConn: the only way to a password that changes.
	return radix.Dialer{CustomConn: func(ctx context.Context, network, address string) (radix.Conn, error) {
		each := dialer
		each.AuthPass = d.order.PasswordNow()
		return each.Dial(ctx, network, address)
	}}
}

func (d *driver) pool(link string, size int) radix.PoolConfig {
	config := radix.PoolConfig{Dialer: d.dialer(), Size: size}
	config.Trace.ConnClosed = func(closed trace.PoolConnClosed) {
		d.witness.Lost(link, "the pool closed a connection: "+string(closed.Reason))
	}
	config.Trace.ConnCreated = func(created trace.PoolConnCreated) {
		if created.Err == nil {
			d.witness.Back(link)
		}
	}
	if d.order.IsFast() {
		// pkg.go.dev, PoolConfig: the PING of a random connection (every 5 s divided by the pool's size by default), and
		// how long to wait between two dials (125 ms to 4 s).
		config.PingInterval = 500 * time.Millisecond
		config.MaxReconnectInterval = 2 * time.Second
	}
	return config
}

func (d *driver) connect(pool radix.PoolConfig) (asker, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	switch d.target.Scheme {
	case "redis-cluster":
		return radix.ClusterConfig{PoolConfig: pool}.New(ctx, d.target.Hosts)
	case "redis-sentinel":
		return radix.SentinelConfig{PoolConfig: pool}.New(ctx, d.target.Primary, d.target.Hosts)
	default:
		return pool.New(ctx, "tcp", d.target.Hosts[0])
	}
}

// persistent is a subscriber that connects and subscribes again by itself. Where it connects to is asked each time.
func (d *driver) persistent(ctx context.Context) (radix.PubSubConn, error) {
	config := radix.PersistentPubSubConnConfig{Dialer: d.dialer()}
	config.Trace.InternalError = func(failed trace.PersistentPubSubInternalError) {
		d.witness.Lost(peer.Subscriptions, failed.Err.Error())
	}
	if d.order.IsFast() {
		// pkg.go.dev, PubSubConfig.PingInterval: 5 s by default.
		config.PubSubConfig.PingInterval = time.Second
	}
	return config.New(ctx, func() (string, string, error) {
		address := d.target.Hosts[0]
		sets, ok := d.commands.(interface {
			Clients() (map[string]radix.ReplicaSet, error)
		})
		if !ok {
			return "tcp", address, nil
		}
		replicaSets, err := sets.Clients()
		if err != nil {
			return "", "", err
		}
		// Any primary will do: a cluster hands messages on to all its nodes.
		for _, set := range replicaSets {
			address = set.Primary.Addr().String()
		}
		return "tcp", address, nil
	})
}
