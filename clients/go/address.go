package trunkline

import (
	"net"
	"strconv"
	"strings"
)

const (
	unixForm      = "unix:"
	tlsForm       = "tls://"
	maxSocketPath = 107 // bytes of sun_path on Linux, less its end
	addressForms  = "want host:port, such as 127.0.0.1:7431, tls://host:port, or unix:/path"
)

// address is where a service or a sidecar is: host:port, tls://host:port or unix:/path.
type address string

func (a address) isUnix() bool { return strings.HasPrefix(string(a), unixForm) }
func (a address) isTLS() bool  { return strings.HasPrefix(string(a), tlsForm) }

// hostPort returns the address of a socket of the network, as net.Dial takes it.
func (a address) hostPort() string { return strings.TrimPrefix(string(a), tlsForm) }

// target returns the address as gRPC takes it: names are looked up anew where a connection is lost.
func (a address) target() string {
	if a.isUnix() {
		return string(a)
	}
	return "dns:///" + a.hostPort()
}

// check returns an [InvalidAddress] that says what an address is.
func (a address) check() error {
	why := a.fault()
	if why == "" {
		return nil
	}
	shown := string(a)
	if len(shown) > 80 {
		shown = shown[:80]
	}
	return invalid(InvalidAddress, "address", shown, "%q is no address: %s", shown, why)
}

func (a address) fault() string {
	if a.isUnix() {
		path := strings.TrimPrefix(string(a), unixForm)
		if path == "" || strings.Contains(path, "\x00") {
			return "a UNIX socket needs a path, such as unix:/run/trunkline/bus.sock"
		}
		if len(path) > maxSocketPath {
			return "a UNIX socket's path has at most 107 bytes"
		}
		return ""
	}
	if scheme, _, found := strings.Cut(a.hostPort(), "://"); found {
		return addressForms + ": " + scheme + ":// has no place in an address"
	}
	host, port, err := net.SplitHostPort(a.hostPort())
	if err != nil || host == "" || strings.ContainsAny(host, "/ \t\r\n") {
		return addressForms
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return addressForms + ": a port is 1 to 65535"
	}
	if number == 0 {
		return addressForms + ": nothing serves on port 0"
	}
	return ""
}

// isLoopback tells whether an address stays on this machine whatever a name server says.
func (a address) isLoopback() bool {
	if a.isUnix() {
		return true
	}
	host, _, err := net.SplitHostPort(a.hostPort())
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
