package s3

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// elsewhere is how many other buckets are looked at for rights that a login has there.
const elsewhere = 50

// NewCredential implements [driver.Administrator].
func (t *target) NewCredential(ctx context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if e := over(ctx); e != nil {
		return driver.Credential{}, e
	}
	m, _, _, err := t.checkRequest(r)
	if err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"accessKeyId": m.login},
		Secret: driver.Secrets{"secretAccessKey": m.newSecret()},
	}, nil
}

func notOurs(m mark) *patchbay.Error {
	return patchbay.Errorf(patchbay.NotOurs, "there is a user %s that does not bear the mark of this connection", m.login).
		WithFix("see whose it is: versitygw admin list-users; if it is nobody's: versitygw admin delete-user --access %s", m.login)
}

// EnsureLogin implements [driver.Administrator]. The user comes first: no policy may name
// one that there is not.
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	m, bucket, want, err := t.checkRequest(r)
	if err != nil {
		return err
	}
	secret := r.Credential.Secret["secretAccessKey"]
	if r.Credential.Public["accessKeyId"] != r.Name || !m.owns(secret.Reveal()) {
		return patchbay.Errorf(patchbay.InvalidArgument, "the credential is not the one that was made for %s", r.Name)
	}
	what := "make the login " + r.Name
	before, _, err := t.policy(ctx, what, bucket)
	if err != nil {
		return err
	}
	made, err := t.createUser(ctx, what, m.login, secret)
	if err != nil {
		return err
	}
	if !made {
		if err := t.repairUser(ctx, what, bucket, before, m, secret); err != nil {
			return err
		}
	}
	if _, err := t.change(ctx, what, bucket, m.marks, want); err != nil {
		return err
	}
	// What a gateway was told, it may have told another process; the login's own request
	// says whether it is known.
	got, err := t.s3.as(keys{m.login, secret}).do(ctx, what, request{method: http.MethodGet, path: "/" + bucket, query: url.Values{"location": {""}}})
	switch {
	case err != nil:
		return err
	case got.code == unknownKey || got.code == wrongSignature:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s: %s took every change to the login and does not know it: it is several gateways that do not have the same users, or that remember old ones (--iam-cache-ttl)", what, t.s3.asked).AsTransient()
	}
	return nil
}

// repairUser makes a user right that is there already, if it is ours, and takes from it
// what others have given it.
func (t *target) repairUser(ctx context.Context, what, bucket string, d document, m mark, secret patchbay.Secret) error {
	if len(d.of(m.marks)) == 0 {
		// Its statement is not there (yet, or any more): its secret says whose it is.
		found, err := t.userOf(ctx, what, m.login)
		if err != nil {
			return err
		}
		if found == nil {
			return patchbay.Errorf(patchbay.Conflict, "%s: the user went away meanwhile", what).AsTransient()
		}
		if !m.owns(found.Secret) {
			return notOurs(m)
		}
	}
	if err := t.resetUser(ctx, what, m.login, secret); err != nil {
		return err
	}
	for _, name := range t.whereNamed(ctx, what, bucket, m) {
		if name != bucket {
			if _, err := t.change(ctx, what, name, m.marks, nil); err != nil && !missing(err) {
				return err
			}
		}
		if err := t.takeFrom(ctx, what, name, m); err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

// whereNamed are the buckets in whose policies others' statements name the login. What
// can't be looked at is not among them.
func (t *target) whereNamed(ctx context.Context, what, bucket string, m mark) []string {
	var at []string
	look := func(name string) {
		d, _, err := t.policy(ctx, what, name)
		if err != nil {
			return
		}
		if _, named, err := d.withoutPrincipal(m); err == nil && named || name != bucket && len(d.of(m.marks)) > 0 {
			at = append(at, name)
		}
	}
	look(bucket)
	all, err := t.buckets(ctx, what)
	if err != nil {
		return at
	}
	all = slices.DeleteFunc(all, func(b bucketOwner) bool { return b.Name == bucket })
	for _, b := range all[:min(len(all), elsewhere)] {
		look(b.Name)
	}
	return at
}

// InspectLogin implements [driver.Administrator].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	m, bucket, want, err := t.checkRequest(r)
	if err != nil {
		return driver.LoginState{}, err
	}
	what := "look at the login " + r.Name
	found, err := t.userOf(ctx, what, m.login)
	if err != nil || found == nil {
		return driver.LoginState{}, err
	}
	state := driver.LoginState{Exists: true}
	d, _, err := t.policy(ctx, what, bucket)
	if err != nil && !missing(err) {
		return driver.LoginState{}, err
	}
	if state.Ours = len(d.of(m.marks)) > 0 || m.owns(found.Secret); !state.Ours {
		return state, nil
	}
	state.Missing, state.Excess = differs(m, want, d)
	if found.Role != roleUser {
		state.Excess = append(state.Excess, "the role "+driver.Quoted(found.Role))
	}
	for _, name := range t.whereNamed(ctx, what, bucket, m) {
		if name != bucket {
			state.Excess = append(state.Excess, "what the policy of the bucket "+driver.Quoted(name)+" says of it")
		}
	}
	return state, nil
}

// RemoveLogin implements [driver.Administrator]. Its rights end first, on every gateway
// at once, for policies are not remembered; then the user goes. Objects stay.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	m, err := markOf(r)
	if err != nil {
		return err
	}
	what := "remove the login " + r.Name
	had := false
	if r.Sub != "" { // Owned does not know it where nothing but the user is left
		bucket, err := bucketOf(r.Sub)
		if err != nil {
			return err
		}
		if had, err = t.change(ctx, what, bucket, m.marks, nil); err != nil && !missing(err) {
			return err
		}
	}
	if !had {
		found, err := t.userOf(ctx, what, m.login)
		switch {
		case err != nil || found == nil:
			return err
		case !m.owns(found.Secret):
			return notOurs(m)
		}
	}
	return t.deleteUser(ctx, what, m.login)
}

// Owned implements [driver.Administrator].
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	const what = "list the logins"
	users, err := t.users(ctx, what)
	if err != nil {
		return nil, err
	}
	buckets, err := t.buckets(ctx, what)
	if err != nil {
		return nil, err
	}
	var owned []driver.Owned
	seen := map[string]bool{}
	for _, b := range buckets {
		d, _, err := t.policy(ctx, what, b.Name)
		switch {
		case missing(err):
			continue
		case err != nil:
			return nil, err
		}
		of := map[string]driver.Owned{}
		for _, text := range d.statements {
			m, number, ok := markOfSid(sidOf(text))
			if !ok {
				continue
			}
			if _, known := of[m.login]; !known || number == 1 {
				of[m.login] = driver.Owned{Mark: m.Mark, Name: m.login, Sub: b.Name}
			}
		}
		for name, o := range of {
			seen[name] = true
			owned = append(owned, o)
		}
	}
	for _, u := range users {
		if m, ok := markIn(u.Access); ok && !seen[u.Access] && m.owns(u.Secret) {
			owned = append(owned, driver.Owned{Mark: m.Mark, Name: m.login})
		}
	}
	return owned, nil
}

// Beyond implements [driver.WarnedLogins]: there is nothing.
func (t *target) Beyond(context.Context, driver.LoginRequest) ([]string, error) { return nil, nil }
