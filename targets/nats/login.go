package nats

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// The names of a credential's parts.
const (
	secretJWT  = "jwt"
	secretSeed = "seed"

	publicUser       = "userKey"    // public key of the user
	publicSigningKey = "signingKey" // public key of the signing key that is the login
	publicInbox      = "inbox"      // below what it listens for answers, where that is not _INBOX
)

// NewCredential implements [driver.Target]. The private half of the signing
// key is forgotten here.
func (t *target) NewCredential(ctx context.Context, r driver.LoginRequest) (driver.Credential, error) {
	const what = "make a NATS credential"
	if err := ctx.Err(); err != nil {
		return driver.Credential{}, fault(ctx, what, err, nil, patchbay.AdminRefused)
	}
	if _, err := t.checkRequest(r); err != nil {
		return driver.Credential{}, err
	}
	signer, err := nkeys.CreateAccount()
	if err != nil {
		return driver.Credential{}, patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
	}
	defer signer.Wipe()
	user, err := nkeys.CreateUser()
	if err != nil {
		return driver.Credential{}, patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
	}
	defer user.Wipe()
	signingKey, err1 := signer.PublicKey()
	userKey, err2 := user.PublicKey()
	seed, err3 := user.Seed()
	if err1 != nil || err2 != nil || err3 != nil {
		return driver.Credential{}, patchbay.Errorf(patchbay.Internal, "%s: the keys can't be written", what)
	}
	claims := jwt.NewUserClaims(userKey)
	claims.Name, claims.IssuerAccount = r.Name, t.account
	claims.SetScoped(true)
	token, err := claims.Encode(signer)
	if err != nil {
		return driver.Credential{}, patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
	}
	public := map[string]string{publicUser: userKey, publicSigningKey: signingKey}
	if t.private {
		public[publicInbox] = privateInbox(r.Name)
	}
	return driver.Credential{
		Public: public,
		Secret: driver.Secrets{secretJWT: patchbay.NewSecret(token), secretSeed: patchbay.NewSecret(string(seed))},
	}, nil
}

// ourClaims reads the user's JWT of a credential that NewCredential made for
// that name.
func (t *target) ourClaims(c driver.Credential, name string) (*jwt.UserClaims, error) {
	claims, err := jwt.DecodeUserClaims(c.Secret[secretJWT].Reveal())
	if err != nil || claims.IssuerAccount != t.account || claims.Name != name {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the credential is not the one that was made for %s", name)
	}
	return claims, nil
}

// EnsureLogin implements [driver.Target].
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	s, err := t.checkRequest(r)
	if err != nil {
		return err
	}
	claims, err := t.ourClaims(r.Credential, r.Name)
	if err != nil {
		return err
	}
	want, missing, err := t.templateOf(ctx, r, s)
	if err != nil {
		return err
	}
	// An owner may make what is missing.
	if len(missing) > 0 && r.Access != patchbay.Owner {
		return patchbay.Errorf(patchbay.TargetNotFound, "the account has no stream %s", strings.Join(missing, ", ")).
			WithFix("nats stream add %s", missing[0])
	}
	key := jwt.UserScope{
		Kind: jwt.UserScopeType, Key: claims.Issuer, Role: r.Name, Template: want,
		Description: note{r.Mark.UID, r.Mark.Generation, r.Mark.Connection, claims.Subject, claims.IssuedAt}.String(),
	}
	return t.edit(ctx, ownerOf(r.Mark), func(a *account) (bool, error) {
		if _, all := a.revokedUser(claims.Subject); all >= claims.IssuedAt {
			return false, patchbay.Errorf(patchbay.LoginRefused, "the account refuses every user from before %s, and so this credential", time.Unix(all, 0).UTC().Format(time.RFC3339)).
				WithFix("patchbay connection rotate")
		}
		changed, err := a.put(ownerOf(r.Mark), key)
		if err != nil {
			return false, err
		}
		return a.admit(claims.Subject) || changed, nil
	})
}

// templateOf is exactly what the request gives, and the streams of it that
// there are not.
func (t *target) templateOf(ctx context.Context, r driver.LoginRequest, s scope) (jwt.UserPermissionLimits, []string, error) {
	captured, missing, err := t.captured(ctx, s.streams)
	if err != nil {
		return jwt.UserPermissionLimits{}, nil, err
	}
	return t.rightsOf(r.Name, r.Access, s, captured).template(r.Sources), missing, nil
}

// captured are the subjects that streams take messages on, and the streams that
// there are not.
func (t *target) captured(ctx context.Context, streams []string) (subjects, missing []string, err error) {
	if len(streams) == 0 {
		return nil, nil, nil
	}
	session, err := t.admin.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	there, err := session.streams(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range streams {
		taken, ok := there[name]
		if !ok {
			missing = append(missing, name)
		}
		for _, subject := range taken {
			// A stream may take more than a login is ever given: all of the
			// server's advisories, say.
			if checkSubject(subject) == nil {
				subjects = append(subjects, subject)
			}
		}
	}
	return subjects, missing, nil
}

// streams are the account's, with the subjects of each.
func (s *session) streams(ctx context.Context) (map[string][]string, error) {
	n, err := s.servers(ctx)
	if err != nil {
		return nil, err
	}
	replies, err := s.gather(ctx, "list the streams", fmt.Sprintf(accountStream, s.account), []byte(`{"streams":true,"config":true}`), n)
	if err != nil {
		return nil, err
	}
	streams := map[string][]string{}
	for _, r := range replies {
		var account struct {
			Streams []struct {
				Name   string `json:"name"`
				Config struct {
					Subjects []string `json:"subjects"`
				} `json:"config"`
			} `json:"stream_detail"`
		}
		if r.into(&account) != nil {
			continue // a server without JetStream, or that has none of the account's
		}
		for _, stream := range account.Streams {
			streams[stream.Name] = stream.Config.Subjects
		}
	}
	return streams, nil
}

// InspectLogin implements [driver.Target].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	sc, err := t.checkRequest(r)
	if err != nil {
		return driver.LoginState{}, err
	}
	session, a, err := t.read(ctx)
	if err != nil {
		return driver.LoginState{}, err
	}
	keys, err := a.find(ownerOf(r.Mark), r.Name)
	if patchbay.CodeOf(err) == patchbay.NotOurs {
		return driver.LoginState{Exists: true}, nil
	}
	if err != nil || len(keys) == 0 {
		return driver.LoginState{}, err
	}
	want, absent, err := t.templateOf(ctx, r, sc)
	if err != nil {
		return driver.LoginState{}, err
	}
	key := keys[0]
	have, err := key.scope()
	if err != nil {
		return driver.LoginState{}, patchbay.Errorf(patchbay.NotSupported, "the scope of %s can't be read", r.Name).WithSaid(err.Error())
	}
	state := driver.LoginState{Exists: true, Ours: true}
	state.Missing, state.Excess = compareTemplate(want, have.Template)
	if r.Access != patchbay.Owner {
		for _, stream := range absent {
			state.Missing = append(state.Missing, "use the stream "+stream+", which is not there")
		}
	}
	for range keys[1:] {
		state.Excess = append(state.Excess, "sign in with a second signing key")
	}
	if alone, all := a.revokedUser(key.note.User); alone >= key.note.Issued || all >= key.note.Issued {
		state.Missing = append(state.Missing, "sign in, which a revocation forbids")
	}
	state.Sessions, state.LastUse, err = session.sessions(ctx, keys)
	return state, err
}

// sessions counts the open connections of the users that the keys signed.
func (s *session) sessions(ctx context.Context, keys []signingKey) (open int, last time.Time, err error) {
	n, err := s.servers(ctx)
	if err != nil {
		return 0, time.Time{}, err
	}
	for _, key := range keys {
		const everything = 2 // open and recently closed ones
		body := fmt.Appendf(nil, `{"auth":true,"user":%q,"state":%d,"limit":65536}`, key.note.User, everything)
		replies, err := s.gather(ctx, "list the connections", fmt.Sprintf(accountConns, s.account), body, n)
		if err != nil {
			return 0, time.Time{}, err
		}
		for _, r := range replies {
			var list struct {
				Connections []struct {
					User         string     `json:"authorized_user"`
					LastActivity time.Time  `json:"last_activity"`
					Stop         *time.Time `json:"stop"`
				} `json:"connections"`
			}
			if r.into(&list) != nil {
				continue // a server that knows nobody of this account
			}
			for _, c := range list.Connections {
				if c.User != key.note.User {
					continue
				}
				if c.Stop == nil {
					open++
				}
				if c.LastActivity.After(last) {
					last = c.LastActivity
				}
			}
		}
	}
	return open, last, nil
}

// RemoveLogin implements [driver.Target].
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := checkIdentity(r); err != nil {
		return err
	}
	err := t.edit(ctx, ownerOf(r.Mark), func(a *account) (bool, error) {
		if _, err := a.find(ownerOf(r.Mark), r.Name); err != nil {
			return false, err
		}
		return a.drop(ownerOf(r.Mark)), nil
	})
	if patchbay.CodeOf(err) == patchbay.TargetNotFound {
		return nil // with the account, all of it is gone
	}
	return err
}

// Owned implements [driver.Target].
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	_, a, err := t.read(ctx)
	if err != nil {
		return nil, err
	}
	var owned []driver.Owned
	for _, k := range a.keys {
		if k.note != nil {
			owned = append(owned, driver.Owned{Mark: k.note.mark(), Name: k.role})
		}
	}
	return owned, nil
}

// Inspect implements [driver.Target].
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	if sub != "" {
		return driver.TargetInfo{}, patchbay.Errorf(patchbay.ChildMissing, "a NATS server has no %q: name the server itself", short(sub))
	}
	session, a, err := t.read(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	streams, err := session.streams(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	info := driver.TargetInfo{
		Version: session.vars.Version,
		Values:  map[string]string{"url": strings.Join(t.advertised, ",")},
	}
	if t.ca != "" {
		info.Values["ca"] = t.ca
	}
	if t.tlsFirst {
		info.Warnings = append(info.Warnings, "no setting says that TLS comes before the server's greeting: have the application tell its library so (TLSHandshakeFirst, handshake_first)")
	}
	if state, err := session.nc.TLSConnectionState(); err == nil {
		info.TLS = tls.VersionName(state.Version)
	} else if !loopback(session.nc.ConnectedAddr()) {
		info.Warnings = append(info.Warnings, "connections to the server are not encrypted")
	}
	for name := range streams {
		info.Subs = append(info.Subs, name)
	}
	slices.Sort(info.Subs)
	for _, name := range t.scope.streams {
		if _, ok := streams[name]; !ok {
			info.Warnings = append(info.Warnings, fmt.Sprintf("the account has no stream %s", name))
		}
	}
	if len(t.scope.streams) > 0 && session.vars.JetStream.Config == nil {
		info.Warnings = append(info.Warnings, "the server that answered has no JetStream")
	}
	if size, limit := a.size, session.limit(); size > limit*3/4 {
		info.Warnings = append(info.Warnings, fmt.Sprintf("the account's JWT has %d of at most %d bytes: it can't hold many more principals", size, limit))
	}
	return info, nil
}

// loopback reports whether an address is this machine's own.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
