package connector

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// seen opens a target as one of its sources finds it: under other addresses than it is
// registered with, to which the settings lead, which are probed from the source, and which
// the certificates have to be for. What this process says to it goes where it is registered.
func (s *Service) seen(ctx context.Context, r ref) (*driver.GuardedTarget, func(), error) {
	res, err := s.records.Resource(ctx, r.Target)
	if err != nil {
		return nil, nil, err
	}
	part, err := json.Marshal(r.Reach) // in the order of its names
	if err != nil {
		return nil, nil, err
	}
	return s.targets.get(ctx, res.ID, "seen "+string(part), res.ETag, func(ctx context.Context) (*driver.GuardedTarget, error) {
		return s.openSeen(ctx, res, r)
	})
}

func (s *Service) openSeen(ctx context.Context, res patchbay.Resource, r ref) (*driver.GuardedTarget, error) {
	nowhere := patchbay.Errorf(patchbay.NotSupported, "the driver of %s can't be told that a source finds it elsewhere", res.ID.Name()).
		WithFix("register %s with its address as its endpoint, or connect with --opt-out publicnetwork", res.ID.Name())
	var err error
	if res.Endpoint, err = driver.MoveEndpoint(res.Endpoint, r.Reach); err != nil {
		return nil, nowhere
	}
	reach, back := r.Reach, map[string][]string{}
	for _, at := range slices.Sorted(maps.Keys(reach)) {
		back[reach[at]] = append(back[reach[at]], at)
	}
	target, err := s.openTargetBy(ctx, res, movedDialer{s.dialer, back})
	if err != nil {
		return nil, err
	}
	// The driver has the last word: what it would dial is where the source finds it.
	r.Reach = nil
	plain, done, err := s.openRef(ctx, r)
	if err != nil {
		_ = target.Close()
		return nil, err
	}
	defer done()
	servers, err := s.serversOf(ctx, plain, r.Sub)
	if err == nil {
		var was, is []string
		for _, server := range servers {
			if found, ok := reach[server]; ok {
				server = found
			}
			if !slices.Contains(was, server) { // several of a cluster's nodes are one Service
				was = append(was, server)
			}
		}
		if is, err = s.serversOf(ctx, target, r.Sub); err == nil && !slices.Equal(is, was) {
			err = nowhere
		}
	}
	if err != nil {
		_ = target.Close()
		return nil, err
	}
	return target, nil
}

// serversOf are the addresses of a target, as its driver dials them.
func (s *Service) serversOf(ctx context.Context, target *driver.GuardedTarget, sub string) ([]string, error) {
	prepared, err := target.PrepareProbe(ctx, driver.ProbeRequest{Dialer: s.dialer, Sub: sub})
	return prepared.Servers, err
}

// seenFacts are what a client needs to reach a target from its source.
func (s *Service) seenFacts(ctx context.Context, r ref, source patchbay.ID) (driver.TargetInfo, error) {
	target, done, err := s.openRef(ctx, r)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	defer done()
	info, err := inspect(ctx, target, r.Sub)
	if patchbay.CodeOf(err) == patchbay.CertificateInvalid {
		// The application's library would find the same, and later.
		return info, patchbay.Errorf(patchbay.CertificateInvalid, "%s finds %s at %s: %s", source.Name(), r.Target.Name(), reachText(r.Reach), patchbay.AsError(err).Message).
			WithFix("give it a certificate that is for that name too")
	}
	return info, err
}

func reachText(reach map[string]string) string {
	return list(slices.Sorted(maps.Values(reach)))
}

// movedDialer dials what a source calls otherwise where it is registered: at one of several
// places, where there are several. Each has its share of the time that is left.
type movedDialer struct {
	driver.Dialer
	back map[string][]string
}

func (d movedDialer) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	all, ok := d.back[address]
	if !ok {
		all = []string{address}
	}
	for i, at := range all {
		one, cancel := ctx, func() {}
		if ends, ok := ctx.Deadline(); ok {
			one, cancel = context.WithTimeout(ctx, time.Until(ends)/time.Duration(len(all)-i))
		}
		conn, err = d.Dialer.DialContext(one, network, at)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return conn, err
}
