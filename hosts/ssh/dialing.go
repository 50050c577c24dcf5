package ssh

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// dial is [hosts.Host].DialContext.
func (f *files) dial(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "unix":
		return f.dialSocket(ctx, address)
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, invalid("no connection is made with %.20q from a host: there is tcp and unix", network)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.AddrError{Err: "no number of a port", Addr: address}}
	}
	addresses, err := f.resolve(ctx, network, host)
	if err != nil {
		return nil, err
	}
	// Each address is judged by itself: one that is closed does not close the others
	// of the name.
	var first error
	for _, at := range addresses {
		to := netip.AddrPortFrom(at, uint16(port))
		err := f.pool.rules.control(network, to.String(), nil)
		if err == nil {
			var conn net.Conn
			if conn, err = f.forward(ctx, to); err == nil {
				return conn, nil
			}
		}
		if first == nil || patchbay.CodeOf(first) == patchbay.InvalidArgument {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// resolve is what the host makes of a name.
func (f *files) resolve(ctx context.Context, network, host string) ([]netip.Addr, error) {
	fits := func(a netip.Addr) bool {
		return network == "tcp" || (network == "tcp4") == a.Unmap().Is4()
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !fits(a) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: &net.AddrError{Err: "no such address", Addr: host}}
		}
		return []netip.Addr{a}, nil
	}
	unknown := &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	if host == "" || strings.HasPrefix(host, "-") || strings.ContainsAny(host, " \n\x00") {
		return nil, unknown
	}
	if err := f.shell(ctx); err != nil {
		return nil, err
	}
	argv := []string{"getent", "ahosts", host}
	got, err := f.pool.says(ctx, argv...)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	seen := map[netip.Addr]bool{}
	for line := range strings.Lines(string(got.Output)) {
		text, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		a, err := netip.ParseAddr(text)
		if err == nil && fits(a) && !seen[a] {
			seen[a] = true
			list = append(list, a)
		}
	}
	switch {
	case len(list) > 0:
		return list, nil
	case got.Exit == 126, got.Exit == 127:
		return nil, f.without("getent")
	}
	return nil, unknown
}

// forward opens a connection from the host.
func (f *files) forward(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return f.through(ctx, "direct-tcpip", ssh.Marshal(struct {
		Host     string
		Port     uint32
		FromHost string
		FromPort uint32
	}{to.Addr().String(), uint32(to.Port()), "127.0.0.1", 0}), net.TCPAddrFromAddrPort(to))
}

// dialSocket opens a connection to a program's socket there, as who signs in: sudo
// has no part in it.
func (f *files) dialSocket(ctx context.Context, path string) (net.Conn, error) {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return nil, invalid("a socket is dialed by its absolute path")
	}
	conn, err := f.through(ctx, "direct-streamlocal@openssh.com", ssh.Marshal(struct {
		Path     string
		Reserved string
		Zero     uint32
	}{path, "", 0}), &net.UnixAddr{Name: path, Net: "unix"})
	var op *net.OpError
	if !errors.As(err, &op) {
		return conn, err
	}
	// sshd does not say what was wrong.
	op.Err = syscall.ECONNREFUSED
	s, sessionErr := f.session(ctx)
	if sessionErr != nil {
		return nil, sessionErr
	}
	info, err := s.statOf(ctx, fxStat, path)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EACCES):
		op.Err = err
	case err == nil && !f.maySpeak(ctx, info.Info):
		op.Err = syscall.EACCES
	}
	return nil, op
}

// maySpeak reports whether who signs in may write to a socket, by its mode.
func (f *files) maySpeak(ctx context.Context, info hosts.Info) bool {
	if f.pool.become != "" { // who the login is, was never asked
		return info.Mode.Perm()&0o002 != 0 || f.pool.user() == "root"
	}
	who, err := f.identity(ctx)
	return err != nil || who.mayWrite(info)
}

// through opens a channel that is a connection.
func (f *files) through(ctx context.Context, kind string, extra []byte, to net.Addr) (net.Conn, error) {
	leave, err := take(ctx, f.pool.dials)
	if err != nil {
		return nil, err
	}
	for tries := 0; ; tries++ {
		c, err := f.pool.get(ctx, nil)
		if err != nil {
			leave()
			return nil, err
		}
		ch, requests, err := openChannel(ctx, c, kind, extra)
		if err == nil {
			go ssh.DiscardRequests(requests)
			return newStream(ch, to, leave)
		}
		if ctx.Err() != nil {
			leave()
			return nil, ctx.Err()
		}
		var no *ssh.OpenChannelError
		if errors.As(err, &no) {
			leave()
			if e := forwardError(f.pool.name, err); e != nil {
				return nil, e
			}
			return nil, &net.OpError{Op: "dial", Net: to.Network(), Addr: to, Err: reason(no.Message)}
		}
		c.cut() // it had ended, and nobody had seen
		if tries > 0 {
			leave()
			return nil, f.pool.lost()
		}
		<-c.done
	}
}

// forwardError is a host that makes no connections for who signs in; nil for any
// other failure.
func forwardError(host string, err error) *patchbay.Error {
	var no *ssh.OpenChannelError
	if !errors.As(err, &no) || no.Reason != ssh.Prohibited && no.Reason != ssh.UnknownChannelType {
		return nil
	}
	return lacks("the sshd of %s makes no connections for who signs in there (it says: administratively prohibited)", host).
		WithFix("AllowTcpForwarding yes, AllowStreamLocalForwarding yes, and no PermitOpen or DisableForwarding that is in the way   (in its sshd_config; no restrict or no-port-forwarding in authorized_keys; then reload sshd)")
}

// reason is what sshd says of a connection that it could not make, as the system's
// error.
func reason(message string) error {
	message = strings.ToLower(message)
	for text, err := range map[string]error{
		"refused": syscall.ECONNREFUSED, "timed out": syscall.ETIMEDOUT, "no route": syscall.EHOSTUNREACH, "unreachable": syscall.ENETUNREACH,
		"permission": syscall.EACCES, "reset": syscall.ECONNRESET,
	} {
		if strings.Contains(message, text) {
			return err
		}
	}
	return errors.New("no connection is made")
}

// stream is a channel as a connection with deadlines and half-closing, which a
// channel has not: one end of a pair of sockets, whose other end is copied to and
// from the channel.
type stream struct {
	*net.UnixConn
	to  net.Addr
	end func()
}

func newStream(ch ssh.Channel, to net.Addr, leave func()) (net.Conn, error) {
	near, far, err := socketPair()
	if err != nil {
		_ = ch.Close()
		leave()
		return nil, err
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		_, _ = io.Copy(ch, far)
		_ = ch.CloseWrite()
	})
	copying.Go(func() {
		if _, err := io.Copy(far, ch); err != nil {
			_ = ch.Close() // whoever reads here has closed
		}
		_ = far.CloseWrite()
	})
	go func() {
		copying.Wait()
		_ = ch.Close()
		_ = far.Close()
		leave()
	}()
	return &stream{near, to, func() { _ = ch.Close(); _ = far.Close() }}, nil
}

// RemoteAddr is where the host has connected to.
func (s *stream) RemoteAddr() net.Addr { return s.to }

// Close ends both directions.
func (s *stream) Close() error {
	err := s.UnixConn.Close()
	s.end()
	return err
}

func socketPair() (near, far *net.UnixConn, err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ends := make([]*net.UnixConn, 2)
	for i, fd := range pair {
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "forwarded")
		conn, connErr := net.FileConn(file) // of a copy
		_ = file.Close()
		if connErr != nil {
			err = connErr
			continue
		}
		ends[i], _ = conn.(*net.UnixConn)
	}
	if err != nil || ends[0] == nil || ends[1] == nil {
		for _, end := range ends {
			if end != nil {
				_ = end.Close()
			}
		}
		return nil, nil, errors.Join(err, errors.New("no pair of sockets"))
	}
	return ends[0], ends[1], nil
}

var _ driver.Dialer = (*Host)(nil)
