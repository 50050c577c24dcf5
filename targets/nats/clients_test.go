package nats_test

import (
	"errors"
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
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
)

// application connects as one does, with the official client: its settings, and
// nothing that only a test knows. It fails when anything is refused.
func application(t *testing.T, s *testenv.NATSServer, r driver.LoginRequest) (*natsgo.Conn, jetstream.JetStream) {
	t.Helper()
	var options []natsgo.Option
	if prefix := r.Credential.Public["inbox"]; prefix != "" {
		options = append(options, natsgo.CustomInboxPrefix(prefix))
	}
	nc, err := signIn(t.Context(), s, r.Credential, append(options, natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
		if errors.Is(err, natsgo.ErrPermissionViolation) {
			t.Errorf("%s: %v", r.Access, err)
		}
	}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// inboxes are both ways to have answers.
func inboxes(t *testing.T, do func(t *testing.T, s *testenv.NATSServer, with func(map[string]any) map[string]any)) {
	for _, inbox := range []string{"shared", "private"} {
		t.Run(inbox, func(t *testing.T) {
			do(t, testenv.NATS(t, natsserver.Config{}), func(p map[string]any) map[string]any {
				p = maps.Clone(p)
				p["inbox"] = inbox
				return p
			})
		})
	}
}

// TestAnOwnerMakesItsBucketsWithTheClient: what the stream takes is known from
// its name, so the bucket is of use at once.
func TestAnOwnerMakesItsBucketsWithTheClient(t *testing.T) {
	inboxes(t, func(t *testing.T, s *testenv.NATSServer, with func(map[string]any) map[string]any) {
		target := opened(t, register(s, with(map[string]any{"buckets": []string{"config"}, "objects": []string{"files"}})))
		owner := made(t, target, "o", patchbay.Owner, nil)
		_, js := application(t, s, owner)
		kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "config", History: 3})
		if err != nil {
			t.Fatalf("make a bucket: %v", err)
		}
		useBucket(t, kv, true)
		files, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "files"})
		if err != nil {
			t.Fatalf("make an object store: %v", err)
		}
		useFiles(t, files, true)
		// What it made is what was expected of it.
		if err := target.EnsureLogin(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
		if state, err := target.InspectLogin(t.Context(), owner); err != nil || len(state.Missing)+len(state.Excess) > 0 {
			t.Errorf("%+v, %v", state, err)
		}
		for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Writer} {
			r := made(t, target, string(access), access, nil)
			_, js := application(t, s, r)
			kv, err := js.KeyValue(t.Context(), "config")
			if err != nil {
				t.Fatal(err)
			}
			useBucket(t, kv, access == patchbay.Writer)
			files, err := js.ObjectStore(t.Context(), "files")
			if err != nil {
				t.Fatal(err)
			}
			useFiles(t, files, access == patchbay.Writer)
			if _, err := probe(t, target, r); err != nil {
				t.Errorf("%s: %v", access, err)
			}
		}
		if _, err := kv.Status(t.Context()); err != nil {
			t.Error(err)
		}
		if err := errors.Join(js.DeleteKeyValue(t.Context(), "config"), js.DeleteObjectStore(t.Context(), "files")); err != nil {
			t.Errorf("remove them: %v", err)
		}
	})
}

func useBucket(t *testing.T, kv jetstream.KeyValue, writes bool) {
	t.Helper()
	ctx := t.Context()
	if writes {
		revision, err := kv.Put(ctx, "greeting", []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = kv.Update(ctx, "greeting", []byte("hello again"), revision); err != nil {
			t.Error(err)
		}
		_, err = kv.Create(ctx, "other"+rand(), nil)
		if err := errors.Join(err, kv.Delete(ctx, "gone"), kv.Purge(ctx, "gone"), kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1))); err != nil {
			t.Error(err)
		}
	}
	if e, err := kv.Get(ctx, "greeting"); err != nil || string(e.Value()) != "hello again" {
		t.Errorf("get: %v, %v", e, err)
	}
	if keys, err := kv.Keys(ctx); err != nil || !slices.Contains(keys, "greeting") {
		t.Errorf("keys: %v, %v", keys, err)
	}
	if h, err := kv.History(ctx, "greeting"); err != nil || len(h) < 2 {
		t.Errorf("history: %v, %v", h, err)
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if e := <-w.Updates(); e == nil {
		t.Error("nothing was watched")
	}
	if err := w.Stop(); err != nil {
		t.Error(err)
	}
}

func useFiles(t *testing.T, files jetstream.ObjectStore, writes bool) {
	t.Helper()
	ctx := t.Context()
	if writes {
		for _, text := range []string{"one", "another"} { // the second purges the first
			if _, err := files.PutString(ctx, "a", text); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := files.PutString(ctx, "b", "gone"); err != nil {
			t.Fatal(err)
		}
		if err := files.Delete(ctx, "b"); err != nil {
			t.Error(err)
		}
	}
	if text, err := files.GetString(ctx, "a"); err != nil || text != "another" {
		t.Errorf("get: %q, %v", text, err)
	}
	if list, err := files.List(ctx); err != nil || len(list) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	w, err := files.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if o := <-w.Updates(); o == nil {
		t.Error("nothing was watched")
	}
	if err := w.Stop(); err != nil {
		t.Error(err)
	}
}

// TestStreamsAreUsedWithTheClient: an owner makes the stream, a writer publishes
// and is acknowledged, and everybody reads in all the ways of both the client's
// interfaces.
func TestStreamsAreUsedWithTheClient(t *testing.T) {
	inboxes(t, func(t *testing.T, s *testenv.NATSServer, with func(map[string]any) map[string]any) {
		target := opened(t, register(s, with(map[string]any{"subjects": []string{"orders.>"}, "streams": []string{"ORDERS"}})))
		owner := made(t, target, "o", patchbay.Owner, nil)
		_, js := application(t, s, owner)
		ctx := t.Context()
		config := jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}
		if _, err := js.CreateStream(ctx, config); err != nil {
			t.Fatal(err)
		}
		config.MaxMsgs = 1000
		stream, err := js.UpdateStream(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(ctx, "orders.first", nil); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(stream.DeleteMsg(ctx, 1), stream.Purge(ctx)); err != nil {
			t.Error(err)
		}
		// Whoever only publishes needs no stream, and has none of its API.
		only := made(t, target, "w", patchbay.Writer, map[string]string{"subjects": "orders.>"})
		_, js = application(t, s, only)
		if _, err := js.Publish(ctx, "orders.new", []byte("1")); err != nil {
			t.Errorf("publish: %v", err)
		}
		future, err := js.PublishAsync("orders.new", []byte("2"))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-future.Ok():
		case err := <-future.Err():
			t.Errorf("publish without waiting: %v", err)
		}
		for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner} {
			t.Run(string(access), func(t *testing.T) {
				nc, js := application(t, s, made(t, target, string(access), access, nil))
				readStream(t, nc, js, "by_"+string(access))
			})
		}
	})
}

func readStream(t *testing.T, nc *natsgo.Conn, js jetstream.JetStream, durable string) {
	ctx := t.Context()
	ordered, err := js.OrderedConsumer(ctx, "ORDERS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := ordered.Next(); err != nil {
			t.Errorf("in order: %v", err)
		}
	}
	pull, err := js.CreateOrUpdateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "orders.new"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := pull.Next()
	if err != nil {
		t.Fatalf("durably: %v", err)
	}
	if err := m.DoubleAck(ctx); err != nil {
		t.Error(err)
	}
	again, err := js.Consumer(ctx, "ORDERS", durable)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan jetstream.Msg, 1)
	running, err := again.Consume(func(m jetstream.Msg) {
		select {
		case got <- m:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := (<-got).Nak(); err != nil {
		t.Error(err)
	}
	running.Stop()
	push, err := js.CreatePushConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{DeliverSubject: nc.NewInbox(), AckPolicy: jetstream.AckExplicitPolicy, FlowControl: true, IdleHeartbeat: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := push.Consume(func(m jetstream.Msg) {
		_ = m.Ack()
		select {
		case got <- m:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-got
	pushed.Stop()
	if err := js.DeleteConsumer(ctx, "ORDERS", durable); err != nil {
		t.Error(err)
	}
	stream, err := js.Stream(ctx, "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.GetLastMsgForSubject(ctx, "orders.new"); err != nil {
		t.Errorf("a single message: %v", err)
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		t.Error(err)
	}

	// The client's former interface.
	former, err := nc.JetStream(natsgo.Context(ctx))
	if err != nil {
		t.Fatal(err)
	}
	for name, sub := range map[string]func() (*natsgo.Subscription, error){
		"pushed": func() (*natsgo.Subscription, error) {
			return former.SubscribeSync("orders.>", natsgo.BindStream("ORDERS"))
		},
		"ordered": func() (*natsgo.Subscription, error) {
			return former.SubscribeSync("orders.>", natsgo.BindStream("ORDERS"), natsgo.OrderedConsumer())
		},
	} {
		s, err := sub()
		if err != nil {
			t.Errorf("%s, as formerly: %v", name, err)
			continue
		}
		if _, err := s.NextMsgWithContext(ctx); err != nil {
			t.Errorf("%s, as formerly: %v", name, err)
		}
		if err := s.Unsubscribe(); err != nil {
			t.Error(err)
		}
	}
	pulled, err := former.PullSubscribe("orders.>", durable+"_formerly", natsgo.BindStream("ORDERS"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := pulled.Fetch(1)
	if err != nil || len(list) != 1 || list[0].AckSync() != nil {
		t.Errorf("pulled, as formerly: %v", err)
	}
	if err := pulled.Unsubscribe(); err != nil {
		t.Error(err)
	}
}

// TestMessagesAreGotDirectlyWhereThatWasAskedFor: the client does that with every
// stream that allows it.
func TestMessagesAreGotDirectlyWhereThatWasAskedFor(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, scope))
	stream(t, s)
	_, js := application(t, s, made(t, target, "r", patchbay.Reader, map[string]string{"direct": "SHIPPING"}))
	shipping, err := js.Stream(t.Context(), "SHIPPING")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := shipping.GetMsg(t.Context(), 1); err != nil || m.Subject != "shipping.seed" {
		t.Errorf("%v, %v", m, err)
	}
}

// TestAnswersArriveWhereverTheAskerListens: by default, in an inbox of its own,
// and, for who may answer anything, elsewhere.
func TestAnswersArriveWhereverTheAskerListens(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"subjects": []string{"orders.>"}}))
	private := opened(t, register(s, map[string]any{"subjects": []string{"orders.>"}, "inbox": "private"}))
	elsewhere, err := s.Connect(natsgo.CustomInboxPrefix("answers.web"))
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	shared, _ := application(t, s, made(t, target, "shared", patchbay.Writer, nil))
	own, _ := application(t, s, made(t, private, "own", patchbay.Writer, nil))
	for name, r := range map[string]struct {
		login  driver.LoginRequest
		askers map[string]*natsgo.Conn
	}{
		"shared":  {made(t, target, "a", patchbay.Writer, nil), map[string]*natsgo.Conn{"shared": shared, "own": own}},
		"private": {made(t, private, "b", patchbay.Writer, nil), map[string]*natsgo.Conn{"shared": shared, "own": own}},
		"any":     {made(t, target, "c", patchbay.Writer, map[string]string{"answers": "any"}), map[string]*natsgo.Conn{"shared": shared, "own": own, "elsewhere": elsewhere}},
	} {
		nc, _ := application(t, s, r.login)
		if _, err := nc.Subscribe("orders."+name, func(m *natsgo.Msg) { _ = m.Respond([]byte("yes")) }); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		for from, asker := range r.askers {
			if m, err := asker.RequestWithContext(t.Context(), "orders."+name, nil); err != nil || string(m.Data) != "yes" {
				t.Errorf("%s answers %s: %v", name, from, err)
			}
		}
	}
}

// TestAnswersReachAnotherAccount: there the asker's inbox has another name.
func TestAnswersReachAnotherAccount(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"subjects": []string{"orders.>"}}))
	if err := edit(s, func(c *jwt.AccountClaims) {
		c.Exports.Add(&jwt.Export{Name: "orders", Subject: "orders.ask", Type: jwt.Service})
	})(t.Context()); err != nil {
		t.Fatal(err)
	}
	operator, err := nkeys.FromSeed([]byte(s.OperatorSeed().Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	key, err := account.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewAccountClaims(key)
	claims.Imports.Add(&jwt.Import{Name: "orders", Account: s.Account(), Subject: "orders.ask", Type: jwt.Service})
	token, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PushToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	userKey, err1 := user.PublicKey()
	seed, err2 := user.Seed()
	userToken, err3 := jwt.NewUserClaims(userKey).Encode(account)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	asker, err := natsgo.Connect(s.URL(), natsgo.UserJWTAndSeed(userToken, string(seed)))
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	nc, _ := application(t, s, made(t, target, "w", patchbay.Writer, nil))
	if _, err := nc.Subscribe("orders.ask", func(m *natsgo.Msg) {
		if !strings.HasPrefix(m.Reply, "_R_.") {
			t.Errorf("the answer goes to %s", m.Reply)
		}
		_ = m.Respond([]byte("yes"))
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if m, err := asker.RequestWithContext(t.Context(), "orders.ask", nil); err != nil || string(m.Data) != "yes" {
		t.Errorf("%v, %v", m, err)
	}
}

// former is the template that the release before gave a writer of orders.> and the
// stream ORDERS, as it stood in the account.
func former(account, name string) jwt.UserPermissionLimits {
	var l jwt.UserPermissionLimits
	l.Sub.Allow = []string{"_INBOX.>", "_INBOX_" + name + ".>", "orders.>"}
	l.Pub.Allow = []string{"$SYS.REQ.USER.INFO", "orders.>", "$JS.API.DIRECT.GET.ORDERS", "$JS.API.DIRECT.GET.ORDERS.>"}
	for _, subject := range []string{
		"STREAM.INFO.ORDERS", "STREAM.MSG.GET.ORDERS", "CONSUMER.CREATE.ORDERS", "CONSUMER.CREATE.ORDERS.>", "CONSUMER.DURABLE.CREATE.ORDERS.*", "CONSUMER.DELETE.ORDERS.*",
		"CONSUMER.INFO.ORDERS.*", "CONSUMER.LIST.ORDERS", "CONSUMER.NAMES.ORDERS", "CONSUMER.MSG.NEXT.ORDERS.*",
	} {
		l.Pub.Allow = append(l.Pub.Allow, "$JS.API."+subject)
	}
	for _, subject := range []string{"$JS.ACK.", "$JS.ACK.*." + account + ".", "$JS.FC.", "$JS.FC.*." + account + "."} {
		l.Pub.Allow = append(l.Pub.Allow, subject+"ORDERS.>")
	}
	l.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: 2 * time.Minute}
	l.NatsLimits = jwt.NatsLimits{Subs: jwt.NoLimit, Data: jwt.NoLimit, Payload: jwt.NoLimit}
	return l
}

// TestALoginOfTheReleaseBeforeIsFoundAndNarrowed: until somebody mends it, it works as
// it did.
func TestALoginOfTheReleaseBeforeIsFoundAndNarrowed(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"subjects": []string{"orders.>"}, "streams": []string{"ORDERS"}}))
	c, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	r := made(t, target, "a", patchbay.Writer, nil)
	r.Credential.Public["inboxPrefix"] = "_INBOX_" + r.Name // as its record has it
	users, err := s.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var hash string
	for _, subject := range users[r.Name].Template.Pub.Allow {
		if rest, ok := strings.CutPrefix(subject, "$JS.ACK.*."); ok {
			hash, _, _ = strings.Cut(rest, ".")
		}
	}
	if err := edit(s, func(c *jwt.AccountClaims) {
		for _, key := range c.SigningKeys {
			if user, ok := key.(*jwt.UserScope); ok && user.Role == r.Name {
				user.Template = former(hash, r.Name)
			}
		}
	})(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(t.Context(), s, r.Credential); err != nil {
		t.Errorf("until then it works as it did: %v", err)
	}
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Ours {
		t.Fatalf("%+v, %v", state, err)
	}
	for _, excess := range []string{"publish to $SYS.REQ.USER.INFO", "publish to $JS.API.DIRECT.GET.ORDERS.>", "answer any request, its own too, with messages to any subject (1 each)"} {
		if !slices.Contains(state.Excess, excess) {
			t.Errorf("the excess is %q, without %q", state.Excess, excess)
		}
	}
	for _, missing := range []string{"publish to _INBOX.>", "publish to $JS.API.INFO"} {
		if !slices.Contains(state.Missing, missing) {
			t.Errorf("the missing are %q, without %q", state.Missing, missing)
		}
	}
	if _, err := probe(t, target, r); patchbay.CodeOf(err) != patchbay.RightsMissing {
		t.Errorf("the probe says %v", err)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if state, err := target.InspectLogin(t.Context(), r); err != nil || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("afterwards %+v, %v", state, err)
	}
	if _, err := probe(t, target, r); err != nil {
		t.Error(err)
	}
}

// TestAReaderOfSubjectsPublishesNothing: an empty list would allow everything.
func TestAReaderOfSubjectsPublishesNothing(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, map[string]any{"subjects": []string{"orders.>"}}))
	r := made(t, target, "r", patchbay.Reader, nil)
	for _, subject := range []string{"orders.x", "alerts.cmd", "_INBOX.x", "$SYS.REQ.USER.INFO", "$JS.API.INFO"} {
		if err := as(s, publish(subject))(t.Context(), "", r.Credential); err == nil {
			t.Errorf("it publishes to %s", subject)
		}
	}
	if _, err := probe(t, target, r); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*jwt.UserPermissionLimits){
		"everything":    func(l *jwt.UserPermissionLimits) { l.Pub = jwt.Permission{} },
		"a subject":     func(l *jwt.UserPermissionLimits) { l.Pub = jwt.Permission{Allow: []string{"alerts.cmd"}} },
		"all but a few": func(l *jwt.UserPermissionLimits) { l.Pub = jwt.Permission{Deny: []string{"payroll.>"}} },
	} {
		if err := edit(s, func(c *jwt.AccountClaims) {
			for _, key := range c.SigningKeys {
				if user, ok := key.(*jwt.UserScope); ok && user.Role == r.Name {
					change(&user.Template)
				}
			}
		})(t.Context()); err != nil {
			t.Fatal(err)
		}
		if state, err := target.InspectLogin(t.Context(), r); err != nil || len(state.Excess) == 0 {
			t.Errorf("who may publish %s: %+v, %v", name, state, err)
		}
		if _, err := probe(t, target, r); patchbay.CodeOf(err) != patchbay.RightsExcess && patchbay.CodeOf(err) != patchbay.RightsMissing {
			t.Errorf("who may publish %s: the probe says %v", name, err)
		}
		if err := target.EnsureLogin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOptionsThatGiveMoreAreNamedRightly(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, scope))
	for _, c := range []struct {
		access  patchbay.Access
		options map[string]string
	}{
		{patchbay.Reader, map[string]string{"direct": "PAYROLL"}},
		{patchbay.Reader, map[string]string{"direct": "SHIPPING", "subjects": "orders.*"}},
		{patchbay.Reader, map[string]string{"direct": ""}},
		{patchbay.Reader, map[string]string{"answers": "any"}},
		{patchbay.Writer, map[string]string{"answers": "yes"}},
		{patchbay.Writer, map[string]string{"answers": ""}},
	} {
		r := driver.LoginRequest{Mark: driver.Mark{UID: "x", Generation: 1}, Name: "pb_x_g1", Auth: patchbay.AuthSecret, Access: c.access, Options: c.options}
		if _, err := target.NewCredential(t.Context(), r); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s with %v: %v", c.access, c.options, err)
		}
	}
}
