package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
)

// request is one for a login, which goes with the test.
func request(t testing.TB, target drivertest.Opened, uid, sub string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/broker"},
		Name: "pb_" + uid + "_g1", Sub: sub, Auth: patchbay.AuthSecret, Access: access, Options: options,
	}
	c, err := target.NewCredential(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	return r
}

// made is a login that is there, until the test ends.
func made(t testing.TB, target drivertest.Opened, uid, sub string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := request(t, target, uid, sub, access, options)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := target.RemoveLogin(context.Background(), r); err != nil {
			t.Errorf("remove %s: %v", r.Name, err)
		}
	})
	return r
}

func exact(t testing.TB, target drivertest.Opened, r driver.LoginRequest) {
	t.Helper()
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("InspectLogin = %+v, %v", state, err)
	}
}

// What options name is given and nothing else; a probe says so, too.
func TestALoginMayWhatItsOptionsName(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "scopes")
	target := opened(t, register(s))
	all := map[string]func(context.Context, string, driver.Credential) error{
		"get jobs": as(s, get("jobs")), "get payroll": as(s, get("payroll")), "publish events": as(s, publish("events", "orders.new")),
		"publish events elsewhere": as(s, publish("events", "payroll.new")), "publish fan": as(s, publish("fan", "")), "publish to a queue": as(s, publish("", "jobs")),
		"bind jobs": as(s, bind("jobs", "orders.new", "events")), "bind payroll": as(s, bind("payroll", "orders.new", "events")),
		"subscribe orders": as(s, subscribe("orders.*", "events")), "subscribe everything": as(s, subscribe("#", "events")), "subscribe fan": as(s, subscribe("", "fan")),
		"declare jobs.mine": as(s, declare("jobs.mine")), "declare mine": as(s, declare("mine")), "declare exchange events.mine": as(s, declareExchange("events.mine")),
	}
	for i, c := range []struct {
		access  patchbay.Access
		options map[string]string
		may     []string
	}{
		{patchbay.Reader, map[string]string{"queues": "jobs"}, []string{"get jobs"}},
		{patchbay.Reader, map[string]string{"exchanges": "events"}, []string{"subscribe orders", "subscribe everything"}},
		{patchbay.Reader, map[string]string{"exchanges": "events", "topics": "orders.*"}, []string{"subscribe orders"}},
		{patchbay.Writer, map[string]string{"queues": "jobs"}, []string{"get jobs", "publish to a queue"}},
		{patchbay.Writer, map[string]string{"exchanges": "events"}, []string{"publish events", "publish events elsewhere", "subscribe orders", "subscribe everything"}},
		{patchbay.Writer, map[string]string{"exchanges": "events", "topics": "orders.#"}, []string{"publish events", "subscribe orders"}},
		{patchbay.Writer, map[string]string{"queues": "jobs", "exchanges": "events, fan"}, []string{"get jobs", "publish events", "publish events elsewhere", "publish fan", "subscribe orders", "subscribe everything", "subscribe fan"}},
		{patchbay.Owner, map[string]string{"queues": "jobs,jobs.*", "exchanges": "events,events.*"}, []string{"get jobs", "publish events", "publish events elsewhere", "bind jobs", "subscribe orders", "subscribe everything", "declare jobs.mine", "declare exchange events.mine"}},
		{patchbay.Owner, map[string]string{"queues": "jobs*"}, []string{"get jobs", "publish to a queue", "declare jobs.mine"}},
	} {
		t.Run(fmt.Sprint(c.access, c.options), func(t *testing.T) {
			r := made(t, target, fmt.Sprintf("scope%d", i), at, c.access, c.options)
			exact(t, target, r)
			for name, try := range all {
				err := try(t.Context(), at, r.Credential)
				switch may := slices.Contains(c.may, name); {
				case may && err != nil:
					t.Errorf("%s: %v", name, err)
				case !may && !errors.Is(err, drivertest.ErrRefused):
					t.Errorf("%s: %v, want it refused", name, err)
				}
			}
			result, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: dialer, Sub: at, Access: c.access, Options: c.options})
			if err != nil || len(result.Refused) == 0 || len(result.NotChecked) > 0 {
				t.Errorf("Probe = %+v, %v", result, err)
			}
			beyond, err := target.Administrator.(driver.WarnedLogins).Beyond(t.Context(), r)
			if warned := strings.Contains(strings.Join(beyond, "\n"), "every queue"); err != nil || warned != slices.Contains(c.may, "publish to a queue") {
				t.Errorf("Beyond = %q, %v", beyond, err)
			}
		})
	}
}

// The table in docs/security.md says what permissions for names can't tell apart.
func TestWhatALoginCanBesides(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "besides")
	target := opened(t, register(s))
	do(t, s, http.MethodPut, "/api/exchanges/"+at+"/jobs", map[string]any{"type": "fanout", "durable": true}, nil)
	jobs, all := map[string]string{"queues": "jobs"}, map[string]string(nil)
	for name, c := range map[string]struct {
		access  patchbay.Access
		options map[string]string
		try     func(context.Context, *amqp.Channel) error
		warning string
	}{
		"an exchange of the same name": {patchbay.Reader, jobs, subscribe("", "jobs"), "of that name"},
		"every queue":                  {patchbay.Writer, jobs, publish("", "payroll"), "every queue"},
		"purge":                        {patchbay.Reader, jobs, func(_ context.Context, ch *amqp.Channel) error { _, err := ch.QueuePurge("jobs", false); return err }, ""},
		"bind":                         {patchbay.Writer, all, bind("payroll", "#", "events"), "bind and unbind"},
		"count messages": {patchbay.Reader, jobs, func(_ context.Context, ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive("payroll", true, false, false, false, nil)
			return err
		}, "how many messages"},
	} {
		t.Run(name, func(t *testing.T) {
			r := made(t, target, "besides", at, c.access, c.options)
			if err := as(s, c.try)(t.Context(), at, r.Credential); err != nil {
				t.Errorf("it can not: %v", err)
			}
			beyond, err := target.Administrator.(driver.WarnedLogins).Beyond(t.Context(), r)
			if err != nil || !strings.Contains(strings.Join(beyond, "\n"), c.warning) {
				t.Errorf("Beyond = %q, %v, without %q", beyond, err, c.warning)
			}
		})
	}
}

// Routing keys are checked at topic exchanges alone: elsewhere they would bound nothing.
func TestTopicsAreForTopicExchanges(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "topics")
	target := opened(t, register(s))
	r := request(t, target, "topics", at, patchbay.Writer, map[string]string{"exchanges": "fan", "topics": "a"})
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), "no topic exchange") {
		t.Errorf("EnsureLogin = %v", err)
	}
	if state, err := target.InspectLogin(t.Context(), r); err != nil || state.Exists {
		t.Errorf("a login that was refused is there: %+v, %v", state, err)
	}
	r = made(t, target, "topic", at, patchbay.Writer, map[string]string{"exchanges": "events", "topics": "orders.*"})
	do(t, s, http.MethodDelete, "/api/topic-permissions/"+at+"/"+r.Name, nil, nil)
	if state, err := target.InspectLogin(t.Context(), r); err != nil || len(state.Excess) == 0 {
		t.Errorf("a login that lost its routing keys: %+v, %v", state, err)
	}
	_, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: dialer, Sub: at, Access: r.Access, Options: r.Options})
	if patchbay.CodeOf(err) != patchbay.RightsExcess {
		t.Errorf("Probe of such a login = %v", err)
	}
}

// What a probe tries changes nothing: no message is lost, moved or marked as delivered,
// and nothing is declared; of classic queues, quorum queues and streams.
func TestAProbeLeavesNothing(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "probed")
	target := opened(t, register(s))
	names := []string{"jobs"}
	for _, kind := range []string{"quorum", "stream"} {
		do(t, s, http.MethodPut, "/api/queues/"+at+"/"+kind, map[string]any{"durable": true, "arguments": map[string]string{"x-queue-type": kind}}, nil)
		names = append(names, kind)
	}
	for _, name := range names {
		do(t, s, http.MethodPost, "/api/exchanges/"+at+"/amq.default/publish", map[string]any{"properties": map[string]any{"delivery_mode": 2}, "routing_key": name, "payload": "kept", "payload_encoding": "string"}, nil)
	}
	do(t, s, http.MethodPut, "/api/exchanges/"+at+"/all", map[string]any{"type": "fanout", "durable": true}, nil)
	do(t, s, http.MethodPost, "/api/bindings/"+at+"/e/all/q/jobs", map[string]any{}, nil)
	for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner} {
		r := made(t, target, "probed"+string(access), at, access, map[string]string{"queues": strings.Join(names, ","), "exchanges": "all,amq.default"})
		if _, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: dialer, Sub: at, Access: access, Options: r.Options}); err != nil {
			t.Errorf("Probe of %s: %v", access, err)
		}
	}
	conn, err := enter(t.Context(), s, at, s.User, s.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names[:2] {
		m, ok, err := ch.Get(name, true)
		if err != nil || !ok || string(m.Body) != "kept" || m.Redelivered || m.MessageCount != 0 {
			t.Errorf("%s has %+v, %t, %v", name, m, ok, err)
		}
	}
	var queues []struct{ Name string }
	do(t, s, http.MethodGet, "/api/queues/"+at+"?columns=name", nil, &queues)
	if len(queues) != 4 { // payroll, too
		t.Errorf("there are the queues %v", queues)
	}
}

// A login of a similar name is nobody's business, and one of ours is found without
// the virtual host that it was for.
func TestOnlyOursIsTouched(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "touched")
	target := opened(t, register(s))
	decoys := []string{"pb_touched_g1x", "xpb_touched_g1", "PB_touched_g1", "pb_touched_g11", "pb_touched_G1", "pb_touched_g1 ", "pb_touched"}
	for _, name := range decoys {
		do(t, s, http.MethodPut, "/api/users/"+esc(name), map[string]string{"password": "theirs", "tags": "Patchbay,patchbay2"}, nil)
		t.Cleanup(func() { do(t, s, http.MethodDelete, "/api/users/"+esc(name), nil, nil) })
	}
	r := made(t, target, "touched", at, patchbay.Owner, nil)
	owned, err := target.Owned(t.Context())
	if err != nil || len(owned) != 1 || owned[0].Name != r.Name || owned[0].Sub != at || owned[0].Mark != r.Mark {
		t.Errorf("Owned = %+v, %v", owned, err)
	}
	do(t, s, http.MethodDelete, "/api/vhosts/"+at, nil, nil)
	owned, err = target.Owned(t.Context())
	if err != nil || len(owned) != 1 || owned[0].Name != r.Name || owned[0].Mark.UID != "touched" || owned[0].Mark.Generation != 1 {
		t.Errorf("without its virtual host Owned = %+v, %v", owned, err)
	}
	if state, err := target.InspectLogin(t.Context(), r); err != nil || !state.Ours || len(state.Missing) == 0 {
		t.Errorf("without its virtual host InspectLogin = %+v, %v", state, err)
	}
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.ChildMissing {
		t.Errorf("without its virtual host EnsureLogin = %v", err)
	}
	if err := target.RemoveLogin(t.Context(), driver.LoginRequest{Mark: owned[0].Mark, Name: owned[0].Name, Sub: owned[0].Sub}); err != nil {
		t.Errorf("without its virtual host RemoveLogin = %v", err)
	}
	for _, name := range decoys {
		var u map[string]any
		do(t, s, http.MethodGet, "/api/users/"+esc(name), nil, &u)
	}
	if err := s.Do(t.Context(), http.MethodGet, "/api/users/"+r.Name, nil, nil); statusOf(err) != http.StatusNotFound {
		t.Errorf("the login is still there: %v", err)
	}
}

// A user that bears the tag and another connection's note is that connection's.
func TestAnothersNoteIsNotOurs(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "noted")
	target := opened(t, register(s))
	r := request(t, target, "noted", at, patchbay.Reader, nil)
	do(t, s, http.MethodPut, "/api/users/"+r.Name, map[string]string{"password": "theirs", "tags": "patchbay"}, nil)
	t.Cleanup(func() { do(t, s, http.MethodDelete, "/api/users/"+r.Name, nil, nil) })
	do(t, s, http.MethodPut, "/api/topic-permissions/"+at+"/"+r.Name, map[string]string{"exchange": `patchbay login {"uid":"other","generation":1,"connection":"","sub":"noted"}`, "write": "^$", "read": "^$"}, nil)
	for what, err := range map[string]error{"EnsureLogin": target.EnsureLogin(t.Context(), r), "RemoveLogin": target.RemoveLogin(t.Context(), r)} {
		if patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("%s = %v", what, err)
		}
	}
}

// Whoever is removed is out: also where the client comes back by itself.
func TestARemovedLoginDoesNotComeBack(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "removed")
	target := opened(t, register(s))
	r := request(t, target, "removed", at, patchbay.Owner, nil)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	gone := make(chan error, 8)
	for range cap(gone) {
		conn, err := enter(ctx, s, at, r.Credential.Public["username"], r.Credential.Secret["password"].Reveal())
		if err != nil {
			t.Fatal(err)
		}
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ch.QueueDeclare("made by it", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		closed := ending(conn)
		go func() { // as libraries do
			<-closed
			for ctx.Err() == nil {
				conn, err := enter(ctx, s, at, r.Credential.Public["username"], r.Credential.Secret["password"].Reveal())
				if err != nil {
					gone <- err
					return
				}
				<-ending(conn)
			}
			gone <- ctx.Err()
		}()
	}
	if err := target.RemoveLogin(ctx, r); err != nil {
		t.Fatal(err)
	}
	for range cap(gone) {
		if err := <-gone; !errors.Is(err, drivertest.ErrRefused) {
			t.Errorf("a client that comes back: %v", err)
		}
	}
	var open []struct{ User string }
	do(t, s, http.MethodGet, "/api/connections/username/"+r.Name, nil, &open)
	if len(open) > 0 {
		t.Errorf("there are connections of it: %v", open)
	}
	// What it declared is the virtual host's.
	do(t, s, http.MethodGet, "/api/queues/"+at+"/"+esc("made by it"), nil, nil)
}

// The server keeps what it said that it made.
func TestLoginsSurviveARestart(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "restarted")
	target := opened(t, register(s))
	r := made(t, target, "restarted", at, patchbay.Writer, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	// The connection from before is gone: whether the first call notices that by
	// itself or says that a moment may mend it, the next one works.
	if _, err := target.InspectLogin(ctx, r); err != nil && !patchbay.IsTransient(err) {
		t.Error(err)
	}
	exact(t, target, r)
	if _, err := target.Probe(ctx, driver.ProbeRequest{Credential: r.Credential, Dialer: dialer, Sub: at, Access: r.Access}); err != nil {
		t.Error(err)
	}
	if owned, err := target.Owned(ctx); err != nil || len(owned) != 1 {
		t.Errorf("Owned = %+v, %v", owned, err)
	}
}
