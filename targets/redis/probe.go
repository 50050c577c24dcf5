package redis

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// maxTried bounds how many patterns are tried.
const maxTried = 8

// facts are what a probe has to know, besides the registration.
type facts struct {
	Cluster bool `json:"cluster"`
}

// PrepareProbe implements [driver.Target]. A client of a cluster speaks with each of
// its nodes; that of a server with replicas, with the one that it is told.
func (t *target) PrepareProbe(ctx context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	n, err := t.meet(ctx, t.servers[0])
	if err != nil {
		return r, err
	}
	defer n.close()
	r.Servers = []string{t.servers[0]}
	if n.cluster && !t.listed {
		for _, at := range n.peers[:min(len(n.peers), maxNodes)] {
			if dialable(at) {
				r.Servers = append(r.Servers, at)
			}
		}
	}
	r.Facts, err = json.Marshal(facts{n.cluster})
	return r, err
}

// tryLogin is the driver's Probe. What would change something is sent between MULTI and
// DISCARD: the server judges a command's rights when it takes it, and never runs it.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	cfg, err := parse(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	cfg.tls = cfg.tls.ReadBy(r.Reading)
	if cfg.secured != nil {
		if cfg.secured, err = cfg.tls.Config(""); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	values := r.Credential.Values()
	login := driver.UserPassword{Username: values["username"].Reveal(), Password: values["password"]}
	if login.Password.IsZero() || strings.ContainsAny(login.Username+login.Password.Reveal(), "\r\n\x00") {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "the login has no password, or a control character in it")
	}
	if err := databaseOf(r.Sub); err != nil {
		return driver.ProbeResult{}, err
	}
	var known facts
	if len(r.Servers) == 0 || json.Unmarshal(r.Facts, &known) != nil {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.Internal, "the probe was not prepared")
	}
	p := &probe{config: &cfg, login: login, database: r.Sub}
	for i, at := range r.Servers {
		if err := p.on(ctx, r, at, i == 0); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	if len(r.Servers) > 1 {
		p.allowed("sign in on every node of the cluster")
	}
	p.result.Took = time.Since(started)
	return p.result, nil
}

type probe struct {
	*link
	config   *config
	login    driver.UserPassword
	database string
	result   driver.ProbeResult
}

func (p *probe) allowed(what string)    { p.result.Allowed = append(p.result.Allowed, what) }
func (p *probe) refused(what string)    { p.result.Refused = append(p.result.Refused, what) }
func (p *probe) notChecked(what string) { p.result.NotChecked = append(p.result.NotChecked, what) }

// on tries the login on one server: all of it on the first, to sign in on the others.
func (p *probe) on(ctx context.Context, r driver.ProbeRequest, at string, first bool) error {
	l, err := p.config.connect(ctx, r.Dialer, at)
	if err != nil {
		return err
	}
	defer l.close()
	p.link = l
	begin := []command{{"PING"}}
	if p.database != "0" {
		begin = []command{{"SELECT", p.database}, {"PING"}}
	}
	told, err := l.signIn(ctx, p.login, patchbay.LoginRefused, begin...)
	if err != nil {
		return err
	}
	for i, t := range told {
		selecting := i < len(told)-1
		switch {
		case t.err == nil:
		case selecting && says(t.err, "out of range", "not allowed in cluster mode"):
			return patchbay.Errorf(patchbay.ChildMissing, "%s has no database %s", at, p.database)
		case forbidden(t.err) && r.Access != "" && selecting:
			return p.missing("select database " + p.database)
		case forbidden(t.err) && r.Access == "": // it signed in, and may not ping
		default:
			return l.fault(ctx, "use it", t.err)
		}
	}
	if !first {
		return nil
	}
	p.result.TLS = l.protocol
	p.allowed("sign in")
	if r.Access == "" {
		return nil
	}
	s, err := scopeOf(r.Sub, r.Options)
	if err != nil {
		return err
	}
	return p.try(ctx, r.Access, s)
}

// trial is a command that shows a right.
type trial struct {
	what    string
	command command
	wanted  bool
	run     bool // it has no effect, and is run; else it is only judged
}

// trials are those of an access.
func (p *probe) trials(access patchbay.Access, s scope) []trial {
	writes, owns := access != patchbay.Reader, access == patchbay.Owner
	nobodys := "patchbay_probe_" + strings.ToLower(rand.Text()[:12])
	var all []trial
	for _, pattern := range s.keys[:min(len(s.keys), maxTried)] {
		key, ok := example(pattern, nobodys)
		if !ok {
			p.notChecked("keys of " + pattern + ": no key was found that it matches")
			continue
		}
		// Neither does anything, whatever the key holds.
		all = append(all, trial{"read keys of " + pattern, command{"GETRANGE", key, 0, 0}, true, true},
			trial{"write keys of " + pattern, command{"SETRANGE", key, 0, ""}, writes, writes},
			trial{"sort keys of " + pattern, command{"SORT", key}, owns, false})
	}
	for _, pattern := range s.channels[:min(len(s.channels), maxTried)] {
		if channel, ok := example(pattern, nobodys); ok {
			all = append(all, trial{"publish to channels of " + pattern, command{"PUBLISH", channel, ""}, writes, false})
		}
	}
	other, found := outside(s.keys, nobodys)
	if found {
		all = append(all, trial{"read other keys", command{"GETRANGE", other, 0, 0}, false, false},
			trial{"write other keys", command{"SETRANGE", other, 0, ""}, false, false})
	} else if !whole(s.keys) {
		p.notChecked("other keys: no name was found that is not the login's own")
	}
	if channel, ok := outside(s.channels, nobodys); ok {
		all = append(all, trial{"publish to other channels", command{"PUBLISH", channel, ""}, false, false})
	}
	elsewhere := "0"
	if s.database == elsewhere {
		elsewhere = "1"
	}
	key, _ := example(s.keys[0], nobodys)
	return append(all,
		trial{"list the names of all keys", command{"SCAN", 0}, whole(s.keys), false},
		trial{"run scripts", command{"EVAL", "return 1", 0}, writes, false},
		trial{"empty its database", command{"FLUSHDB"}, owns && whole(s.keys), false},
		trial{"select another database", command{"SELECT", elsewhere}, false, false},
		trial{"move keys into another database", command{"MOVE", key, elsewhere}, false, false},
		trial{"copy keys into another database", command{"COPY", key, key, "DB", elsewhere}, false, false},
		trial{"empty all databases", command{"FLUSHALL"}, false, false},
		trial{"replace the server's functions", command{"FUNCTION", "FLUSH"}, false, false},
		trial{"read the server's configuration", command{"CONFIG", "GET", "patchbay"}, false, false},
		trial{"see who is connected", command{"CLIENT", "LIST"}, false, false},
		trial{"list users", command{"ACL", "LIST"}, false, false},
		trial{"make users", command{"ACL", "SETUSER", nobodys}, false, false})
}

// outside is a name that none of the patterns matches; there is none where they are all.
func outside(patterns []string, name string) (string, bool) {
	for _, candidate := range []string{name, strings.ToUpper(name), name[len("patchbay_probe_"):], "\x01" + name} {
		if !anyMatches(patterns, candidate) {
			return candidate, true
		}
	}
	return "", false
}

func anyMatches(patterns []string, name string) bool {
	for _, p := range patterns {
		if matches(p, name) {
			return true
		}
	}
	return false
}

func (p *probe) try(ctx context.Context, access patchbay.Access, s scope) error {
	told, err := p.ask(ctx, command{"ACL", "WHOAMI"})
	if err != nil {
		return err
	}
	switch who, err := redis.String(told[0].value, told[0].err); {
	case forbidden(told[0].err):
		return p.missing("ask who it is")
	case err != nil:
		return p.fault(ctx, "ask who it is", err)
	case who != p.login.Username:
		return patchbay.Errorf(patchbay.LoginRefused, "%s lets %s in as somebody else", p.at, named(p.login.Username))
	}
	// Without it, what follows would be run: nothing is sent before the server says that
	// it is there.
	if told, err = p.ask(ctx, command{"MULTI"}); err != nil {
		return err
	}
	if begun, err := redis.String(told[0].value, told[0].err); err != nil || begun != "OK" {
		return p.missing("MULTI")
	}
	all := p.trials(access, s)
	var ask []command
	for _, t := range all {
		ask = append(ask, t.command)
	}
	ask = append(ask, command{"DISCARD"})
	for _, t := range all {
		if t.run {
			ask = append(ask, t.command)
		}
	}
	if told, err = p.ask(ctx, ask...); err != nil {
		return err
	}
	run := told[len(all)+1:]
	for i, t := range all {
		judged := told[i]
		if t.run {
			judged, run = run[0], run[1:]
		}
		if err := p.judge(t, judged); err != nil {
			return err
		}
	}
	return p.listen(ctx, s)
}

// judge says what an answer shows. Whether the login has the right is the server's to
// say, by NOPERM; what else a command meets (another node's key, a replica, a full
// memory) comes after that.
func (p *probe) judge(t trial, r reply) error {
	no := forbidden(r.err)
	switch {
	case t.wanted && no:
		return p.missing(t.what)
	case !t.wanted && !no && unknown(r.err):
		p.refused(t.what)
	case !t.wanted && !no:
		return patchbay.Errorf(patchbay.RightsExcess, "%s may do more than it should on %s: %s", named(p.login.Username), p.at, t.what)
	case no:
		p.refused(t.what)
	case codeOf(r.err) == "READONLY":
		return patchbay.Errorf(patchbay.RightsMissing, "%s may not write: %s is a replica", named(p.login.Username), p.at).
			WithFix("register the primary, not a replica")
	case r.err != nil && !elsewhere(r.err):
		p.notChecked(t.what + ": something else stops it")
	default:
		p.allowed(t.what)
	}
	return nil
}

// elsewhere reports that the key's place is another, or it holds another type: the
// right was there.
func elsewhere(err error) bool {
	switch codeOf(err) {
	case "MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN", "WRONGTYPE", "TRYAGAIN":
		return true
	}
	return false
}

// listen subscribes, last of all: a connection that does is of no other use.
func (p *probe) listen(ctx context.Context, s scope) error {
	nobodys := "patchbay_probe_" + rand.Text()
	if channel, ok := outside(s.channels, nobodys); ok {
		told, err := p.ask(ctx, command{"SUBSCRIBE", channel})
		if err != nil {
			return err
		}
		if err := p.judge(trial{what: "hear other channels"}, told[0]); err != nil {
			return err
		}
	}
	channel, ok := example(s.channels[0], nobodys)
	if !ok {
		p.notChecked("channels of " + s.channels[0] + ": no channel was found that it matches")
		return nil
	}
	told, err := p.ask(ctx, command{"SUBSCRIBE", channel})
	if err != nil {
		return err
	}
	return p.judge(trial{what: "hear channels of " + s.channels[0], wanted: true}, told[0])
}

func (p *probe) missing(what string) error {
	return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s: %s", named(p.login.Username), p.at, what)
}
