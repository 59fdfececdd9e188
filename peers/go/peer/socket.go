package peer

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UserTimeoutBest is for what is sent and never acknowledged.
const UserTimeoutBest = 1_800 * time.Millisecond

// KeepAlive is the kernel's. No client's documentation names values for it and for TCP_USER_TIMEOUT: these are the kernel's
// part of romaine's Liveness::fast(), so that nobody is slower by a choice of the lab's.
func KeepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1}
}

// WatchfulDialer dials with kernel keepalive, and TCP_USER_TIMEOUT, which watches what keepalive does not (tcp(7)).
func WatchfulDialer() *net.Dialer {
	return &net.Dialer{
		Timeout:         3 * time.Second,
		KeepAliveConfig: KeepAlive(),
		Control:         UserTimeout(UserTimeoutBest),
	}
}

// UserTimeout sets TCP_USER_TIMEOUT.
func UserTimeout(timeout time.Duration) func(string, string, syscall.RawConn) error {
	return func(_, _ string, connection syscall.RawConn) error {
		var failed error
		err := connection.Control(func(descriptor uintptr) {
			failed = unix.SetsockoptInt(
				int(descriptor), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
		})
		if err != nil {
			return err
		}
		return failed
	}
}
