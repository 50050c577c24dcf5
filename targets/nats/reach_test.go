package nats_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
)

var update = flag.Bool("update", false, "write the table of docs/security.md anew")

// reacher is a login, and which stream it uses if any.
type reacher struct {
	name     string
	access   patchbay.Access
	options  map[string]string
	stream   string // that takes its subjects
	subjects string // a prefix of what the stream takes, and it may publish
}

var reachers = []reacher{
	{"reader of subjects", patchbay.Reader, map[string]string{"subjects": "orders.>"}, "ORDERS", "orders."},
	{"writer of subjects that no stream takes", patchbay.Writer, map[string]string{"subjects": "invoices.>"}, "ORDERS", "invoices."},
	{"writer of subjects that a stream takes", patchbay.Writer, map[string]string{"subjects": "orders.>"}, "ORDERS", "orders."},
	{"reader of a stream", patchbay.Reader, map[string]string{"subjects": "orders.>", "streams": "ORDERS"}, "ORDERS", "orders."},
	{"writer of a stream", patchbay.Writer, map[string]string{"subjects": "orders.>", "streams": "ORDERS"}, "ORDERS", "orders."},
	{"reader of a stream, with `direct`", patchbay.Reader, map[string]string{"streams": "ORDERS", "direct": "ORDERS"}, "ORDERS", "orders."},
	{"writer of a stream, with `direct`", patchbay.Writer, map[string]string{"streams": "ORDERS", "direct": "ORDERS"}, "ORDERS", "orders."},
	{"reader of a bucket", patchbay.Reader, map[string]string{"buckets": "config"}, "KV_config", "$KV.config."},
	{"writer of a bucket", patchbay.Writer, map[string]string{"buckets": "config"}, "KV_config", "$KV.config."},
	{"owner of a stream", patchbay.Owner, map[string]string{"streams": "ORDERS"}, "ORDERS", "orders."},
	{"owner of a bucket", patchbay.Owner, map[string]string{"streams": "KV_config"}, "KV_config", "$KV.config."},
	{"writer with `answers=any`", patchbay.Writer, map[string]string{"subjects": "invoices.>", "answers": "any"}, "ORDERS", "invoices."},
}

// reaches are what a login may do beyond its access, as the table's columns.
var reaches = []string{
	"answers, to any subject", "what the stream holds, to any subject", "its own messages, to any subject",
	"any stream: purge, delete", "any stream: read", "JetStream's API: any request",
}

// attempt tries, on a server of its own, everything that is known to reach
// further than a login's permissions say. What is documented is waited for.
func attempt(t *testing.T, r reacher, documented []bool) (reached []bool, warned []string) {
	t.Helper()
	const held, own, salary = "what it holds", "what it says", "a salary"
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, register(s, nil))
	admin, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, subject := range map[string]string{"ORDERS": "orders.>", "PAYROLL": "payroll.>"} {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowDirect: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "config"}); err != nil {
		t.Fatal(err)
	}
	const (
		createMine = `{"name":"MINE","subjects":["mine.>"],"retention":"limits","storage":"memory","num_replicas":1}`
		leak       = `{"stream_name":"PAYROLL","config":{"name":"leak","deliver_policy":"all","ack_policy":"none","deliver_subject":"_INBOX.leak"}}`
	)
	prefix := r.subjects
	if prefix == "invoices." {
		prefix = "orders."
	}
	for subject, text := range map[string]string{"payroll.x": salary, prefix + "held": held, prefix + "create": createMine, prefix + "leak": leak, prefix + "nothing": ""} {
		if _, err := js.Publish(ctx, subject, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	login := made(t, target, "a", r.access, r.options)
	warned, err = target.Administrator.(driver.WarnedLogins).Beyond(ctx, driver.LoginRequest{Access: r.access, Options: r.options})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := signIn(ctx, s, login.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()

	var mu sync.Mutex
	var answered, gotHeld, gotOwn, gotSalary bool
	if _, err := admin.Subscribe("alerts.>", func(m *natsgo.Msg) {
		mu.Lock()
		defer mu.Unlock()
		gotHeld = gotHeld || string(m.Data) == held
		gotOwn = gotOwn || string(m.Data) == own
		answered = answered || string(m.Data) != held && string(m.Data) != own
	}); err != nil {
		t.Fatal(err)
	}
	if err := admin.Flush(); err != nil {
		t.Fatal(err)
	}
	// What is refused is refused, and the connection goes on.
	publish := func(subject, reply, text string) {
		if err := nc.PublishMsg(&natsgo.Msg{Subject: subject, Reply: reply, Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	listen := func(subject string, hear func(*natsgo.Msg)) {
		if _, err := nc.Subscribe(subject, hear); err != nil {
			t.Fatal(err)
		}
	}
	settle := func() {
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"_INBOX.leak", "payroll.>", "alerts.>", ">"} {
		listen(subject, func(m *natsgo.Msg) {
			mu.Lock()
			defer mu.Unlock()
			gotSalary = gotSalary || bytes.Contains(m.Data, []byte(salary))
		})
	}
	// The answers to its own requests are its own messages.
	listen(r.subjects+"ask", func(m *natsgo.Msg) { _ = m.Respond([]byte(m.Header.Get("Say"))) })
	settle()
	ask := func(reply, say string) {
		if err := nc.PublishMsg(&natsgo.Msg{Subject: r.subjects + "ask", Reply: reply, Header: natsgo.Header{"Say": {say}}}); err != nil {
			t.Fatal(err)
		}
	}
	api := "$JS.API."
	consumer := func(name, more string) {
		publish(api+"CONSUMER.CREATE."+r.stream+"."+name, "_INBOX.x", `{"stream_name":"`+r.stream+`","config":{"name":"`+name+`","deliver_policy":"all",`+more+`}}`)
		publish(api+"CONSUMER.DURABLE.CREATE."+r.stream+"."+name, "_INBOX.x", `{"stream_name":"`+r.stream+`","config":{"durable_name":"`+name+`","deliver_policy":"all",`+more+`}}`)
		settle()
		for range 500 { // who may make one has it before it goes on
			if r.options["streams"] == "" {
				break
			}
			if stream, err := js.Stream(ctx, r.stream); err != nil || slices.Contains(consumers(ctx, stream), name) {
				break
			}
		}
	}
	// to has every message of the stream sent to a subject, in every way.
	to := func(subject string) {
		n := fmt.Sprint(time.Now().UnixNano())
		consumer("pull"+n, `"ack_policy":"explicit"`)
		publish(api+"CONSUMER.MSG.NEXT."+r.stream+".pull"+n, subject, `{"batch":100,"no_wait":true}`)
		settle()
		publish(api+"CONSUMER.MSG.NEXT."+r.stream+".pull"+n, subject, `{"batch":1,"no_wait":true}`) // nothing is left: a status
		publish("$JS.ACK."+r.stream+".pull"+n+".1.1.1.1.1", subject, "")
		publish("$JS.ACK."+r.stream+".pull"+n+".1.2.2.1.1", subject, "+NXT")
		consumer("push"+n, `"ack_policy":"none","idle_heartbeat":100000000,"deliver_subject":"`+subject+`"`)
	}
	direct := func(message, subject string) {
		publish(api+"DIRECT.GET."+r.stream+"."+prefix+message, subject, "")
		publish(api+"DIRECT.GET."+r.stream, subject, `{"last_by_subj":"`+prefix+message+`"}`)
		publish(api+"STREAM.MSG.GET."+r.stream, subject, `{"last_by_subj":"`+prefix+message+`"}`)
	}
	change := func(more string) {
		subjects := prefix + ">"
		publish(api+"STREAM.UPDATE."+r.stream, "_INBOX.x", `{"name":"`+r.stream+`","subjects":["`+subjects+`"],"retention":"limits","storage":"file","num_replicas":1,"allow_direct":true,"allow_rollup_hdrs":true,"deny_delete":`+fmt.Sprint(r.stream != "ORDERS")+`,"max_msgs_per_subject":`+map[bool]string{true: "-1", false: "1"}[r.stream == "ORDERS"]+`,`+more+`}`)
		settle()
		_, _ = js.Stream(ctx, r.stream)
	}
	payroll := func() bool {
		stream, err := js.Stream(ctx, "PAYROLL")
		return err != nil || stream.CachedInfo().State.Msgs == 0
	}
	flagged := func(b *bool) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return *b }
	}
	reached = make([]bool, len(reaches))
	for _, effect := range []struct {
		column int
		attack func()
		seen   func() bool
	}{
		{0, func() {
			for _, subject := range []string{
				"$SYS.REQ.USER.INFO", api + "INFO", api + "STREAM.NAMES", api + "STREAM.LIST", api + "STREAM.INFO." + r.stream, api + "STREAM.INFO.PAYROLL",
				api + "CONSUMER.NAMES." + r.stream, api + "CONSUMER.LIST." + r.stream, api + "CONSUMER.INFO." + r.stream + ".x", api + "CONSUMER.DELETE." + r.stream + ".x",
				api + "CONSUMER.CREATE." + r.stream, api + "STREAM.MSG.GET." + r.stream, api + "DIRECT.GET." + r.stream, r.subjects + "new",
			} {
				publish(subject, "alerts.answer", "")
			}
		}, flagged(&answered)},
		{1, func() { to("alerts.held"); direct("held", "alerts.held") }, flagged(&gotHeld)},
		{2, func() {
			publish("alerts.own", "", own)
			if err := nc.PublishMsg(&natsgo.Msg{Subject: r.subjects + "new", Header: natsgo.Header{"Nats-Trace-Dest": {"alerts.trace"}}, Data: []byte(own)}); err != nil {
				t.Fatal(err)
			}
			ask("alerts.own", own)
			publish(r.subjects+"own", "", own)
			settle()
			to("alerts.own")
			direct("own", "alerts.own")
			change(`"republish":{"src":"` + prefix + `own","dest":"alerts.own"}`)
			publish(r.subjects+"own", "", own)
		}, flagged(&gotOwn)},
		{4, func() {
			publish(api+"CONSUMER.CREATE.PAYROLL.leak", "_INBOX.x", leak)
			publish(api+"STREAM.MSG.GET.PAYROLL", "_INBOX.leak", `{"seq":1}`)
			publish(api+"DIRECT.GET.PAYROLL", "_INBOX.leak", `{"seq":1}`)
			ask(api+"CONSUMER.CREATE.PAYROLL.leak", leak)
			to(api + "CONSUMER.CREATE.PAYROLL.leak")
			direct("leak", api+"CONSUMER.CREATE.PAYROLL.leak")
			change(`"sources":[{"name":"PAYROLL"}]`)
			to("_INBOX.leak")
			consumer("live", `"ack_policy":"none","deliver_subject":"_INBOX.leak"`)
		}, flagged(&gotSalary)},
		{5, func() {
			publish(api+"STREAM.CREATE.MINE", "_INBOX.x", createMine)
			ask(api+"STREAM.CREATE.MINE", createMine)
			to(api + "STREAM.CREATE.MINE")
			direct("create", api+"STREAM.CREATE.MINE")
			change(`"republish":{"src":"` + prefix + `create","dest":"` + api + `STREAM.CREATE.MINE"}`)
			publish(r.subjects+"create", "", createMine)
		}, func() bool { _, err := js.Stream(ctx, "MINE"); return err == nil }},
		{3, func() { // last: the others need the stream
			for _, request := range []string{"STREAM.PURGE.PAYROLL", "STREAM.DELETE.PAYROLL"} {
				publish(api+request, "_INBOX.x", "")
				publish(r.subjects+"new", api+request, "")
				ask(api+request, "")
				to(api + request)
				direct("nothing", api+request)
			}
		}, payroll},
	} {
		// The server answers in an order of its own: what should come is tried until
		// it does, and what should not is given the time of many other answers.
		tries := 1
		if documented != nil && documented[effect.column] {
			tries = 60
		}
		for ok := &reached[effect.column]; !*ok && tries > 0; tries-- {
			effect.attack()
			settle()
			for range 100 {
				if *ok = effect.seen(); *ok {
					break
				}
				if _, err := js.AccountInfo(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return reached, warned
}

func consumers(ctx context.Context, stream jetstream.Stream) (names []string) {
	for name := range stream.ConsumerNames(ctx).Name() {
		names = append(names, name)
	}
	return names
}

// TestWhatALoginReachesIsDocumentedAndSaid: what the product can't be told to
// forbid is in the table, and in the warning of every operation that makes such a
// login; nothing else is possible.
func TestWhatALoginReachesIsDocumentedAndSaid(t *testing.T) {
	const page, begin, end = "../../docs/security.md", "<!-- reach: written by go test ./targets/nats -run Reaches -update -->\n", "<!-- end of reach -->"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table", page)
	}
	documented := map[string][]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		var row []bool
		for _, cell := range cells[1:] {
			row = append(row, strings.TrimSpace(cell) == "yes")
		}
		documented[strings.TrimSpace(cells[0])] = row
	}
	rows := make([]string, len(reachers))
	t.Run("logins", func(t *testing.T) {
		for i, r := range reachers {
			t.Run(r.name, func(t *testing.T) {
				known := documented[r.name]
				if len(known) != len(reaches) {
					known = nil
				}
				reached, warned := attempt(t, r, known)
				if beyond := slices.Contains(reached, true); beyond != (len(warned) > 0) {
					t.Errorf("it reaches %v, and the warning is %q", reached, warned)
				}
				if !*update && !slices.Equal(reached, known) {
					t.Errorf("it reaches %v, and the table says %v", reached, known)
				}
				rows[i] = "| " + r.name
				for _, yes := range reached {
					rows[i] += map[bool]string{true: " | yes", false: " | "}[yes]
				}
				rows[i] += " |\n"
			})
		}
	})
	if *update {
		table := "| Login | " + strings.Join(reaches, " | ") + " |\n|" + strings.Repeat("---|", len(reaches)+1) + "\n" + strings.Join(rows, "")
		if err := os.WriteFile(page, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
