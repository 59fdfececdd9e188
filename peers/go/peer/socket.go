package peer

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// WatchfulDialer dials with kernel keepalive (5 s, then 3 probes 2 s apart) and TCP_USER_TIMEOUT of 10 s, which watches
// what is sent and never acknowledged, as keepalive does not (tcp(7)).
func WatchfulDialer() *net.Dialer {
	return &net.Dialer{
		Timeout: 3 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3,
		},
		Control: UserTimeout(10 * time.Second),
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
