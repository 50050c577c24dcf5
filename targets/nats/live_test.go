package nats_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/nats"
)

// opened is a registration as a target.
func opened(t testing.TB, c driver.Config) drivertest.Opened {
	t.Helper()
	if c.Dialer == nil {
		c.Dialer = &net.Dialer{}
	}
	return drivertest.OpenTarget(t, nats.Driver(), c)
}

// request asks for a login of that access.
func request(t testing.TB, target driver.Administrator, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s"}, Name: "pb_" + uid + "_g1",
		Auth: patchbay.AuthSecret, Access: access, Options: options,
	}
	c, err := target.NewCredential(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	return r
}

// made is a login that is there.
func made(t testing.TB, target driver.Administrator, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := request(t, target, uid, access, options)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func probe(t testing.TB, target drivertest.Opened, r driver.LoginRequest) (driver.ProbeResult, error) {
	t.Helper()
	return target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access, Options: r.Options})
}

// TestWhatOthersChangeIsSeenAtTheNextLook: of an account that was read already, too.
func TestWhatOthersChangeIsSeenAtTheNextLook(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, scope))
	stream(t, s)
	r := made(t, target, "a", patchbay.Owner, nil)
	look := func(want bool) {
		t.Helper()
		for range 2 {
			state, err := target.InspectLogin(t.Context(), r)
			if err != nil || state.Exists != want {
				t.Errorf("the login is %+v, %v; want that it is there: %t", state, err, want)
			}
		}
		if owned, err := target.Owned(t.Context()); err != nil || len(owned) == 1 != want {
			t.Errorf("the account's logins are %v, %v", owned, err)
		}
	}
	look(true)
	with, err := s.Claims(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	without, err := s.Claims(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clear(without.SigningKeys)
	for _, c := range []struct {
		claims *jwt.AccountClaims
		want   bool
	}{{without, false}, {with, true}, {without, false}} {
		if err := s.Push(t.Context(), c.claims); err != nil {
			t.Fatal(err)
		}
		look(c.want)
	}
}

func TestARestartedServerStillKnowsTheLogins(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nats")
	s := testenv.NATS(t, natsserver.Config{Dir: dir})
	target := opened(t, register(s, scope))
	stream(t, s)
	r := made(t, target, "a", patchbay.Owner, nil)
	gone := made(t, target, "b", patchbay.Reader, nil)
	if err := target.RemoveLogin(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := target.Inspect(t.Context(), ""); !patchbay.IsTransient(err) {
		t.Errorf("Inspect of a server that is down = %v, want a transient error", err)
	}
	testenv.NATS(t, natsserver.Config{Dir: dir})
	// The same target goes on with the new process.
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("after a restart %+v, %v", state, err)
	}
	if _, err := probe(t, target, r); err != nil {
		t.Error(err)
	}
	if _, err := probe(t, target, gone); patchbay.CodeOf(err) != patchbay.LoginRefused {
		t.Errorf("a removed login after a restart: %v", err)
	}
}

// TestEditsLeaveOthersConnectionsAlone: the server drops the connections of a
// signing key whose scope changes in the least, an empty list that became an
// absent one included.
func TestEditsLeaveOthersConnectionsAlone(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, scope))
	stream(t, s)
	signer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	key, err := signer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	push(t, s, func(body map[string]any) {
		body["signing_keys"] = []any{map[string]any{
			"kind": "user_scope", "key": key, "role": "accountants", "description": "",
			"template": map[string]any{"pub": map[string]any{"allow": []any{"payroll.>"}, "deny": []any{}}, "sub": map[string]any{"deny": []any{}}, "subs": -1, "data": -1, "payload": -1, "src": []any{}},
		}}
	})
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewUserClaims(public)
	claims.IssuerAccount = s.Account()
	claims.SetScoped(true)
	token, err := claims.Encode(signer)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := signIn(t.Context(), s, driver.Credential{Secret: driver.Secrets{"jwt": patchbay.NewSecret(token), "seed": patchbay.NewSecret(string(seed))}})
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	for _, uid := range []string{"a", "b"} {
		r := made(t, target, uid, patchbay.Writer, nil)
		if err := theirs.Flush(); err != nil {
			t.Fatalf("their connection was dropped when %s was made: %v", uid, err)
		}
		if err := target.RemoveLogin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := theirs.Flush(); err != nil {
			t.Fatalf("their connection was dropped when %s was removed: %v", uid, err)
		}
	}
}

// push replaces the account with a JWT whose body was changed as raw JSON.
func push(t testing.TB, s *testenv.NATSServer, change func(body map[string]any)) {
	t.Helper()
	claims, err := s.Claims(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	operator, err := nkeys.FromSeed([]byte(s.OperatorSeed().Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]any{}
	text, err := json.Marshal(&claims.Account)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatal(err)
	}
	change(body)
	issuer, err := operator.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{"iss": issuer, "sub": claims.Subject, "iat": time.Now().Unix(), "name": claims.Name, "nats": body})
	if err != nil {
		t.Fatal(err)
	}
	// The library signs its own struct only, without what is empty in it.
	encode := base64.RawURLEncoding.EncodeToString
	token := encode([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + encode(payload)
	signature, err := operator.Sign([]byte(token))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PushToken(t.Context(), token+"."+encode(signature)); err != nil {
		t.Fatal(err)
	}
}

func TestResponsesAreForWriters(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"subjects": []string{"orders.>"}}))
	asker, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	for access, answers := range map[patchbay.Access]bool{patchbay.Reader: false, patchbay.Writer: true, patchbay.Owner: true} {
		r := made(t, target, string(access), access, nil)
		denied := make(chan struct{})
		nc, err := signIn(t.Context(), s, r.Credential, natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			if errors.Is(err, natsgo.ErrPermissionViolation) {
				close(denied)
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Subscribe("orders."+string(access), func(m *natsgo.Msg) { _ = m.Respond([]byte("yes")) }); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		// A reader's answer is denied, which ends the wait.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		go func() {
			select {
			case <-denied:
				cancel()
			case <-ctx.Done():
			}
		}()
		_, err = asker.RequestWithContext(ctx, "orders."+string(access), nil)
		cancel()
		if answers != (err == nil) {
			t.Errorf("a %s answers: %v", access, err)
		}
	}
}

func TestSessionsAndLastUse(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, scope))
	stream(t, s)
	r := made(t, target, "a", patchbay.Reader, nil)
	bystander := made(t, target, "b", patchbay.Reader, nil)
	inspect := func() driver.LoginState {
		t.Helper()
		state, err := target.InspectLogin(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	if state := inspect(); state.Sessions != 0 || !state.LastUse.IsZero() {
		t.Errorf("before any use %+v", state)
	}
	other, err := signIn(t.Context(), s, bystander.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	nc, err := signIn(t.Context(), s, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if state := inspect(); state.Sessions != 1 || state.LastUse.IsZero() {
		t.Errorf("in use %+v", state)
	}
}

func TestARequestNarrowsTheRegistration(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, scope))
	stream(t, s)
	r := made(t, target, "a", patchbay.Writer, map[string]string{"subjects": "invoices.eu.*"})
	users, err := s.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := users[r.Name]
	if got == nil || !slices.Equal(got.Template.Pub.Allow, []string{"_INBOX.>", "_INBOX_pb.>", "_R_.>", "invoices.eu.*"}) ||
		!slices.Equal(got.Template.Sub.Allow, []string{"_INBOX.>", "invoices.eu.*"}) || got.Template.Resp != nil {
		t.Errorf("it may %+v", got)
	}
	if _, err := probe(t, target, r); err != nil {
		t.Error(err)
	}
}

func TestPrivateInboxes(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	more := maps.Clone(scope)
	more["inbox"] = "private"
	target := opened(t, register(s, more))
	stream(t, s)
	r := made(t, target, "a", patchbay.Owner, nil)
	if _, err := probe(t, target, r); err != nil {
		t.Error(err)
	}
	nc, err := signIn(t.Context(), s, r.Credential, natsgo.CustomInboxPrefix(r.Credential.Public["inbox"]))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := consume("SHIPPING")(t.Context(), nc); err != nil {
		t.Errorf("consume with an inbox of its own: %v", err)
	}
	if _, err := nc.SubscribeSync("_INBOX.>"); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil || !errors.Is(nc.LastError(), natsgo.ErrPermissionViolation) {
		t.Errorf("it may listen to all answers: %v, %v", err, nc.LastError())
	}
}

// TestAcknowledgementsInTheNewForm has a server that asks for them with domain
// and account.
func TestAcknowledgementsInTheNewForm(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{Features: map[string]bool{"js_ack_fc_v2": true}})
	target := opened(t, register(s, scope))
	stream(t, s)
	r := made(t, target, "a", patchbay.Reader, nil)
	err := as(s, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
		c, err := js.CreateOrUpdateConsumer(ctx, "SHIPPING", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			return err
		}
		m, err := c.Next(jetstream.FetchContext(ctx))
		if err != nil {
			return err
		}
		if tokens := strings.Split(m.Reply(), "."); len(tokens) < 11 {
			return fmt.Errorf("the old form: %s", m.Reply())
		}
		return m.DoubleAck(ctx)
	}))(t.Context(), "", r.Credential)
	if err != nil {
		t.Error(err)
	}
}

func TestABucketIsAStream(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"streams": []string{"KV_config"}}))
	c, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "config"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutString(t.Context(), "greeting", "hello"); err != nil {
		t.Fatal(err)
	}
	use := func(do func(context.Context, jetstream.KeyValue) error) func(context.Context, string, driver.Credential) error {
		return as(s, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
			kv, err := js.KeyValue(ctx, "config")
			if err != nil {
				return err
			}
			return do(ctx, kv)
		}))
	}
	read := use(func(ctx context.Context, kv jetstream.KeyValue) error {
		if _, err := kv.Get(ctx, "greeting"); err != nil {
			return err
		}
		w, err := kv.WatchAll(ctx)
		if err != nil {
			return err
		}
		if e := <-w.Updates(); e == nil || e.Key() != "greeting" {
			return fmt.Errorf("watched %v", e)
		}
		return w.Stop()
	})
	write := use(func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.PutString(ctx, "x", "y")
		return err
	})
	reader, writer := made(t, target, "r", patchbay.Reader, nil), made(t, target, "w", patchbay.Writer, nil)
	for name, err := range map[string]error{
		"a reader reads": read(t.Context(), "", reader.Credential),
		"a writer reads": read(t.Context(), "", writer.Credential), "a writer writes": write(t.Context(), "", writer.Credential),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := write(t.Context(), "", reader.Credential); err == nil {
		t.Error("a reader writes")
	}
}

func TestAMissingStreamIsAnErrorExceptForItsOwner(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"streams": []string{"NEW"}}))
	for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Writer} {
		r := request(t, target, string(access), access, nil)
		if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.TargetNotFound || patchbay.IsTransient(err) {
			t.Errorf("a %s of a stream that is not there: %v", access, err)
		}
	}
	info, err := target.Inspect(t.Context(), "")
	if err != nil || !slices.ContainsFunc(info.Warnings, func(w string) bool { return strings.Contains(w, "NEW") }) {
		t.Errorf("Inspect = %+v, %v: no word of the missing stream", info, err)
	}
	owner := made(t, target, "o", patchbay.Owner, nil)
	if _, err := probe(t, target, owner); err != nil {
		t.Error(err)
	}
	err = as(s, withStreams(func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "NEW", Subjects: []string{"new.>"}})
		return err
	}))(t.Context(), "", owner.Credential)
	if err != nil {
		t.Fatalf("the owner makes it: %v", err)
	}
	// Now it has subjects to publish to.
	state, err := target.InspectLogin(t.Context(), owner)
	if err != nil || !slices.Equal(state.Missing, []string{"publish to new.>"}) {
		t.Errorf("%+v, %v", state, err)
	}
	if err := target.EnsureLogin(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	if state, err := target.InspectLogin(t.Context(), owner); err != nil || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("%+v, %v", state, err)
	}
}

// TestAStreamOfTheServersOwnSubjectsGivesNone: what a stream takes decides what
// its writers may publish to, and the owner of a stream decides that.
func TestAStreamOfTheServersOwnSubjectsGivesNone(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"streams": []string{"AUDIT"}}))
	c, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AUDIT", Subjects: []string{"$JS.EVENT.ADVISORY.>", "audit.*"}}); err != nil {
		t.Fatal(err)
	}
	r := made(t, target, "a", patchbay.Writer, nil)
	users, err := s.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pub := users[r.Name].Template.Pub.Allow
	if !slices.Contains(pub, "audit.*") || slices.ContainsFunc(pub, func(p string) bool { return strings.HasPrefix(p, "$JS.EVENT") }) {
		t.Errorf("it may publish to %v", pub)
	}
}

func TestARevocationOfEverybodyNeedsANewCredential(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"subjects": []string{"orders.>"}}))
	r := made(t, target, "a", patchbay.Writer, nil)
	if err := edit(s, func(c *jwt.AccountClaims) { c.RevokeAt(jwt.All, time.Now().Add(time.Minute)) })(t.Context()); err != nil {
		t.Fatal(err)
	}
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || len(state.Missing) != 1 {
		t.Errorf("%+v, %v", state, err)
	}
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.LoginRefused || patchbay.AsError(err).Fix == "" {
		t.Errorf("EnsureLogin = %v", err)
	}
	claims, err := s.Claims(t.Context())
	if err != nil || claims.Revocations[jwt.All] == 0 {
		t.Errorf("the revocation of all is gone: %v, %v", claims.Revocations, err)
	}
}

func TestAGivenLoginIsTriedAsItIs(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	plain := maps.Clone(scope)
	plain["tls"] = "off" // or no password is said
	target := opened(t, register(s, plain))
	creds, err := s.AccountCreds("given")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		c    driver.Credential
		want patchbay.Code
	}{
		{"a creds file", driver.Credential{Secret: driver.Secrets{"creds": creds}}, ""},
		{"a creds file as the password", driver.Credential{Public: map[string]string{"username": "given"}, Secret: driver.Secrets{"password": creds}}, ""},
		{"a user and password", driver.Credential{Public: map[string]string{"username": "u"}, Secret: driver.Secrets{"password": patchbay.NewSecret("hunter2hunter2")}}, patchbay.LoginRefused},
		{"a token", driver.Credential{Secret: driver.Secrets{"token": patchbay.NewSecret("hunter2hunter2")}}, patchbay.LoginRefused},
		{"nothing", driver.Credential{}, patchbay.LoginRefused},
		{"half a creds file", driver.Credential{Secret: driver.Secrets{"creds": patchbay.NewSecret(creds.Reveal()[:200])}}, patchbay.LoginRefused},
	} {
		result, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: c.c, Dialer: &net.Dialer{}})
		if patchbay.CodeOf(err) != c.want {
			t.Errorf("%s: %+v, %v, want %q", c.name, result, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), creds.Reveal()[40:80])) {
			t.Errorf("%s: the error shows the secret: %v", c.name, err)
		}
	}
}

func TestAdminCredentialsThatDoNotFit(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	other := testenv.NATS(t, natsserver.Config{})
	application, err := s.AccountCreds("patchbay")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		admin driver.Secrets
		want  patchbay.Code
	}{
		{"the operator's identity", driver.Secrets{"operatorSeed": s.OperatorSeed(), "systemCreds": s.Admin()["systemCreds"]}, ""},
		{"another operator's key", driver.Secrets{"operatorSeed": other.OperatorSeed(), "systemCreds": s.Admin()["systemCreds"]}, patchbay.AdminRefused},
		{"another server's user", driver.Secrets{"operatorSeed": s.OperatorSeed(), "systemCreds": other.Admin()["systemCreds"]}, patchbay.AdminRefused},
		{"a user of the application account", driver.Secrets{"operatorSeed": s.OperatorSeed(), "systemCreds": application}, patchbay.AdminRights},
	} {
		config := register(s, scope)
		config.Admin = c.admin
		target := opened(t, config)
		_, err := target.Inspect(t.Context(), "")
		if patchbay.CodeOf(err) != c.want || patchbay.IsTransient(err) {
			t.Errorf("%s: Inspect = %v, want %q", c.name, err, c.want)
		}
		if err != nil {
			if err := target.EnsureLogin(t.Context(), request(t, target, "a", patchbay.Writer, map[string]string{"subjects": "orders.new"})); patchbay.CodeOf(err) != c.want {
				t.Errorf("%s: EnsureLogin = %v, want %q", c.name, err, c.want)
			}
		}
	}
}

func TestAnAccountThatIsNotThere(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	config := register(s, map[string]any{"account": nkeysPublic(), "subjects": []string{"orders.>"}})
	target := opened(t, config)
	if _, err := target.Inspect(t.Context(), ""); patchbay.CodeOf(err) != patchbay.TargetNotFound {
		t.Errorf("Inspect = %v", err)
	}
	r := request(t, target, "a", patchbay.Writer, nil)
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.TargetNotFound {
		t.Errorf("EnsureLogin = %v", err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Errorf("RemoveLogin = %v, but nothing is there", err)
	}
}

func TestRegistrationsThatAreRefused(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	secret := s.Admin()["operatorSeed"].Reveal()
	for name, change := range map[string]func(*driver.Config){
		"an unknown property": func(c *driver.Config) {
			c.Properties = json.RawMessage(`{"account":"` + s.Account() + `","streem":"x"}`)
		},
		"properties of another kind": func(c *driver.Config) { c.Properties = json.RawMessage(`[]`) },
		"two properties":             func(c *driver.Config) { c.Properties = append(slices.Clone(c.Properties), `{}`...) },
		"no properties":              func(c *driver.Config) { c.Properties = nil },
		"an account's name":          func(c *driver.Config) { c.Properties = json.RawMessage(`{"account":"APP"}`) },
		"everything":                 func(c *driver.Config) { *c = register(s, map[string]any{"subjects": []string{">"}}) },
		"the server's API":           func(c *driver.Config) { *c = register(s, map[string]any{"subjects": []string{"$JS.API.>"}}) },
		"an odd tls":                 func(c *driver.Config) { *c = register(s, map[string]any{"tls": "disable"}) },
		"no certificate":             func(c *driver.Config) { *c = register(s, map[string]any{"ca": "x"}) },
		"an odd inbox":               func(c *driver.Config) { *c = register(s, map[string]any{"inbox": "x"}) },
		"no endpoint":                func(c *driver.Config) { c.Endpoint = "" },
		"a path":                     func(c *driver.Config) { c.Endpoint = "localhost:4222/x" },
		"a credential in the URL":    func(c *driver.Config) { c.Endpoint = "nats://" + secret + "@localhost:4222" },
		"another scheme":             func(c *driver.Config) { c.Endpoint = "http://localhost:4222" },
		"no port":                    func(c *driver.Config) { c.Endpoint = "localhost:x" },
		"port zero":                  func(c *driver.Config) { c.Endpoint = "localhost:0" },
		"one good of two":            func(c *driver.Config) { c.Endpoint = "localhost:4222, " },
		"a newline":                  func(c *driver.Config) { c.Endpoint = "local\nhost:4222" },
		"an url with a credential":   func(c *driver.Config) { *c = register(s, map[string]any{"url": "nats://u:p@localhost"}) },
		"no admin":                   func(c *driver.Config) { c.Admin = nil },
		"an unknown secret":          func(c *driver.Config) { c.Admin = with(c.Admin, "password", secret) },
		"an account's seed":          func(c *driver.Config) { c.Admin = with(c.Admin, "operatorSeed", s.AccountSeed().Reveal()) },
		"an altered seed":            func(c *driver.Config) { c.Admin = with(c.Admin, "operatorSeed", altered(secret, 20)) },
		"creds without a seed":       func(c *driver.Config) { c.Admin = with(c.Admin, "systemCreds", c.Admin["systemCreds"].Reveal()[:300]) },
		"creds that are none":        func(c *driver.Config) { c.Admin = with(c.Admin, "systemCreds", secret) },
	} {
		c := register(s, scope)
		c.Dialer = &net.Dialer{}
		change(&c)
		target, err := nats.Driver().Open(t.Context(), c)
		if err == nil {
			_ = target.Close()
		}
		if patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		} else if text := fmt.Sprintf("%+v %s", err, patchbay.AsError(err).Fix); strings.Contains(text, secret[5:25]) {
			t.Errorf("%s: the error shows a secret: %s", name, text)
		}
	}
}

func with(admin driver.Secrets, name, value string) driver.Secrets {
	admin = maps.Clone(admin)
	admin[name] = patchbay.NewSecret(value)
	return admin
}

func TestRequestsThatAreRefused(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"subjects": []string{"orders.>"}}))
	for name, change := range map[string]func(*driver.LoginRequest){
		"another auth type": func(r *driver.LoginRequest) { r.Auth = patchbay.AuthSystemIdentity },
		"roles":             func(r *driver.LoginRequest) { r.Roles = []string{"admin"} },
		"an odd access":     func(r *driver.LoginRequest) { r.Access = "admin" },
		"a child":           func(r *driver.LoginRequest) { r.Sub = "orders" },
		"no generation":     func(r *driver.LoginRequest) { r.Mark.Generation = 0 },
		"no uid":            func(r *driver.LoginRequest) { r.Mark.UID = "" },
		"an odd option":     func(r *driver.LoginRequest) { r.Options = map[string]string{"schema": "x"} },
		"a template":        func(r *driver.LoginRequest) { r.Options = map[string]string{"subjects": "orders.{{name()}}"} },
		"too much":          func(r *driver.LoginRequest) { r.Options = map[string]string{"subjects": "payroll.>"} },
		"a name with a dot": func(r *driver.LoginRequest) { r.Name = "pb_a.>" },
		"a hostile name":    func(r *driver.LoginRequest) { r.Name = `pb_x"}],"iss":"` },
		"a long name":       func(r *driver.LoginRequest) { r.Name = "pb_" + strings.Repeat("x", 38) },
	} {
		r := request(t, target, "a", patchbay.Writer, nil)
		change(&r)
		if _, err := target.NewCredential(t.Context(), r); err == nil {
			t.Errorf("%s: NewCredential accepts it", name)
		}
		if err := target.EnsureLogin(t.Context(), r); err == nil || patchbay.IsTransient(err) {
			t.Errorf("%s: EnsureLogin = %v", name, err)
		}
	}
	// A credential of another login is not put under this name.
	r := request(t, target, "a", patchbay.Writer, nil)
	r.Credential = request(t, target, "b", patchbay.Writer, nil).Credential
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("another's credential: %v", err)
	}
	if users, err := s.Users(t.Context()); err != nil || len(users) > 0 {
		t.Errorf("something was made: %v, %v", users, err)
	}
}

// certificate is a self-signed one for the loopback address, with its PEM.
func certificate(t testing.TB) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nats"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	return c, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTLS(t *testing.T) {
	config, ca := certificate(t)
	_, other := certificate(t)
	plain := testenv.NATS(t, natsserver.Config{})
	secure := testenv.NATS(t, natsserver.Config{TLS: config})
	first := testenv.NATS(t, natsserver.Config{TLS: config, TLSFirst: true})
	for _, c := range []struct {
		name string
		s    *testenv.NATSServer
		more map[string]any
		tls  string
		want patchbay.Code
	}{
		{"none", plain, map[string]any{}, "", ""},
		{"as the server asks", secure, map[string]any{"ca": ca}, "TLS 1.3", ""},
		{"required", secure, map[string]any{"ca": ca, "tls": "require"}, "TLS 1.3", ""},
		{"first", first, map[string]any{"ca": ca, "tls": "first"}, "TLS 1.3", ""},
		{"required and not there", plain, map[string]any{"ca": ca, "tls": "require"}, "", patchbay.CertificateInvalid},
		{"of an authority that nobody knows", secure, map[string]any{}, "", patchbay.CertificateInvalid},
		{"of another authority", secure, map[string]any{"ca": other}, "", patchbay.CertificateInvalid},
		{"first, of another authority", first, map[string]any{"ca": other, "tls": "first"}, "", patchbay.CertificateInvalid},
	} {
		more := maps.Clone(c.more)
		more["subjects"] = []string{"orders.>"}
		target := opened(t, register(c.s, more))
		info, err := target.Inspect(t.Context(), "")
		if patchbay.CodeOf(err) != c.want || info.TLS != c.tls || patchbay.IsTransient(err) {
			t.Errorf("%s: %+v, %v", c.name, info, err)
		}
		if c.want != "" {
			continue
		}
		r := made(t, target, "a", patchbay.Writer, nil)
		if result, err := probe(t, target, r); err != nil || result.TLS != c.tls {
			t.Errorf("%s: Probe = %+v, %v", c.name, result, err)
		}
	}
}

func TestInspectSaysWhatAClientNeeds(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	stream(t, s)
	info, err := opened(t, register(s, scope)).Inspect(t.Context(), "")
	if err != nil || info.Values["url"] != s.URL() || info.Version == "" || !slices.Equal(info.Subs, []string{"PAYROLL", "SHIPPING"}) || len(info.Warnings) > 0 {
		t.Errorf("%+v, %v", info, err)
	}
	advertised := maps.Clone(scope)
	advertised["url"] = "nats.example.org,tls://other.example.org:4443"
	info, err = opened(t, register(s, advertised)).Inspect(t.Context(), "")
	if err != nil || info.Values["url"] != "nats://nats.example.org:4222,tls://other.example.org:4443" {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestAClosedTargetHoldsNothing(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	before := goleak.IgnoreCurrent()
	config := register(s, map[string]any{"subjects": []string{"orders.>"}})
	config.Dialer = &net.Dialer{}
	target := opened(t, config)
	r := made(t, target, "a", patchbay.Writer, nil)
	if _, err := probe(t, target, r); err != nil {
		t.Error(err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
	if err := target.Close(); err != nil {
		t.Error(err)
	}
	if _, err := target.Inspect(t.Context(), ""); err == nil {
		t.Error("a closed target goes on")
	}
	// The server's own goroutines come and go.
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*Server).startGoRoutine.func1"))
}
