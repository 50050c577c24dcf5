package nats_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/nats"
)

// register is the configuration of s as a target, with more properties.
func register(s *testenv.NATSServer, more map[string]any) driver.Config {
	p := s.Properties()
	maps.Copy(p, more)
	properties, err := json.Marshal(p)
	if err != nil {
		panic(err) // the test's own mistake
	}
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/natsServers/bus",
		Endpoint: s.Endpoint(), Properties: properties, Admin: s.Admin(),
	}
}

// scope is what the suite's logins may use: subjects, and a stream beside
// them.
var scope = map[string]any{"subjects": []string{"orders.*", "invoices.>"}, "streams": []string{"SHIPPING"}}

// stream makes the stream that scope names.
func stream(t testing.TB, s *testenv.NATSServer) jetstream.JetStream {
	t.Helper()
	c, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, subject := range map[string]string{"SHIPPING": "shipping.>", "PAYROLL": "payroll.>"} {
		if _, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowDirect: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Publish(t.Context(), "shipping.seed", []byte("1")); err != nil {
		t.Fatal(err)
	}
	return js
}

// signIn connects as an application does, with what its settings hold.
func signIn(ctx context.Context, s *testenv.NATSServer, c driver.Credential, options ...natsgo.Option) (*natsgo.Conn, error) {
	limit := 10 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	nc, err := natsgo.Connect(s.URL(), append([]natsgo.Option{
		natsgo.UserJWTAndSeed(c.Secret["jwt"].Reveal(), c.Secret["seed"].Reveal()),
		natsgo.NoReconnect(), natsgo.Timeout(limit),
		natsgo.ErrorHandler(func(*natsgo.Conn, *natsgo.Subscription, error) {}),
	}, options...)...)
	if errors.Is(err, natsgo.ErrAuthorization) || errors.Is(err, natsgo.ErrAuthRevoked) {
		return nil, fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
	}
	return nc, err
}

// as makes an action of something to do on a connection. A violation of the
// permissions is a refusal.
func as(s *testenv.NATSServer, do func(ctx context.Context, nc *natsgo.Conn) error) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, _ string, c driver.Credential) error {
		// A denied request is never answered: the violation ends the wait.
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		nc, err := signIn(ctx, s, c, natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			if errors.Is(err, natsgo.ErrPermissionViolation) {
				cancel()
			}
		}))
		if err != nil {
			return err
		}
		defer nc.Close()
		err = do(ctx, nc)
		if err == nil {
			err = nc.FlushWithContext(ctx)
		}
		if last := nc.LastError(); errors.Is(last, natsgo.ErrPermissionViolation) {
			return fmt.Errorf("%w: %w", drivertest.ErrRefused, last)
		}
		return err
	}
}

func subscribe(subject string) func(context.Context, *natsgo.Conn) error {
	return func(_ context.Context, nc *natsgo.Conn) error { _, err := nc.SubscribeSync(subject); return err }
}

func publish(subject string) func(context.Context, *natsgo.Conn) error {
	return func(_ context.Context, nc *natsgo.Conn) error { return nc.Publish(subject, []byte("x")) }
}

func withStreams(do func(ctx context.Context, js jetstream.JetStream) error) func(context.Context, *natsgo.Conn) error {
	return func(ctx context.Context, nc *natsgo.Conn) error {
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		return do(ctx, js)
	}
}

// consume reads a message of a stream with a consumer of its own, and
// acknowledges it.
func consume(stream string) func(context.Context, *natsgo.Conn) error {
	return withStreams(func(ctx context.Context, js jetstream.JetStream) error {
		c, err := js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, InactiveThreshold: time.Minute})
		if err != nil {
			return err
		}
		m, err := c.Next(jetstream.FetchContext(ctx))
		if err != nil {
			return err
		}
		if err := m.DoubleAck(ctx); err != nil {
			return err
		}
		return js.DeleteConsumer(ctx, stream, c.CachedInfo().Name)
	})
}

func actions(s *testenv.NATSServer) []drivertest.Action {
	all := []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	writers := all[1:]
	owners := all[2:]
	list := []struct {
		name    string
		allowed []patchbay.Access
		do      func(context.Context, *natsgo.Conn) error
	}{
		{"subscribe to a subject of the scope", all, subscribe("orders.new")},
		{"subscribe to all of a subject of the scope", all, subscribe("invoices.>")},
		{"subscribe to more than the scope", nil, subscribe("orders.new.eu")},
		{"subscribe to everything", nil, subscribe(">")},
		{"subscribe to another's subject", nil, subscribe("payroll.>")},
		{"subscribe to what the stream takes", nil, subscribe("shipping.>")},
		{"publish to a subject of the scope", writers, publish("orders.new")},
		{"publish to another's subject", nil, publish("payroll.new")},
		{"publish to the system", nil, publish("$SYS.REQ.SERVER.PING")},
		{"answer into an inbox", writers, publish("_INBOX.x.y")},
		{"ask the server what it may", nil, publish("$SYS.REQ.USER.INFO")},
		{"answer itself where it may not publish", nil, func(ctx context.Context, nc *natsgo.Conn) error {
			asked, err := nc.SubscribeSync("orders.ask")
			if err != nil {
				return err
			}
			if err := nc.PublishRequest("orders.ask", "alerts.cmd", nil); err != nil {
				return err
			}
			m, err := asked.NextMsgWithContext(ctx)
			if err != nil {
				return err
			}
			return m.Respond([]byte("x"))
		}},
		{"publish into the stream", writers, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.Publish(ctx, "shipping.new", []byte("x"))
			return err
		})},
		{"consume the stream", all, consume("SHIPPING")},
		{"consume another stream", nil, consume("PAYROLL")},
		{"read the stream in order", all, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			c, err := js.OrderedConsumer(ctx, "SHIPPING", jetstream.OrderedConsumerConfig{})
			if err != nil {
				return err
			}
			_, err = c.Next(jetstream.FetchContext(ctx))
			return err
		})},
		{"get a message of the stream", all, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.SHIPPING", []byte(`{"last_by_subj":"shipping.seed"}`))
			return err
		})},
		{"get a message of the stream directly", nil, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			s, err := js.Stream(ctx, "SHIPPING")
			if err != nil {
				return err
			}
			_, err = s.GetLastMsgForSubject(ctx, "shipping.seed")
			return err
		})},
		{"look at another stream", nil, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.Stream(ctx, "PAYROLL")
			return err
		})},
		{"list the streams", nil, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			for range js.StreamNames(ctx).Name() {
				return nil
			}
			return ctx.Err()
		})},
		{"change the stream", owners, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.UpdateStream(ctx, jetstream.StreamConfig{Name: "SHIPPING", Subjects: []string{"shipping.>"}, AllowDirect: true, Description: rand()})
			return err
		})},
		{"purge of the stream", owners, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			return purge(ctx, js, "SHIPPING")
		})},
		{"purge another stream", nil, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			return purge(ctx, js, "PAYROLL")
		})},
		{"make another stream", nil, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "MINE", Subjects: []string{"mine.>"}})
			return err
		})},
	}
	var result []drivertest.Action
	for _, a := range list {
		result = append(result, drivertest.Action{Name: a.name, Allowed: a.allowed, Do: as(s, a.do)})
	}
	return result
}

func rand() string { return nkeysPublic() }

// nkeysPublic is the public key of an account that nobody has.
func nkeysPublic() string {
	pair, err := nkeys.CreateAccount()
	if err != nil {
		panic(err) // no randomness
	}
	key, err := pair.PublicKey()
	if err != nil {
		panic(err)
	}
	return key
}

// purge removes nothing: it asks for a subject that has no messages. It does
// not look at the stream first, as the library would.
func purge(ctx context.Context, js jetstream.JetStream, stream string) error {
	m, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+stream, []byte(`{"filter":"shipping.none"}`))
	if err == nil && strings.Contains(string(m.Data), `"error"`) {
		err = errors.New(string(m.Data))
	}
	return err
}

type session struct{ closed chan struct{} }

func (s session) Wait(ctx context.Context) error {
	select {
	case <-s.closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type openSession struct {
	session
	nc *natsgo.Conn
}

func (s openSession) Close() { s.nc.Close() }

// altered is a token whose one character is another.
func altered(token string, at int) string {
	b := []byte(token)
	if b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return string(b)
}

func wrong(s *testenv.NATSServer) func(driver.Credential) map[string]driver.Credential {
	return func(c driver.Credential) map[string]driver.Credential {
		with := func(jwt, seed string) driver.Credential {
			return driver.Credential{Public: c.Public, Secret: driver.Secrets{"jwt": patchbay.NewSecret(jwt), "seed": patchbay.NewSecret(seed)}}
		}
		token, seed := c.Secret["jwt"].Reveal(), c.Secret["seed"].Reveal()
		user, err := nkeys.CreateUser()
		if err != nil {
			panic(err)
		}
		other, err := user.Seed()
		if err != nil {
			panic(err)
		}
		// A user that an unknown key signed for the same account.
		claims, err := jwt.DecodeUserClaims(token)
		if err != nil {
			panic(err)
		}
		signer, err := nkeys.CreateAccount()
		if err != nil {
			panic(err)
		}
		forged, err := claims.Encode(signer)
		if err != nil {
			panic(err)
		}
		return map[string]driver.Credential{
			"another's seed":    with(token, string(other)),
			"an altered seed":   with(token, altered(seed, 20)),
			"an altered JWT":    with(altered(token, len(token)-20), seed),
			"a forged JWT":      with(forged, seed),
			"no JWT":            with("", seed),
			"an operator's key": with(token, s.OperatorSeed().Reveal()),
		}
	}
}

// edit changes the account as another administrator would.
func edit(s *testenv.NATSServer, change func(*jwt.AccountClaims)) func(context.Context) error {
	return func(ctx context.Context) error {
		claims, err := s.Claims(ctx)
		if err != nil {
			return err
		}
		change(claims)
		return s.Push(ctx, claims)
	}
}

func drifts(s *testenv.NATSServer) []drivertest.Drift {
	scoped := func(name string, change func(*jwt.UserScope), missing, excess bool) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: patchbay.Writer, Missing: missing, Excess: excess,
			Make: func(ctx context.Context, r driver.LoginRequest) error {
				return edit(s, func(c *jwt.AccountClaims) {
					for _, key := range c.SigningKeys {
						if user, ok := key.(*jwt.UserScope); ok && user.Role == r.Name {
							change(user)
						}
					}
				})(ctx)
			}}
	}
	return []drivertest.Drift{
		scoped("may publish less", func(u *jwt.UserScope) { u.Template.Pub.Allow.Remove("orders.*") }, true, false),
		scoped("may publish more", func(u *jwt.UserScope) { u.Template.Pub.Allow.Add("payroll.>") }, false, true),
		scoped("may publish everything", func(u *jwt.UserScope) { u.Template.Pub.Allow = nil }, false, true),
		scoped("may subscribe to something else", func(u *jwt.UserScope) {
			u.Template.Sub.Allow.Remove("orders.*")
			u.Template.Sub.Allow.Add("payroll.*")
		}, true, true),
		scoped("is denied a subject", func(u *jwt.UserScope) { u.Template.Pub.Deny.Add("orders.new") }, true, false),
		scoped("may not answer", func(u *jwt.UserScope) { u.Template.Pub.Allow.Remove("_INBOX.>") }, true, false),
		scoped("may answer anything", func(u *jwt.UserScope) {
			u.Template.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: 2 * time.Minute}
		}, false, true),
		scoped("may ask the server about itself", func(u *jwt.UserScope) { u.Template.Pub.Allow.Add("$SYS.REQ.USER.INFO") }, false, true),
		scoped("needs no key", func(u *jwt.UserScope) { u.Template.BearerToken = true }, false, true),
		scoped("is bound to an address", func(u *jwt.UserScope) { u.Template.Src.Add("192.0.2.0/24") }, true, false),
		scoped("is limited to websockets", func(u *jwt.UserScope) { u.Template.AllowedConnectionTypes.Add("WEBSOCKET") }, true, false),
		scoped("has a limit", func(u *jwt.UserScope) { u.Template.Payload = 10 }, true, false),
		scoped("has another role", func(u *jwt.UserScope) { u.Role = "somebody" }, false, false),
		{Name: "is revoked", Access: patchbay.Reader, Missing: true, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return edit(s, func(c *jwt.AccountClaims) { c.RevokeAt(r.Credential.Public["userKey"], time.Now().Add(time.Minute)) })(ctx)
		}},
	}
}

// foreign adds a signing key with that role that is somebody else's.
func foreign(s *testenv.NATSServer) func(testing.TB, string, string) func() error {
	return func(t testing.TB, _, name string) func() error {
		t.Helper()
		key := nkeysPublic()
		add := func(c *jwt.AccountClaims) {
			scope := jwt.NewUserScope()
			scope.Key, scope.Role, scope.Description = key, name, "the accountants'"
			scope.Template.Pub.Allow.Add("payroll.>")
			c.SigningKeys.AddScopedSigner(scope)
		}
		if err := edit(s, add)(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := edit(s, func(c *jwt.AccountClaims) { c.SigningKeys.Remove(key) })(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return func() error {
			claims, err := s.Claims(context.Background())
			if err != nil {
				return err
			}
			scope, _ := claims.SigningKeys.GetScope(key)
			user, ok := scope.(*jwt.UserScope)
			if !ok || user.Role != name || user.Description != "the accountants'" || !slices.Equal(user.Template.Pub.Allow, []string{"payroll.>"}) {
				return fmt.Errorf("it is %+v", scope)
			}
			return nil
		}
	}
}

func TestTheDriverPassesTheSuite(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	stream(t, s)
	drivertest.Target(t, drivertest.TargetHarness{
		Driver:  nats.Driver(),
		Product: "NATS", Release: 2,
		Config: register(s, scope),
		Subs:   []string{""},
		SignIn: func(ctx context.Context, _ string, c driver.Credential) error {
			nc, err := signIn(ctx, s, c)
			if err == nil {
				nc.Close()
			}
			return err
		},
		OpenSession: func(ctx context.Context, _ string, c driver.Credential) (drivertest.Session, error) {
			closed := make(chan struct{})
			nc, err := signIn(ctx, s, c, natsgo.ClosedHandler(func(*natsgo.Conn) { close(closed) }))
			if err != nil {
				return nil, err
			}
			return openSession{session{closed}, nc}, nil
		},
		Actions: actions(s),
		Wrong:   wrong(s),
		Foreign: foreign(s),
		Drifts:  drifts(s),
	})
}
