package relay

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/yamux"
)

// Remote is a network that a relay runs in.
type Remote struct {
	session *yamux.Session
}

var _ Network = (*Remote)(nil)

// Open speaks to a relay over its standard input and output, which [Remote.Close]
// closes. It returns once the relay has answered: ErrSilent when it ends instead.
func Open(ctx context.Context, relay io.ReadWriteCloser) (*Remote, error) {
	session, err := yamux.Client(relay, quiet())
	if err != nil {
		_ = relay.Close()
		return nil, err
	}
	r := &Remote{session}
	if _, err := r.Lookup(ctx, "localhost"); err != nil && (session.IsClosed() || ctx.Err() != nil) {
		_ = r.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, ErrSilent
	}
	return r, nil
}

// ErrSilent is a program that was to relay, and ended without a word.
var ErrSilent = errors.New("it ends at once")

// Close ends the relay.
func (r *Remote) Close() error { return r.session.Close() }

func (r *Remote) ask(ctx context.Context, asked request) (net.Conn, reply, error) {
	stream, err := r.session.OpenStream()
	if err != nil {
		return nil, reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })
	line, _ := json.Marshal(asked)
	var got reply
	if _, err = stream.Write(append(line, '\n')); err == nil {
		// What follows the line is the other side's: not one byte more is read.
		err = readLine(stream, &got)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = stream.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, reply{}, err
	}
	return stream, got, nil
}

func readLine(r io.Reader, into any) error {
	var line []byte
	one := make([]byte, 1)
	for len(line) < 64<<10 {
		if _, err := io.ReadFull(r, one); err != nil {
			return err
		}
		if one[0] == '\n' {
			return json.Unmarshal(line, into)
		}
		line = append(line, one[0])
	}
	return errors.New("it does not answer as a relay")
}

// Lookup implements [Network].
func (r *Remote) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	stream, got, err := r.ask(ctx, request{Lookup: name})
	if err != nil {
		return nil, err
	}
	_ = stream.Close()
	if got.Error != "" {
		return nil, &net.DNSError{Err: got.Error, Name: name, IsNotFound: got.NotFound, IsTemporary: !got.NotFound}
	}
	return got.Addresses, nil
}

// Dial implements [Network].
func (r *Remote) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	stream, got, err := r.ask(ctx, request{Network: network, Dial: to.String()})
	if err != nil {
		return nil, err
	}
	if err := got.err(); err != nil {
		_ = stream.Close()
		return nil, err
	}
	return stream, nil
}
