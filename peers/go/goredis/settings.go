package goredis

import (
	"context"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"peers/peer"
)

func newClient(order *peer.Order, target peer.Target) redis.UniversalClient {
	options := &redis.UniversalOptions{
		Addrs:      target.Hosts,
		Username:   target.User,
		Password:   target.Password,
		MasterName: target.Primary,
	}
	if order.PasswordFile != "" {
		// pkg.go.dev, Options.CredentialsProvider: asked for each connection.
		options.CredentialsProvider = func() (string, string) { return "", order.PasswordNow() }
	}
	if order.IsFast() {
		best(options)
	}
	switch target.Scheme {
	case "redis-cluster":
		return redis.NewClusterClient(options.Cluster())
	case "redis-sentinel":
		return redis.NewFailoverClient(options.Failover())
	default:
		return redis.NewClient(options.Simple())
	}
}

func best(options *redis.UniversalOptions) {
	// pkg.go.dev, Options.Dialer: the default one has keepalive of 30 s, 5 s and 3, and no TCP_USER_TIMEOUT.
	options.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		return peer.WatchfulDialer().DialContext(ctx, network, address)
	}
	options.DialTimeout = 3 * time.Second
	// redis.io, "go-redis in production": time-outs shorter than the callers' own. The default is 5 s.
	options.ReadTimeout = 2 * time.Second
	options.WriteTimeout = 2 * time.Second
	// pkg.go.dev, Options.ContextTimeoutEnabled: without it a call does not end with its context while it reads.
	options.ContextTimeoutEnabled = true
}
