package docker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver asks the name servers of a container, as its own resolver would: this
// process's, with its own files and search list, is another machine's.
type resolver struct {
	servers []netip.AddrPort
	search  []string
	ndots   int
	hosts   map[string][]netip.Addr
	dial    func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
}

// parseResolver reads a container's resolv.conf and hosts.
func parseResolver(conf, hosts string) *resolver {
	r := &resolver{ndots: 1, hosts: hostNames(hosts)}
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(fields[1]); err == nil && len(r.servers) < 3 {
				r.servers = append(r.servers, netip.AddrPortFrom(a, 53))
			}
		case "search", "domain":
			r.search = fields[1:]
		case "options":
			for _, option := range fields[1:] {
				if text, ok := strings.CutPrefix(option, "ndots:"); ok {
					if n, err := strconv.Atoi(text); err == nil {
						r.ndots = min(max(n, 0), 15)
					}
				}
			}
		}
	}
	return r
}

func (r *resolver) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if all := r.hosts[strings.ToLower(strings.TrimSuffix(name, "."))]; len(all) > 0 {
		return all, nil
	}
	notFound := &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	if len(r.servers) == 0 {
		return nil, notFound
	}
	var failed error
	for _, full := range r.candidates(name) {
		all, err := r.ask(ctx, full)
		if err == nil && len(all) > 0 {
			return all, nil
		}
		if err != nil && failed == nil {
			failed = &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if failed == nil {
		failed = notFound
	}
	return nil, failed
}

// candidates are what a name may be short for, in the order of resolv.conf(5).
func (r *resolver) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var list []string
	for _, domain := range r.search {
		if domain = strings.Trim(domain, "."); domain != "" {
			list = append(list, name+"."+domain+".")
		}
	}
	if strings.Count(name, ".") >= r.ndots {
		return append([]string{name + "."}, list...)
	}
	return append(list, name+".")
}

// ask asks for both kinds of addresses.
func (r *resolver) ask(ctx context.Context, name string) (all []netip.Addr, err error) {
	full, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		var failed error
		for _, server := range r.servers {
			var got []netip.Addr
			if got, failed = r.query(ctx, "udp", server, full, kind); errors.Is(failed, errTruncated) {
				got, failed = r.query(ctx, "tcp", server, full, kind)
			}
			if failed == nil {
				all = append(all, got...)
				break
			}
		}
		if failed != nil {
			err = failed
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, err
}

var errTruncated = errors.New("truncated")

func (r *resolver) query(ctx context.Context, network string, server netip.AddrPort, name dnsmessage.Name, kind dnsmessage.Type) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := r.dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	two := make([]byte, 2)
	_, _ = rand.Read(two)
	id := binary.BigEndian.Uint16(two)
	question := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: kind, Class: dnsmessage.ClassINET}},
	}
	packet, err := question.Pack()
	if err != nil {
		return nil, err
	}
	answer := make([]byte, 64<<10)
	var n int
	if network == "tcp" {
		size := make([]byte, 2)
		binary.BigEndian.PutUint16(size, uint16(len(packet))) // #nosec G115 -- a question is short
		if _, err = conn.Write(slices.Concat(size, packet)); err == nil {
			_, err = io.ReadFull(conn, size)
		}
		n = int(binary.BigEndian.Uint16(size))
		if err == nil {
			_, err = io.ReadFull(conn, answer[:n])
		}
	} else if _, err = conn.Write(packet); err == nil {
		n, err = conn.Read(answer)
	}
	if err != nil {
		return nil, err
	}
	var m dnsmessage.Message
	if err := m.Unpack(answer[:n]); err != nil {
		return nil, err
	}
	switch {
	case m.ID != id || !m.Response:
		return nil, errors.New("an answer to something else")
	case m.Truncated && network == "udp":
		return nil, errTruncated
	case m.RCode == dnsmessage.RCodeNameError:
		return nil, nil
	case m.RCode != dnsmessage.RCodeSuccess:
		return nil, errors.New("the name server answers " + m.RCode.String())
	}
	var all []netip.Addr
	for _, a := range m.Answers {
		switch body := a.Body.(type) {
		case *dnsmessage.AResource:
			all = append(all, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			all = append(all, netip.AddrFrom16(body.AAAA))
		}
	}
	return all, nil
}
