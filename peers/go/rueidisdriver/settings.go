package rueidisdriver

import (
	"time"

	"github.com/redis/rueidis"

	"peers/peer"
)

func settings(order *peer.Order, target peer.Target) rueidis.ClientOption {
	option := rueidis.ClientOption{
		InitAddress: target.Hosts,
		Username:    target.User,
		Password:    target.Password,
		// The README: without this a single address is asked whether it is a cluster, and followed as one.
		ForceSingleClient: target.Scheme == "redis",
	}
	option.Sentinel.MasterSet = target.Primary
	if order.PasswordFile != "" {
		// pkg.go.dev, ClientOption.AuthCredentialsFn: asked for each connection.
		option.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			return rueidis.AuthCredentials{Password: order.PasswordNow()}, nil
		}
	}
	if order.IsFast() {
		best(&option)
	}
	return option
}

func best(option *rueidis.ClientOption) {
	// pkg.go.dev, ClientOption.Dialer: KeepAlive (1 s by default) is the interval of the kernel's keepalive and of the
	// background PING. 400 ms is what centrifugo chose after measuring (its pull request 1192).
	option.Dialer.KeepAlive = 400 * time.Millisecond
	// The kernel's is then this one (pkg.go.dev/net, Dialer.KeepAlive: ignored where KeepAliveConfig is enabled).
	option.Dialer.KeepAliveConfig = peer.KeepAlive()
	option.Dialer.Timeout = 3 * time.Second
	option.Dialer.Control = peer.UserTimeout(peer.UserTimeoutBest)
	// pkg.go.dev, ClientOption.ConnWriteTimeout: how long a PING and a write may take; 10 s by default.
	option.ConnWriteTimeout = 2 * time.Second
	// pkg.go.dev, SentinelOption.TopologyRefreshInterval: off by default.
	option.Sentinel.TopologyRefreshInterval = 5 * time.Second
	option.Sentinel.Dialer = option.Dialer
	// pkg.go.dev, ClusterOption.ShardsRefreshInterval: off by default.
	option.ClusterOption.ShardsRefreshInterval = 5 * time.Second
}
