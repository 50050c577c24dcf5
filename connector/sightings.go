package connector

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

// A name whose addresses change (a pool that is shown in part, a machine that moves)
// stands for all that it had lately: what is open for a connection is open to each of
// them, so that its application finds its way whichever it is given, and nothing is
// opened and closed with every answer of a name server.
const (
	// forgets is after how long without an address, and forgetLooks after how many looks,
	// a name does not stand for it any more.
	forgets     = 72 * time.Hour
	forgetLooks = 3
	// maxLately is how many addresses are remembered besides those of the moment.
	maxLately = 32
)

// sightings are as [patchbay.Verdict].Seen.
type sightings map[string]patchbay.Sighting

// standing is what stands behind the servers of a target.
type standing struct {
	now    []netip.AddrPort // each once, in order
	lately []netip.AddrPort // not now
	seen   sightings        // of both; never nil
}

// stand looks up what stands behind servers, of which before is known.
func (s *Service) stand(ctx context.Context, servers []string, before sightings) (standing, error) {
	now := s.now().UTC()
	found := standing{seen: sightings{}}
	for _, server := range servers {
		addresses, err := s.resolve(ctx, server)
		if err != nil {
			return standing{}, err
		}
		for _, at := range addresses {
			found.now = append(found.now, at)
			found.seen[server+" "+at.String()] = patchbay.Sighting{Last: now}
		}
	}
	slices.SortFunc(found.now, netip.AddrPort.Compare)
	found.now = slices.Compact(found.now)
	latest := slices.SortedFunc(maps.Keys(before), func(a, b string) int {
		return cmp.Or(before[b].Last.Compare(before[a].Last), strings.Compare(a, b))
	})
	for _, key := range latest {
		server, text, _ := strings.Cut(key, " ")
		was := before[key]
		was.Missed++
		at, err := netip.ParseAddrPort(text)
		_, again := found.seen[key]
		switch {
		case again, err != nil, !slices.Contains(servers, server): // another registration's
		case now.Sub(was.Last) > forgets && was.Missed >= forgetLooks:
		case len(found.lately) < maxLately:
			found.seen[key] = was
			if !slices.Contains(found.now, at) && !slices.Contains(found.lately, at) {
				found.lately = append(found.lately, at)
			}
		}
	}
	return found, nil
}

// lately is what a connection's target was seen to stand for: when its way was decided
// on, and by the looks at it since.
func lately(c patchbay.Connection, held holding) sightings {
	all := sightings{}
	add := func(some sightings) {
		for key, one := range some {
			if has, ok := all[key]; !ok || one.Last.After(has.Last) || one.Last.Equal(has.Last) && one.Missed > has.Missed {
				all[key] = one
			}
		}
	}
	for _, o := range held.Openings {
		add(o.Seen)
	}
	if c.Health != nil && c.Health.UID == c.UID {
		add(c.Health.Seen)
	}
	return all
}

// remembered is lately, of a connection as it is on record; there may be none.
func (s *Service) remembered(ctx context.Context, c patchbay.Connection, held holding) (sightings, error) {
	stored, err := s.records.Connection(ctx, c.ID)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return nil, nil
	}
	return lately(stored, held), err
}
