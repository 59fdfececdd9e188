package peer

import (
	"fmt"
	"strings"
)

// Target is where an order's URL leads.
type Target struct {
	// Scheme is redis, redis-sentinel or redis-cluster.
	Scheme string
	// Hosts are "host:port".
	Hosts []string
	// Primary is the name that the Sentinels know.
	Primary        string
	User, Password string
}

// ParseTarget reads redis://h:p, redis-sentinel://h1:p,h2:p/name or redis-cluster://h1:p,h2:p, each perhaps with
// user:password@ before the hosts.
func ParseTarget(url string) (Target, error) {
	scheme, rest, found := strings.Cut(url, "://")
	target := Target{Scheme: scheme}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		who := rest[:at]
		rest = rest[at+1:]
		user, password, hasUser := strings.Cut(who, ":")
		if hasUser {
			target.User, target.Password = user, password
		} else {
			target.Password = who
		}
	}
	hosts, path, _ := strings.Cut(rest, "/")
	target.Hosts = strings.Split(hosts, ",")
	target.Primary = path
	known := scheme == "redis" && len(target.Hosts) == 1 ||
		scheme == "redis-sentinel" && path != "" || scheme == "redis-cluster"
	if !found || !known {
		return target, fmt.Errorf("the URL is not understood: %s://…", scheme)
	}
	return target, nil
}
