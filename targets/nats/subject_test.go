package nats

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"patchbay.dev/patchbay"
)

func TestSubjectsThatGiveMoreThanTheySayAreRefused(t *testing.T) {
	for _, s := range []string{
		">", "*", "*.>", "*.orders", "", ".", "a.", ".a", "a..b", "orders.>.x", "a b", "a\tb", "a\nb", "a\x00b", "orders\r\nPUB x 0",
		"$SYS.>", "$SYS.REQ.CLAIMS.UPDATE", "$JS.API.>", "$JS.API.STREAM.DELETE.ORDERS", "$NRG.x", "$GR.x", "$G", "$MQTT.x", "$",
		"_INBOX.>", "_INBOX_pb_x_g1.>", "_INBOXES", "_R_.x", "_GR_.x",
		"orders.{{name()}}", "{{subject()}}", "orders.{{tag(x)}}", "a,b", `a"b`, "a'b", "a`b", `a\b`, "$(id)", "orders.$(id)", "a;b", "a|b",
		"orders.*x>", "orders.x*", "orders.>x", "<script>", "a\u202eb", "a\ufeffb", "a\xffb", strings.Repeat("a", 256), "orders workers",
	} {
		if err := checkSubject(s); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("checkSubject(%q) = %v", s, err)
		}
	}
	for _, s := range []string{"orders", "orders.new", "orders.*", "orders.>", "orders.*.eu.>", "$KV.config.>", "$O.files.C.>", "größe.*", "a/b:c=d@e+f", "A-1_2"} {
		if err := checkSubject(s); err != nil {
			t.Errorf("checkSubject(%q) = %v", s, err)
		}
	}
}

func TestStreamsAreNames(t *testing.T) {
	for _, s := range []string{"", " ", "A B", "A.B", "A*", ">", "A/B", `A\B`, "A\nB", "A\x00", "../A", "A,B", "{{name()}}", "A'", `A"`, "$(id)", strings.Repeat("A", 256)} {
		if _, err := newScope(nil, []string{s}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("newScope(stream %q) = %v", s, err)
		}
	}
	for _, s := range []string{"ORDERS", "KV_config", "OBJ_files", "orders-2026", "ä"} {
		if _, err := newScope(nil, []string{s}); err != nil {
			t.Errorf("newScope(stream %q) = %v", s, err)
		}
	}
}

func TestARequestStaysWithinTheRegistration(t *testing.T) {
	registered := scope{subjects: []string{"invoices.>", "orders.*"}, streams: []string{"SHIPPING"}}
	for _, c := range []struct {
		registered scope
		options    map[string]string
		want       string // subjects and streams, or the code
	}{
		{registered, nil, "invoices.> orders.* / SHIPPING"},
		{registered, map[string]string{"subjects": "orders.new"}, "orders.new / "},
		{registered, map[string]string{"subjects": " orders.new , invoices.a.*,orders.new"}, "invoices.a.* orders.new / "},
		{registered, map[string]string{"streams": "SHIPPING"}, " / SHIPPING"},
		{registered, map[string]string{"subjects": "orders.new.eu"}, "InvalidArgument"},
		{registered, map[string]string{"subjects": "orders.>"}, "InvalidArgument"},
		{registered, map[string]string{"subjects": "orders.new,payroll.x"}, "InvalidArgument"},
		{registered, map[string]string{"streams": "PAYROLL"}, "InvalidArgument"},
		{registered, map[string]string{"subjects": ""}, "InvalidArgument"},
		{registered, map[string]string{"subjects": "orders.new,"}, "InvalidArgument"},
		{registered, map[string]string{"schema": "public"}, "InvalidArgument"},
		{scope{streams: []string{"SHIPPING"}}, map[string]string{"subjects": "orders.new"}, "InvalidArgument"},
		{scope{}, map[string]string{"subjects": "orders.>", "streams": "SHIPPING"}, "orders.> / SHIPPING"},
		{scope{}, nil, "InvalidArgument"},
		{scope{}, map[string]string{"buckets": "config, flags", "objects": "files", "streams": "ORDERS"}, " / KV_config KV_flags OBJ_files ORDERS"},
		{scope{streams: []string{"KV_config"}}, map[string]string{"buckets": "config"}, " / KV_config"},
		{scope{streams: []string{"KV_config"}}, map[string]string{"objects": "config"}, "InvalidArgument"},
		{scope{}, map[string]string{"buckets": ""}, "InvalidArgument"},
		{scope{}, map[string]string{"buckets": "config.>"}, "InvalidArgument"},
		{scope{}, map[string]string{"objects": "*"}, "InvalidArgument"},
		{scope{}, map[string]string{"objects": "files,"}, "InvalidArgument"},
	} {
		target := &target{config: config{scope: c.registered}}
		got, err := target.scopeOf(patchbay.Writer, c.options)
		text := strings.Join(got.subjects, " ") + " / " + strings.Join(got.streams, " ")
		if err != nil {
			text = string(patchbay.CodeOf(err))
		}
		if text != c.want {
			t.Errorf("%v of %v = %s (%v), want %s", c.options, c.registered, text, err, c.want)
		}
	}
	if _, err := (&target{config: config{scope: registered}}).scopeOf("admin", nil); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("an unknown access: %v", err)
	}
	var many []string
	for i := range maxScope + 1 {
		many = append(many, "a."+strings.Repeat("b", i+1))
	}
	if _, err := newScope(many, nil); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("%d subjects: %v", len(many), err)
	}
}

// FuzzCovers compares with the server's own matching, for subjects whose
// wildcards are tokens of their own: others never get that far.
func FuzzCovers(f *testing.F) {
	subjects := []string{"a", "a.b", "a.*", "a.>", "*", ">", "*.b", "a.*.c", "a.b.>", "a.*.>", "a.b.c", "*.*", "*.>", "b"}
	for _, of := range subjects {
		for _, sub := range subjects {
			f.Add(of, sub)
		}
	}
	f.Fuzz(func(t *testing.T, of, sub string) {
		for _, s := range []string{of, sub} {
			inside := slices.ContainsFunc(strings.Split(s, "."), func(token string) bool {
				return len(token) > 1 && strings.ContainsAny(token, "*>")
			})
			if inside || !server.IsValidSubject(s) {
				t.Skip()
			}
		}
		if got, want := covers(of, sub), server.SubjectMatchesFilter(sub, of); got != want {
			t.Errorf("covers(%q, %q) = %v, the server says %v", of, sub, got, want)
		}
	})
}
