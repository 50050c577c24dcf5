package rabbitmq

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/failpoint"
)

// NewCredential implements [driver.Administrator].
func (t *target) NewCredential(ctx context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if err := ctx.Err(); err != nil {
		return driver.Credential{}, err
	}
	if _, _, err := check(r); err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"username": r.Name},
		Secret: driver.Secrets{"password": driver.NewPassword()},
	}, nil
}

// notOurs says that a login of that name is somebody else's.
func notOurs(name string) error {
	return patchbay.Errorf(patchbay.NotOurs, "the user %s is there and does not bear this connection's mark", name).
		WithFix("look at it: rabbitmqctl list_users; rabbitmqctl list_user_topic_permissions %s", name)
}

// EnsureLogin implements [driver.Administrator].
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	vhost, s, err := check(r)
	if err != nil {
		return err
	}
	password := r.Credential.Secret["password"]
	if password.IsZero() {
		return patchbay.Errorf(patchbay.InvalidArgument, "the login %s has no password to sign in with", r.Name)
	}
	if err := t.checkExchanges(ctx, vhost, s); err != nil {
		return err
	}
	want, n := rightsOf(r.Access, s), note{r.Mark, r.Sub}
	l, err := t.api.find(ctx, r.Name)
	switch {
	case err != nil:
		return err
	case l == nil:
		l = &login{}
	case !l.isOf(r.Mark):
		return notOurs(r.Name)
	}
	if !slices.ContainsFunc(l.permissions, func(p permission) bool { return p.VHost == vhost }) {
		if err := t.api.checkVHost(ctx, vhost); err != nil {
			return err
		}
	}
	if err := t.api.repair(ctx, r.Name, l, vhost, password, want, n); err != nil {
		return err
	}
	// What a node says that it did is not always what its cluster has.
	l, err = t.api.find(ctx, r.Name)
	switch {
	case err != nil:
		return err
	case l == nil || !l.isOf(r.Mark) || !l.user.signsIn(password):
		return patchbay.Errorf(patchbay.Conflict, "the server says that it made %s, and then does not have it so", r.Name).AsTransient()
	}
	if missing, excess := l.differences(vhost, want, n); len(missing)+len(excess) > 0 {
		return patchbay.Errorf(patchbay.Conflict, "the server says that it gave %s its rights, and then has others: %s", r.Name, driver.Quoted(strings.Join(slices.Concat(missing, excess), "; "))).AsTransient()
	}
	return failpoint.Hit(ctx, "rabbitmq/ensure/after-effect")
}

// repair makes a login what it should be: what it has beyond goes first.
func (a *api) repair(ctx context.Context, name string, l *login, vhost string, password patchbay.Secret, want rights, n note) error {
	const takes, gives = "take rights of the login away", "give the login its rights"
	for _, p := range l.permissions {
		if p.VHost != vhost {
			if err := a.remove(ctx, takes, path("permissions", p.VHost, name)); err != nil {
				return err
			}
		}
	}
	wanted := append([]topicPermission{n.topic()}, want.topics...)
	wrong := len(l.topics) != len(wanted)
	for _, p := range l.topics {
		wrong = wrong || p.VHost != vhost || !slices.ContainsFunc(wanted, p.matches)
	}
	// A login without password or tag can't be one of ours that works.
	if !slices.Equal(l.user.Tags, tags{tag}) || !l.user.signsIn(password) {
		if err := a.put(ctx, name, password); err != nil {
			return err
		}
		if err := failpoint.Hit(ctx, "rabbitmq/ensure/after-user"); err != nil {
			return err
		}
	}
	for limit := range l.user.Limits {
		if err := a.remove(ctx, takes, path("user-limits", name, limit)); err != nil {
			return err
		}
	}
	if wrong {
		for _, at := range vhostsOf(l.topics) {
			if err := a.remove(ctx, takes, path("topic-permissions", at, name)); err != nil {
				return err
			}
		}
		for _, p := range wanted {
			if _, err := a.do(ctx, gives, http.MethodPut, path("topic-permissions", vhost, name), p); err != nil {
				return err
			}
		}
		if err := failpoint.Hit(ctx, "rabbitmq/ensure/after-mark"); err != nil {
			return err
		}
	}
	// Last: so it may do nothing before its routing keys are bounded.
	p := want.permission
	p.VHost = vhost
	if slices.Contains(l.permissions, p) {
		return nil
	}
	_, err := a.do(ctx, gives, http.MethodPut, path("permissions", vhost, name), want.permission)
	return err
}

// vhostsOf are those that topic permissions are in.
func vhostsOf(topics []topicPermission) []string {
	var all []string
	for _, p := range topics {
		all = append(all, p.VHost)
	}
	return sorted(all)
}

// checkVHost is ChildMissing when there is no such virtual host.
func (a *api) checkVHost(ctx context.Context, vhost string) error {
	found, err := a.get(ctx, "look for the virtual host", path("vhosts", vhost)+"?columns=name", &struct{}{})
	if err != nil || found {
		return err
	}
	return patchbay.Errorf(patchbay.ChildMissing, "the server has no virtual host %s", driver.Quoted(vhost)).
		WithFix("rabbitmqctl add_vhost %s", word(vhost))
}

// checkExchanges: the server checks routing keys at topic exchanges alone, so at another
// one topics would be no bound.
func (t *target) checkExchanges(ctx context.Context, vhost string, s scope) error {
	if len(s.topics) == 0 {
		return nil
	}
	for _, name := range s.exchanges {
		var e struct {
			Type string `json:"type"`
		}
		found, err := t.api.get(ctx, "look at the exchange", path("exchanges", vhost, name)+"?columns=type", &e)
		if err != nil {
			return err
		}
		if found && e.Type != "topic" {
			return patchbay.Errorf(patchbay.InvalidArgument, "the exchange %s is no topic exchange, and RabbitMQ checks routing keys at no other", driver.Quoted(name)).
				WithFix("leave --option %s out, or name topic exchanges", optionTopics)
		}
	}
	return nil
}

// InspectLogin implements [driver.Administrator].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	vhost, s, err := check(r)
	if err != nil {
		return driver.LoginState{}, err
	}
	l, err := t.api.find(ctx, r.Name)
	switch {
	case err != nil || l == nil:
		return driver.LoginState{}, err
	case !l.isOf(r.Mark):
		return driver.LoginState{Exists: true}, nil
	}
	state := driver.LoginState{Exists: true, Ours: true}
	state.Missing, state.Excess = l.differences(vhost, rightsOf(r.Access, s), note{r.Mark, r.Sub})
	open, err := t.api.sessions(ctx, r.Name)
	state.Sessions = len(open)
	return state, err
}

// RemoveLogin implements [driver.Administrator]. Nobody owns what is in a virtual host:
// queues and exchanges that the login declared stay, but for those of its connections.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := checkIdentity(r); err != nil {
		return err
	}
	l, err := t.api.find(ctx, r.Name)
	switch {
	case err != nil:
		return err
	case l != nil && !l.isOf(r.Mark):
		return notOurs(r.Name)
	case l != nil:
		if err := t.api.remove(ctx, "remove the login", path("users", r.Name)); err != nil {
			return err
		}
		if err := failpoint.Hit(ctx, "rabbitmq/remove/after-user"); err != nil {
			return err
		}
	}
	return t.api.endSessions(ctx, r.Name)
}

// settle is how long a connection that was let in may take to be listed, and the
// server to close those of a user that is gone by itself.
const settle = 20 * time.Millisecond

// closeLimit is how long one request to close them is waited for.
const closeLimit = 3 * time.Second

// ghostly is how long a connection that was told to end may stay listed before it is
// asked whether there is one.
const ghostly = 3 * time.Second

// endSessions closes the connections of a user that is gone, and returns when there are
// none: also none that was let in before, and is listed after.
//
// Of a connection that ends in the moment in which it began, the server may list the
// beginning last, and lists it until it restarts. So one that was told to end, and that the
// server has nothing to say of, is none: its statistics know each that is older than
// theirs, and one that isn't was told.
func (a *api) endSessions(ctx context.Context, name string) error {
	const what = "end the login's connections"
	told := map[string]time.Time{}
	for none, pass := 0, 0; none < 2; pass++ {
		if pass > 0 {
			select {
			case <-ctx.Done():
				return a.unreachable(ctx, what, a.urls[a.good.Load()], ctx.Err())
			case <-time.After(settle):
			}
		}
		listed, err := a.sessions(ctx, name)
		if err != nil {
			return err
		}
		var open []string
		for _, connection := range listed {
			ghost := false
			if at, ok := told[connection]; ok && time.Since(at) > ghostly {
				if ghost, err = a.ghost(ctx, connection); err != nil {
					return err
				}
			}
			if !ghost {
				open = append(open, connection)
			}
		}
		if none++; len(open) > 0 {
			none = 0
		}
		if len(open) > 0 && pass > 0 {
			// A connection that ends meanwhile is an error of the server's (HTTP 500), and one
			// that is at something else has it wait for as long as that takes: what counts is
			// that none is left.
			short, cancel := context.WithTimeout(ctx, closeLimit)
			got, err := a.do(short, what, http.MethodDelete, path("connections", "username", name), nil, http.StatusNotFound, http.StatusInternalServerError)
			waited := short.Err() != nil && ctx.Err() == nil
			cancel()
			if err != nil && !waited {
				return err
			}
			if err == nil && got.status < http.StatusMultipleChoices {
				for _, connection := range open {
					if _, ok := told[connection]; !ok {
						told[connection] = time.Now()
					}
				}
			}
		}
	}
	return nil
}

// ghost reports whether the server lists a connection and has nothing to say of it.
func (a *api) ghost(ctx context.Context, connection string) (bool, error) {
	found, err := a.get(ctx, "look at a connection of the login's", path("connections", connection), &struct{}{})
	return !found, err
}

// Owned implements [driver.Administrator].
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	const what = "list the logins"
	var users []user
	var topics []topicPermission
	for _, list := range []struct {
		path string
		into any
	}{{path("users"), &users}, {path("topic-permissions"), &topics}} {
		found, err := t.api.get(ctx, what, list.path, list.into)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, patchbay.Errorf(patchbay.TargetUnreachable, "%s: the management API has no such list", what)
		}
	}
	of := map[string][]topicPermission{}
	for _, p := range topics {
		if strings.HasPrefix(p.Exchange, notePrefix) {
			of[p.User] = append(of[p.User], p)
		}
	}
	var owned []driver.Owned
	for _, u := range users {
		l := login{user: u, topics: of[u.Name]}
		m, sub, ok := l.mark()
		if ok {
			owned = append(owned, driver.Owned{Mark: m, Name: u.Name, Sub: sub})
		}
	}
	return owned, nil
}

// mark is that of a login of ours.
func (l *login) mark() (m driver.Mark, sub string, ok bool) {
	if !nameForm.MatchString(l.user.Name) || !slices.Contains(l.user.Tags, tag) {
		return driver.Mark{}, "", false
	}
	if n := l.note(); n != nil {
		return n.Mark, n.Sub, true
	}
	m, ok = markIn(l.user.Name)
	return m, "", ok
}
