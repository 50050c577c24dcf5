package connector

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"slices"

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
	back := map[string]string{}
	for at, found := range r.Reach {
		back[found] = at
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
	was, err := s.serversOf(ctx, plain, r.Sub)
	if err == nil {
		for i, server := range was {
			for found, at := range back {
				if at == server {
					was[i] = found
				}
			}
		}
		var is []string
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

// movedDialer dials what a source calls otherwise where it is registered.
type movedDialer struct {
	driver.Dialer
	back map[string]string
}

func (d movedDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if at, ok := d.back[address]; ok {
		address = at
	}
	return d.Dialer.DialContext(ctx, network, address)
}
