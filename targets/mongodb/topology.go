package mongodb

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	// maxMembers is how many a replica set may have, and maxSide how many other servers
	// are spoken with for one login.
	maxMembers, maxSide = 50, 8
	// sideLimit is how long one of them may take: it is not what decides.
	sideLimit = 3 * time.Second
)

// dialable reports whether what a server calls another one can be dialed.
func dialable(at string) bool {
	host, port, err := net.SplitHostPort(at)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && n > 0 && driver.IsHost(host)
}

// find is the server that takes changes: the primary of the set that the servers are of,
// a mongos, or the only one. A server of the set says who the primary is; nobody has
// signed in before that.
func find(ctx context.Context, c *config, d driver.Dialer, servers []string, who login, refusal patchbay.Code) (*link, error) {
	queue := slices.Clone(servers)
	var tried []string
	var first, leaderless error
	set := ""
	for len(queue) > 0 && len(tried) < maxServers+maxMembers {
		at := queue[0]
		queue = queue[1:]
		if slices.Contains(tried, at) {
			continue
		}
		tried = append(tried, at)
		l, err := connect(ctx, c, d, at, who, refusal)
		if err != nil {
			if first == nil {
				first = err
			}
			if ctx.Err() != nil {
				return nil, err
			}
			continue
		}
		h := l.hello
		if set != "" && h.Set != "" && h.Set != set {
			l.close()
			return nil, patchbay.Errorf(patchbay.TargetMisbehaved, "the servers of the endpoint are of several replica sets, or %s is another than it is said to be", at).
				WithFix("see rs.status() on each of them")
		}
		if h.router() || h.Primary {
			return l, nil
		}
		l.close()
		if set == "" {
			set = h.Set
		}
		switch {
		case c.direct:
			return nil, patchbay.Errorf(patchbay.TargetUnreachable, "%s is no primary, and it alone is spoken with: users are changed at the primary", at).AsTransient().
				WithFix("register the primary, or the set without directConnection")
		case h.Set != "" && dialable(h.Leader) && !slices.Contains(tried, h.Leader):
			queue = slices.Insert(queue, 0, h.Leader)
		}
		leaderless = patchbay.Errorf(patchbay.TargetUnreachable, "the replica set of %s has no primary that can be reached: it is choosing one, or has lost too many of its members", at).AsTransient().
			WithFix("see rs.status(), and that the names of its members are resolved here")
	}
	if first != nil && (leaderless == nil || !patchbay.IsTransient(first)) {
		return nil, first
	}
	return nil, leaderless
}

// administer opens a connection as the administrator, to the server that takes changes.
func (t *target) administer(ctx context.Context) (*link, error) {
	l, err := find(ctx, &t.config, t.dialer, t.servers, t.admin, patchbay.AdminRefused)
	if err != nil {
		return nil, err
	}
	if err = l.guarded(ctx); err == nil {
		err = l.signIn(ctx)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// guarded refuses a server that asks nobody who he is: a login would be nobody's limit.
func (l *link) guarded(ctx context.Context) error {
	ask := bson.D{{Key: "user", Value: "patchbay"}, {Key: "db", Value: adminDatabase}}
	err := l.run(ctx, adminDatabase, bson.D{{Key: "usersInfo", Value: ask}}, nil)
	switch {
	case err == nil:
		return patchbay.Errorf(patchbay.NotSupported, "access control is not enabled on %s: everybody may do everything there, and a login would be nobody's limit", l.at).
			WithFix("set security.authorization to enabled, after the administrator was made")
	case passing(err):
		return l.fault("look at the server", err)
	}
	if _, refusal := err.(*refused); refusal { //nolint:errorlint // as run gives it
		return nil
	}
	return err
}

// others are the servers beside this one on which a user may have sessions: members of
// the set, or the other mongos of the endpoint.
func (t *target) others(l *link) []string {
	if t.direct {
		return nil
	}
	all := t.servers
	if !l.hello.router() {
		all = slices.Concat(l.hello.Hosts, l.hello.Passives)
	}
	var others []string
	for _, at := range all[:min(len(all), maxMembers)] {
		if at != l.at && at != l.hello.Me && dialable(at) && !slices.Contains(others, at) {
			others = append(others, at)
		}
	}
	return others
}

// onOthers does something on each of the others, some at a time. One that does not
// answer has no sessions that anybody could end.
func (t *target) onOthers(ctx context.Context, l *link, do func(ctx context.Context, other *link)) {
	places := make(chan struct{}, maxSide)
	var all sync.WaitGroup
	defer all.Wait()
	for _, at := range t.others(l) {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(ctx, sideLimit)
			defer cancel()
			other, err := connect(ctx, &t.config, t.dialer, at, t.admin, patchbay.AdminRefused)
			if err != nil {
				return
			}
			defer other.close()
			if other.hello.Set == l.hello.Set && other.hello.router() == l.hello.router() && other.signIn(ctx) == nil {
				do(ctx, other)
			}
		})
	}
}
