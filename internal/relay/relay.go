// Package relay speaks from a network that this process is not in, by this very
// program running in there: what the two say to each other over the other's
// standard input and output. Who starts it there, in a container or a pod, is a
// source's to know.
package relay

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
)

// Command is the argument with which this program relays: see [Main].
const Command = "__relay"

// Life is how long a relay lives at most, should nobody end it.
const Life = 10 * time.Minute

// A request is the first line of a stream, and a reply the first one that comes back.
type request struct {
	Lookup  string `json:"lookup,omitempty"`
	Network string `json:"network,omitempty"`
	Dial    string `json:"dial,omitempty"`
}

type reply struct {
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Error     string       `json:"error,omitempty"`
	Errno     int          `json:"errno,omitempty"`
	NotFound  bool         `json:"notFound,omitempty"`
	Timeout   bool         `json:"timeout,omitempty"`
}

// err is what a connection was refused with there.
func (r reply) err() error {
	switch {
	case r.Error == "":
		return nil
	case r.Timeout:
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	case r.Errno > 0:
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.Errno(r.Errno))}
	}
	return errors.New(r.Error)
}

func replyOf(err error) reply {
	if err == nil {
		return reply{}
	}
	r := reply{Error: err.Error()}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		r.NotFound = dns.IsNotFound
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		r.Errno = int(number)
	}
	var timeout net.Error
	r.Timeout = errors.As(err, &timeout) && timeout.Timeout()
	return r
}

// Main is the program that relays. It ends with its input, and not when it is told
// to: a pod is told so as soon as somebody speaks to it, see the driver kubernetes.
func Main() error {
	signal.Ignore(syscall.SIGTERM)
	return serve(os.Stdin, os.Stdout)
}

// serve looks up names and dials for whoever speaks to it over in and out, until in
// ends.
func serve(in io.Reader, out io.Writer) error {
	session, err := yamux.Server(duplex{in, out}, quiet())
	if err != nil {
		return err
	}
	life := time.AfterFunc(Life, func() { _ = session.Close() })
	defer life.Stop()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return nil // whoever spoke is gone
		}
		go func() {
			defer func() { _ = stream.Close() }()
			answer(stream)
		}()
	}
}

func answer(stream net.Conn) {
	reader := bufio.NewReader(stream)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return
	}
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	replies := json.NewEncoder(stream)
	if asked.Lookup != "" {
		all, err := (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", asked.Lookup)
		r := replyOf(err)
		for _, a := range all {
			r.Addresses = append(r.Addresses, a.Unmap())
		}
		_ = replies.Encode(r)
		return
	}
	conn, err := new(net.Dialer).DialContext(ctx, asked.Network, asked.Dial)
	if replies.Encode(replyOf(err)) != nil || err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	go func() {
		_, _ = io.Copy(conn, reader)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, _ = io.Copy(stream, conn)
}

func quiet() *yamux.Config {
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	c.EnableKeepAlive = false // the streams below it know when they end
	return c
}

// duplex is two streams as one.
type duplex struct {
	io.Reader
	io.Writer
}

// Close does nothing: the streams are their owner's.
func (duplex) Close() error { return nil }
