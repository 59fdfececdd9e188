// The drivers for the clients in Go: `peers CLIENT`, then the order on standard input.
package main

import (
	"fmt"
	"os"

	"peers/goredis"
	"peers/peer"
	"peers/radixdriver"
	"peers/rueidisdriver"
)

func main() {
	connectors := map[string]peer.Connect{
		"go-redis": goredis.Connect,
		"rueidis":  rueidisdriver.Connect,
		"radix":    radixdriver.Connect,
	}
	var connect peer.Connect
	if len(os.Args) == 2 {
		connect = connectors[os.Args[1]]
	}
	if connect == nil {
		fmt.Fprintln(os.Stderr, "usage: peers go-redis|rueidis|radix")
		os.Exit(2)
	}
	peer.Main(connect)
}
