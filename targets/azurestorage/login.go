package azurestorage

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// checkRequest checks everything of a request that can be checked without the account.
func (t *target) checkRequest(r driver.LoginRequest) (n note, permissions string, err error) {
	if n, err = noteOf(r); err != nil {
		return note{}, "", err
	}
	switch {
	case r.Auth != patchbay.AuthSecret && r.Auth != patchbay.AuthAccessKey:
		return note{}, "", patchbay.Errorf(patchbay.NotSupported, "a login of a storage account signs in with a secret, not with %.40q", r.Auth)
	case len(r.Roles) > 0:
		return note{}, "", patchbay.Errorf(patchbay.NotSupported, "roles are Azure's own authority's, and a signature has none: use access")
	case len(r.Sources) > 0:
		return note{}, "", patchbay.Errorf(patchbay.NotSupported, "a signature can't be bound to source addresses that may change")
	}
	if n.of, err = t.childOf(r.Sub, r.Options); err != nil {
		return note{}, "", err
	}
	permissions, err = n.of.permissions(r.Access)
	return n, permissions, err
}

// isKey reports whether the request is for the account's own key, after a check of what
// can be asked of that.
func (t *target) isKey(r driver.LoginRequest) (bool, error) {
	if r.Auth != patchbay.AuthAccessKey {
		return false, nil
	}
	if _, err := noteOf(r); err != nil {
		return true, err
	}
	return true, t.checkKey(r)
}

func (t *target) checkKey(r driver.LoginRequest) error {
	s, _, err := serviceOf(r.Sub)
	if err == nil {
		_, err = t.placeOf(s)
	}
	switch {
	case err != nil:
		return err
	case r.Access == patchbay.Reader:
		return patchbay.Errorf(patchbay.NotSupported, "the account's key may do everything, and can't be a reader's").
			WithFix("ask for a secret in place of the account's key (--secret), which is made with that access alone")
	case len(r.Roles) > 0 || len(r.Sources) > 0:
		return patchbay.Errorf(patchbay.NotSupported, "the account's key can't be bound to roles or addresses")
	}
	return nil
}

// NewCredential implements [driver.Administrator].
func (t *target) NewCredential(ctx context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if err := ctx.Err(); err != nil {
		return driver.Credential{}, t.api.unreachable(ctx, "make a credential", t.account, err)
	}
	if is, err := t.isKey(r); is {
		if err != nil {
			return driver.Credential{}, err
		}
		c := driver.Credential{Public: map[string]string{}, Secret: driver.Secrets{"key": t.keyText()}}
		if of, err := t.childOf(r.Sub, r.Options); err == nil {
			c.Public[of.option] = of.id
		}
		return c, nil
	}
	n, _, err := t.checkRequest(r)
	if err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{n.of.option: n.of.id},
		Secret: driver.Secrets{"sas": patchbay.NewSecret(sign(t.account, t.api.key, n.of, t.at[n.of.name], policyName(r.Name)).Encode())},
	}, nil
}

// list is what a child says of its policies.
type list struct {
	there    bool
	policies []policy
	public   string // a container's public access level
	changed  string // when the container was last
}

func (t *target) policies(ctx context.Context, what string, c child) (list, error) {
	got, err := t.api.do(ctx, what, t.policyRequest(http.MethodGet, c, http.StatusNotFound))
	if err != nil || got.status == http.StatusNotFound {
		return list{}, err
	}
	all, err := parsePolicies(got.body)
	if err != nil {
		e := *patchbay.AsError(err)
		e.Message = what + ": " + e.Message
		return list{}, &e
	}
	return list{there: true, policies: all, public: got.header.Get("X-Ms-Blob-Public-Access"), changed: got.header.Get("Last-Modified")}, nil
}

func (t *target) policyRequest(method string, c child, allowed ...int) request {
	query := url.Values{"comp": {"acl"}}
	maps.Copy(query, c.about)
	return request{method: method, at: t.at[c.name], table: c.name == "table", path: c.path(), query: query, allowed: allowed}
}

// write replaces the list, and looks at what became of it.
func (t *target) write(ctx context.Context, what string, c child, was list, next []policy) error {
	q := t.policyRequest(http.MethodPut, c)
	q.header, q.body = map[string]string{"Content-Type": "application/xml"}, policiesText(next)
	if c.name == "blob" {
		// Without the header a container is closed to the public.
		if was.public != "" {
			q.header["X-Ms-Blob-Public-Access"] = was.public
		}
		if was.changed != "" {
			q.header["If-Unmodified-Since"] = was.changed
		}
	}
	if _, err := t.api.do(ctx, what, q); err != nil {
		return err
	}
	now, err := t.policies(ctx, what, c)
	switch {
	case err != nil:
		return err
	case !now.there:
		return missing(what, c)
	case now.public != was.public || !slices.EqualFunc(now.policies, next, kept):
		return patchbay.Errorf(patchbay.Conflict, "%s: %s has other policies now than were written: somebody else changes them", what, c.said()).AsTransient()
	}
	return nil
}

// kept reports whether a policy is as it was written. The service may have another word
// for the same moment.
func kept(now, wrote policy) bool {
	return now.ID == wrote.ID && now.Permission == wrote.Permission && moment(now.Start, wrote.Start) && moment(now.Expiry, wrote.Expiry)
}

func missing(what string, c child) error {
	return patchbay.Errorf(patchbay.ChildMissing, "%s: there is no %s %s", what, c.noun, driver.Quoted(c.id)).
		WithFix("make it, as with az storage %s create, or name another", map[string]string{"blob": "container", "queue": "queue", "table": "table", "file": "share"}[c.name])
}

func notOurs(n note, c child) *patchbay.Error {
	return patchbay.Errorf(patchbay.NotOurs, "%s has a stored access policy that goes by the name %s, and nothing among the notes in %s says that it is of this connection", c.said(), n.name, noteContainer).
		WithFix("see whose it is; if it is nobody's, remove the policy by hand")
}

// seen is what there is of a login.
type seen struct {
	list  list
	named []policy // that go by its name
	note  note
	noted bool // the note is there and of this login
	taken bool // there is a note of that name that is another's
}

func (t *target) look(ctx context.Context, what string, n note) (seen, error) {
	all, err := t.policies(ctx, what, n.of)
	if err != nil {
		return seen{}, err
	}
	noted, there, ok, err := t.noteAt(ctx, what, n.name)
	if err != nil {
		return seen{}, err
	}
	s := seen{list: all, note: noted}
	s.named, _ = of(all.policies, n.name)
	s.noted = ok && noted.marks(n) && noted.of == n.of
	s.taken = there && !s.noted
	return s, nil
}

// EnsureLogin implements [driver.Administrator].
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	what := "make the login " + r.Name
	if is, err := t.isKey(r); is {
		if err == nil && r.Credential.Secret["key"] != t.keyText() {
			err = rotated(what)
		}
		return err
	}
	n, permissions, err := t.checkRequest(r)
	if err != nil {
		return err
	}
	sas, err := parseSignature(r.Credential.Secret["sas"].Reveal())
	if n.policy = sas.Get("si"); err != nil || !isOf(n.policy, r.Name) || len(n.policy) > 64 {
		return patchbay.Errorf(patchbay.InvalidArgument, "the credential is not the one that was made for %s", r.Name)
	}
	found, err := t.look(ctx, what, n)
	switch {
	case err != nil:
		return err
	case !found.list.there:
		return missing(what, n.of)
	case found.taken, len(found.named) > 0 && !found.noted:
		return notOurs(n, n.of)
	}
	if err := room(what, n, found.list); err != nil {
		return err
	}
	if !found.noted || found.note.policy != n.policy {
		if err := t.writeNote(ctx, what, n); err != nil {
			return err
		}
	}
	err = t.inTurn(ctx, what, n.of, func(ctx context.Context) (bool, error) {
		return false, t.put(ctx, what, n, permissions)
	})
	if err != nil {
		return err
	}
	return t.settled(ctx, what, n.of, sas, true)
}

// room refuses one policy more where there is no place for it.
func room(what string, n note, all list) error {
	_, others := of(all.policies, n.name)
	if len(others) < maxPolicies {
		return nil
	}
	mine := 0
	for _, p := range others {
		if login, _, _ := strings.Cut(p.ID, "."); nameForm.MatchString(login) {
			mine++
		}
	}
	return patchbay.Errorf(patchbay.QuotaExceeded, "%s: %s has %d stored access policies, which is as many as there may be, and a login needs one (%d are of logins of Patchbay's; a rotation needs one more for a while)", what, n.of.said(), len(others), mine).
		WithFix("remove one that nobody needs, or connect fewer to it; where many have to share it, have them sign in as identities")
}

// put has the login's policy in the list, exactly.
func (t *target) put(ctx context.Context, what string, n note, permissions string) error {
	all, err := t.policies(ctx, what, n.of)
	switch {
	case err != nil:
		return err
	case !all.there:
		return missing(what, n.of)
	}
	named, others := of(all.policies, n.name)
	if exact(named, n.policy, permissions) {
		return nil
	}
	if err := room(what, n, all); err != nil {
		return err
	}
	return t.write(ctx, what, n.of, all, append(others, ours(n.policy, permissions)))
}

// Azure says that a policy may take half a minute to be known everywhere.
const (
	settleLimit = 45 * time.Second
	settlePause = 500 * time.Millisecond
)

// settled waits until the service goes by what its list of policies says.
func (t *target) settled(ctx context.Context, what string, c child, sas url.Values, works bool) error {
	as := t.api.as(sas)
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for pause := settlePause / 10; ; pause = min(2*pause, settlePause) {
		_, err := as.do(ctx, what, t.signIn(c))
		code := patchbay.CodeOf(err)
		let := err == nil || code == patchbay.RightsMissing
		switch {
		case err == nil && works, code == patchbay.LoginRefused && !works, code == patchbay.ChildMissing && !works:
			return nil
		case !let && code != patchbay.LoginRefused:
			return err
		case works && !signedBy(t.api.key, t.account, c, sas):
			return rotated(what)
		}
		select {
		case <-ctx.Done():
			if ctx.Err() == context.Canceled {
				return t.api.unreachable(ctx, what, t.at[c.name].server.Address(), ctx.Err())
			}
			return patchbay.Errorf(patchbay.Timeout, "%s: %s has the list of policies that it should have, and does not go by it yet: that takes Azure up to half a minute", what, c.said()).AsTransient()
		case <-time.After(pause):
		}
	}
}

func rotated(what string) error {
	return patchbay.Errorf(patchbay.Conflict, "%s: the credential was made with another key of the account than the registered one, and the account does not take that any more", what).
		WithFix("patchbay connection rotate makes a credential with the registered key")
}

// InspectLogin implements [driver.Administrator].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	what := "look at the login " + r.Name
	if is, err := t.isKey(r); is {
		return driver.LoginState{Exists: true, Ours: true}, err // which nobody made
	}
	n, permissions, err := t.checkRequest(r)
	if err != nil {
		return driver.LoginState{}, err
	}
	found, err := t.look(ctx, what, n)
	if err != nil || len(found.named) == 0 {
		return driver.LoginState{}, err
	}
	state := driver.LoginState{Exists: true, Ours: found.noted}
	if state.Ours {
		state.Missing, state.Excess = compare(found.named, found.note.policy, permissions)
	}
	return state, nil
}

// RemoveLogin implements [driver.Administrator]. What the login wrote stays.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	what := "remove the login " + r.Name
	n, err := noteOf(r)
	if err != nil {
		return err
	}
	if r.Auth == patchbay.AuthAccessKey {
		return nil // the key is the account's, and stays
	}
	noted, there, ok, err := t.noteAt(ctx, what, n.name)
	if err != nil {
		return err
	}
	if !there {
		return t.unnoted(ctx, what, n, r)
	}
	if !ok || !noted.marks(n) {
		return patchbay.Errorf(patchbay.NotOurs, "%s: the note %s in the container %s is not of this connection", what, n.name, noteContainer).
			WithFix("see whose it is: az storage blob metadata show --container-name %s --name %s", noteContainer, n.name)
	}
	n = noted
	if _, err := t.placeOf(n.of.service); err != nil {
		return err
	}
	gone := false
	err = t.inTurn(ctx, what, n.of, func(ctx context.Context) (bool, error) {
		all, err := t.policies(ctx, what, n.of)
		if err != nil || !all.there {
			gone = true
			return true, err
		}
		named, next := of(all.policies, n.name)
		if len(named) > 0 {
			if err := t.write(ctx, what, n.of, all, next); err != nil {
				return false, err
			}
		}
		return !slices.ContainsFunc(next, func(p policy) bool { return strings.HasPrefix(p.ID, "pb_") }), nil
	})
	if err != nil {
		return err
	}
	if !gone {
		if err := t.settled(ctx, what, n.of, sign(t.account, t.api.key, n.of, t.at[n.of.name], n.policy), false); err != nil {
			return err
		}
	}
	return t.dropNote(ctx, what, n.name)
}

// unnoted is for a login that nothing is noted of: there is none, or it is not ours.
func (t *target) unnoted(ctx context.Context, what string, n note, r driver.LoginRequest) error {
	c, err := t.childOf(r.Sub, r.Options)
	if code := patchbay.CodeOf(err); code == patchbay.InvalidArgument || code == patchbay.ChildMissing {
		return nil // none was ever made for such a request
	}
	if err != nil {
		return err
	}
	all, err := t.policies(ctx, what, c)
	if named, _ := of(all.policies, n.name); err == nil && len(named) > 0 {
		return notOurs(n, c)
	}
	return err
}

// Beyond implements [driver.WarnedLogins].
func (t *target) Beyond(_ context.Context, r driver.LoginRequest) ([]string, error) {
	if r.Auth == patchbay.AuthAccessKey {
		if err := t.checkKey(r); err != nil {
			return nil, err
		}
		return []string{
			"the application gets the account's own key, which may do everything with all that the account has, whatever access is asked for",
			"the key stays good when the connection is removed or rotated: it ends when it is regenerated, and with it every other connection to the account",
		}, nil
	}
	c, err := t.childOf(r.Sub, r.Options)
	if err == nil {
		_, err = c.permissions(r.Access)
	}
	if err != nil {
		return nil, err
	}
	var list []string
	if t.at[c.name].server.Scheme == "http" && !loopback(t.at[c.name].server) {
		list = append(list, fmt.Sprintf("the signature is sent in the clear, as the account's %s are at http://: whoever is in between reads it", c.plural))
	}
	return list, nil
}
