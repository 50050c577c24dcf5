package nftables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

var (
	webAddr  = web.Addr()
	web6Addr = netip.MustParseAddr("fd64:0:0:1::7")
	batchOne = netip.MustParseAddr("10.64.4.77")
)

func refused(t *testing.T, err error, code patchbay.Code, words ...string) {
	t.Helper()
	e := patchbay.AsError(err)
	if e == nil || e.Code != code {
		t.Fatalf("%v, want %s", err, code)
	}
	for _, word := range words {
		if !strings.Contains(e.Message+" "+e.Fix, word) {
			t.Errorf("%q with the fix %q does not say %q", e.Message, e.Fix, word)
		}
	}
}

// TestAConnectionsLife: open for who has a connection, from its first to its last
// instant, and for nobody else, whatever address of the machine he tries.
func TestAConnectionsLife(t *testing.T) {
	w := newWorld(t)
	n := w.open(nil)
	bystander := func(want bool) {
		t.Helper()
		for _, to := range []netip.AddrPort{beside4, db4} {
			w.want("the bystander", w.other, bystander4, to, want)
		}
		w.want("the bystander", w.other, bystander6, ap("[fd01::5]:5432"), want)
		w.want("a neighbour of the application", w.app, webAddr.Next(), db4, want)
	}
	bystander(true) // nobody guards it yet
	before := w.held(batchOne, db4)
	own := func() { t.Helper(); w.want("the machine's own", w.db, db4.Addr(), db4, true) }
	own()
	a := ruleOf("a", []netip.Prefix{web, web6}, db4, ap("[fd00::5]:5432"))
	b := ruleOf("b", []netip.Prefix{web}, db4)
	must(t, n.EnsureRule(t.Context(), a))
	bystander(false)
	if err := speak(before, "over"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a session from before the guard: %v", err)
	}
	own()
	w.want("Patchbay", w.app, controlPlane4, db4, true)
	w.want("the application", w.app, webAddr, db4, true)
	w.want("the application", w.app, web6Addr, ap("[fd00::5]:5432"), true)
	w.want("another port", w.other, bystander4, ap("10.0.1.5:6432"), true)
	must(t, n.EnsureRule(t.Context(), b))

	held := w.held(webAddr, db4)
	held6 := w.held(web6Addr, ap("[fd00::5]:5432"))
	must(t, n.RemoveRule(t.Context(), a))
	if err := speak(held, "still"); err != nil {
		t.Errorf("a session that another connection needs: %v", err)
	}
	if err := speak(held6, "over"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a session that nobody may have any more: %v", err)
	}
	w.want("the application", w.app, webAddr, db4, true)
	w.want("the application", w.app, web6Addr, ap("[fd00::5]:5432"), false)

	must(t, n.RemoveRule(t.Context(), b))
	if err := speak(held, "over"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a session that nobody may have any more: %v", err)
	}
	w.want("the application", w.app, webAddr, db4, false)
	bystander(false) // a delete opens nothing
	w.want("Patchbay", w.app, controlPlane4, db4, true)
	own()
	// As the docs say it is taken away by hand.
	must(t, w.nft("delete table inet patchbay"))
	bystander(true)
}

// held is an open session.
func (w *world) held(from netip.Addr, to netip.AddrPort) net.Conn {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	c, err := w.app.DialFrom(ctx, from, to)
	must(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	must(w.t, speak(c, "hello"))
	return c
}

// TestBothEndsAreToldOfACut: who speaks first meets it. A server that only sends, and
// one that only waits, know that it is over.
func TestBothEndsAreToldOfACut(t *testing.T) {
	w := newWorld(t)
	n := w.open(nil)
	l := w.db.Listen(t, ":7000")
	to := ap("10.0.0.5:7000")
	r := ruleOf("a", []netip.Prefix{web}, to)
	must(t, n.EnsureRule(t.Context(), r))
	pair := func() (client, server net.Conn) {
		t.Helper()
		client, err := w.app.DialFrom(t.Context(), webAddr, to)
		must(t, err)
		server, err = l.Accept()
		must(t, err)
		for _, c := range []net.Conn{client, server} {
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
		}
		return client, server
	}
	client, server := pair()
	client2, server2 := pair()
	must(t, n.RemoveRule(t.Context(), r))
	// The server speaks: nothing arrives, and it is told.
	_, err := server.Write([]byte("rows"))
	must(t, err)
	if _, err = server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the server that speaks: %v", err)
	}
	// The client speaks: it is told, and so is the server by what it sends then.
	_, err = client2.Write([]byte("select"))
	must(t, err)
	if _, err = client2.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client that speaks: %v", err)
	}
	_, err = server2.Write([]byte("rows"))
	must(t, err)
	if _, err = server2.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the server that nobody hears: %v", err)
	}
	_, err = client.Write([]byte("x"))
	must(t, err)
	if got, err := io.ReadAll(client); len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %q, %v", got, err)
	}
}

// TestOthersTablesAreUntouched: what they say and where they stand, and what is open by
// them.
func TestOthersTablesAreUntouched(t *testing.T) {
	w := newWorld(t)
	must(t, w.nft(`
table ip nat {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 15432 redirect to :5432
	}
}
table inet filter {
	set good { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 9 drop comment "ours since 2019"
	}
}
table inet patchbayard {
	chain x {
		tcp dport 1 accept
	}
}`))
	others := func() string {
		text := w.sh(w.db, program+" -a list ruleset")
		before, rest, ours := strings.Cut(text, "table inet patchbay {")
		if !ours {
			return text
		}
		_, after, _ := strings.Cut(rest, "\n}\n")
		return before + after
	}
	before := others()
	n := w.open(nil)
	published := ap("10.0.0.5:15432")
	r := ruleOf("a", []netip.Prefix{web}, published)
	must(t, n.EnsureRule(t.Context(), r))
	// What is published is guarded where it is published, and nowhere else.
	w.want("the application", w.app, webAddr, published, true)
	w.want("the bystander", w.other, bystander4, ap("10.0.1.5:15432"), false)
	w.want("the bystander", w.other, bystander4, beside4, true)
	if got := others(); got != before {
		t.Errorf("there is\n%s\nand was\n%s", got, before)
	}
	if s, err := n.InspectRule(t.Context(), r); err != nil || s != (driver.RuleState{Exists: true, Ours: true, Exact: true}) {
		t.Errorf("InspectRule = %+v, %v", s, err)
	}
	// Both of them can't be guarded.
	direct := ruleOf("b", []netip.Prefix{batch}, db4)
	must(t, n.EnsureRule(t.Context(), direct))
	ctx, cancel := context.WithTimeout(t.Context(), haste)
	defer cancel()
	if got, err := reaches(ctx, w.app, webAddr, published); got {
		t.Errorf("it gets through: %v", err)
	}
	if s, err := n.InspectRule(t.Context(), r); err != nil || !strings.Contains(s.Despite, "port 5432 of the same machine") {
		t.Errorf("InspectRule = %+v, %v", s, err)
	}
	must(t, n.RemoveRule(t.Context(), direct))
	must(t, n.RemoveRule(t.Context(), r))
	if got := others(); got != before {
		t.Errorf("there is\n%s\nand was\n%s", got, before)
	}
}

// TestAPublishedPortIsGuarded: what a container behind the machine answers is guarded
// under the address and port that it is published at.
func TestAPublishedPortIsGuarded(t *testing.T) {
	w := newWorld(t)
	w.echo(w.other.Listen(t, ":5432")) // the container
	w.sh(w.db, "echo 1 >/proc/sys/net/ipv4/ip_forward")
	publish := func(forward string) {
		t.Helper()
		must(t, w.nft("add table ip docker\ndelete table ip docker\n"+`
table ip docker {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local tcp dport 15432 dnat to 10.0.1.1:5432
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		`+forward+`
	}
	chain input {
		type filter hook input priority filter; policy drop;
		tcp dport 5432 accept
	}
}`))
	}
	publish("ip daddr 10.0.1.1 tcp dport 5432 accept")
	published := ap("10.0.0.5:15432")
	w.want("a neighbour of the application", w.app, webAddr.Next(), published, true)
	n := w.open(nil)
	r := ruleOf("a", []netip.Prefix{web}, published)
	must(t, n.EnsureRule(t.Context(), r))
	w.want("the application", w.app, webAddr, published, true)
	w.want("a neighbour of the application", w.app, webAddr.Next(), published, false)
	if s, err := n.InspectRule(t.Context(), r); err != nil || s != (driver.RuleState{Exists: true, Ours: true, Exact: true}) {
		t.Errorf("InspectRule = %+v, %v", s, err)
	}
	held := w.held(webAddr, published)
	publish("")
	if s, err := n.InspectRule(t.Context(), r); err != nil || !strings.HasPrefix(s.Despite, "the policy of the chain forward of the table ip docker") {
		t.Errorf("InspectRule = %+v, %v", s, err)
	}
	publish("ip daddr 10.0.1.1 tcp dport 5432 accept")
	must(t, speak(held, "still"))
	must(t, n.RemoveRule(t.Context(), r))
	w.want("the application", w.app, webAddr, published, false)
	if err := speak(held, "over"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a session that nobody may have any more: %v", err)
	}
}

// TestWhatOthersDropIsSaid compares what the guard says of others' rules with a
// connection.
func TestWhatOthersDropIsSaid(t *testing.T) {
	w := newWorld(t)
	n := w.open(nil)
	r := ruleOf("a", []netip.Prefix{web}, db4)
	must(t, n.EnsureRule(t.Context(), r))
	input := func(policy, rules string) string {
		return "table inet filter {\nset good { type ipv4_addr; flags interval; elements = { 10.64.0.0/16 }; }\nmap m { type inet_service : verdict; elements = { 22 : accept, 5432 : jump db }; }\nchain db {\n}\nchain input {\ntype filter hook input priority filter; policy " + policy + ";\n" + rules + "\n}\n}"
	}
	policy := "the policy of the chain input of the table inet filter"
	rule := "a rule of the chain input of the table inet filter"
	for _, tt := range []struct{ name, script, despite string }{
		{"nothing", "", ""},
		{"a policy", input("drop", ""), policy},
		{"a policy, and what is established", input("drop", "ct state established,related accept\niif lo accept\ntcp dport 22 accept"), policy},
		{"a policy, and what lets it in", input("drop", "ct state vmap { established : accept, related : accept, invalid : drop }\nip saddr @good tcp dport { 22, 5430-5440 } accept"), ""},
		{"a policy, and a set without it", input("drop", "ip saddr != @good tcp dport { 22, 5430-5440 } accept"), policy},
		{"a map that leads nowhere", input("drop", "tcp dport vmap @m"), policy},
		{"a map that lets it in", input("drop", "tcp dport vmap { 5432 : accept }"), ""},
		{"a concatenation", input("drop", "ip saddr . tcp dport { 10.64.3.7 . 5432 } accept"), ""},
		{"a rule", input("accept", "tcp dport 5432 counter drop"), rule},
		{"a rule of another port", input("accept", "tcp dport 5433 drop\ntcp dport > 6000 drop\nip6 saddr fd64::/32 drop\nudp dport 5432 drop"), ""},
		{"a rule that refuses", input("accept", "ip saddr 10.64.3.0/24 meta l4proto tcp reject with tcp reset"), rule},
		{"a first packet", input("accept", "tcp flags & (fin|syn|rst|ack) == syn tcp dport 5432 drop"), rule},
		{"another packet", input("accept", "tcp flags & (fin|syn|rst|ack) == (syn|ack) tcp dport 5432 drop"), ""},
		{"goto", strings.Replace(input("drop", "goto db\naccept"), "chain db {\n", "chain db {\nreturn\n", 1), policy},
		{"jump", input("drop", "jump db\naccept"), ""},
		{"another family", "table ip6 filter {\nchain input {\ntype filter hook input priority filter; policy drop;\n}\n}", ""},
		{"before ours", "table ip raw {\nchain pre {\ntype filter hook prerouting priority raw; policy accept;\nip saddr 10.64.3.7 drop\n}\n}", "a rule of the chain pre of the table ip raw"},
		{"what is forwarded", "table ip filter {\nchain forward {\ntype filter hook forward priority filter; policy drop;\n}\n}", ""},
		{"another port", "table ip nat {\nchain pre {\ntype nat hook prerouting priority dstnat; policy accept;\ntcp dport 5432 redirect to :6432\n}\n}\n" + input("accept", "tcp dport 6432 drop"), rule},
		{"iptables", "iptables -P INPUT DROP; iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "the policy of the chain INPUT of the table ip filter"},
		{"iptables that lets it in", "iptables -P INPUT DROP; iptables -N u; iptables -A INPUT -j u; iptables -A u -p tcp --dport 5432 -s 10.64.0.0/10 -m comment --comment x -j ACCEPT", ""},
		{"iptables that refuses", "iptables -A INPUT -p tcp --dport 5432 -j REJECT", "a rule of the chain INPUT of the table ip filter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.HasPrefix(tt.script, "iptables") {
				if _, err := os.Stat("/usr/sbin/iptables-nft"); err != nil {
					t.Skip("there is no iptables-nft, which writes rules of nftables")
				}
				w.sh(w.db, strings.ReplaceAll(tt.script, "iptables ", "iptables-nft "))
			} else {
				must(t, w.nft(tt.script))
			}
			defer w.othersGone(t)
			s, err := n.InspectRule(t.Context(), r)
			must(t, err)
			if !s.Exact || !strings.HasPrefix(s.Despite, tt.despite) || (s.Despite == "") != (tt.despite == "") {
				t.Errorf("InspectRule = %+v, want despite %q", s, tt.despite)
			}
			limit := patience
			if tt.despite != "" {
				limit = haste
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if got, err := reaches(ctx, w.app, webAddr, db4); got != (tt.despite == "") {
				t.Errorf("it gets through: %t, %v; despite %q", got, err, tt.despite)
			}
			// It does not keep the rule from being made.
			must(t, n.EnsureRule(t.Context(), r))
		})
	}
}

func (w *world) othersGone(t *testing.T) {
	out := w.sh(w.db, program+" list tables")
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "table inet patchbay" {
			must(t, w.nft("delete "+line))
		}
	}
}

// TestPatchbayIsNotShutOut: behind a translation of addresses it is not seen as who it
// is, and nothing is changed.
func TestPatchbayIsNotShutOut(t *testing.T) {
	w := newWorld(t)
	w.sh(w.app, program+` 'add table ip nat; add chain ip nat post { type nat hook postrouting priority srcnat; }; add rule ip nat post ip saddr 10.64.9.9 snat to 10.64.8.8'`)
	r := ruleOf("a", []netip.Prefix{web}, db4)
	before, err := w.content()
	must(t, err)
	refused(t, w.open(nil).EnsureRule(t.Context(), r), patchbay.TargetUnreachable, "as it was before", "allow")
	if now, err := w.content(); err != nil || now != before {
		t.Errorf("there is\n%s", now)
	}
	w.want("the bystander", w.other, bystander4, db4, true)

	// With a guard that is there, it is that one that comes back.
	allow := w.open(map[string]any{"allow": []string{"10.64.8.0/24", "10.64.8.8"}})
	must(t, allow.EnsureRule(t.Context(), r))
	w.want("Patchbay", w.app, controlPlane4, db4, true)
	w.want("the bystander", w.other, bystander4, db4, false)
	if before, err = w.content(); err != nil || strings.Contains(before, "10.64.9.9") {
		t.Errorf("there is\n%s, %v", before, err)
	}
	wrong := w.open(map[string]any{"allow": []string{"192.0.2.1"}})
	refused(t, wrong.EnsureRule(t.Context(), ruleOf("b", []netip.Prefix{batch}, db4)), patchbay.TargetUnreachable, "as it was before")
	if now, err := w.content(); err != nil || now != before {
		t.Errorf("there is\n%s\nand was\n%s", now, before)
	}
	// A registration that is wrong by now can still close.
	must(t, wrong.RemoveRule(t.Context(), r))
	w.want("Patchbay", w.app, controlPlane4, db4, true)
	w.want("the application", w.app, webAddr, db4, false)
}

// TestADeathBeforeTheTrialShutsNobodyOut: who goes on after it tries what was made, and
// a target that is down is not mistaken for one that shuts Patchbay out.
func TestADeathBeforeTheTrialShutsNobodyOut(t *testing.T) {
	w := newWorld(t)
	dies := func(n driver.Network, r driver.Rule) {
		t.Helper()
		w.box.effect = func(string) (happens, lives bool) { return true, false }
		if err := n.EnsureRule(t.Context(), r); !errors.Is(err, errDead) {
			t.Fatalf("it lives: %v", err)
		}
		w.box.effect = nil
	}
	c := w.guarded()
	c.Endpoint = "10.0.0.5:7000"
	down, err := open(t.Context(), w.config(nil), c)
	must(t, err)
	r := ruleOf("down", []netip.Prefix{web}, ap("10.0.0.5:7000"))
	dies(down, r)
	must(t, down.EnsureRule(t.Context(), r))
	if s, err := down.InspectRule(t.Context(), r); err != nil || !s.Exact {
		t.Errorf("InspectRule = %+v, %v", s, err)
	}
	before, err := w.content()
	must(t, err)
	w.sh(w.app, program+` 'add table ip nat; add chain ip nat post { type nat hook postrouting priority srcnat; }; add rule ip nat post ip saddr 10.64.9.9 snat to 10.64.8.8'`)
	r = ruleOf("a", []netip.Prefix{web}, db4)
	dies(w.open(nil), r)
	w.want("Patchbay", w.app, controlPlane4, db4, false)
	refused(t, w.open(nil).EnsureRule(t.Context(), r), patchbay.TargetUnreachable, "as it was before")
	w.want("Patchbay", w.app, controlPlane4, db4, true)
	if now, err := w.content(); err != nil || now != before {
		t.Errorf("there is\n%s\nand was\n%s", now, before)
	}
}

// TestAClosingThatCantBeWrittenCloses what it can, and says what it can't.
func TestAClosingThatCantBeWrittenCloses(t *testing.T) {
	w := newWorld(t)
	n := w.open(nil)
	r := ruleOf("a", []netip.Prefix{web}, db4)
	must(t, n.EnsureRule(t.Context(), r))
	c := w.config(nil)
	c.Host = readOnly{w.box}
	broken, err := open(t.Context(), c, w.guarded())
	must(t, err)
	if err := broken.RemoveRule(t.Context(), r); !errors.Is(err, syscall.EROFS) {
		t.Errorf("RemoveRule = %v", err)
	}
	w.want("the application", w.app, webAddr, db4, false)
	// It is not forgotten.
	if owned, err := n.Owned(t.Context()); err != nil || len(owned) != 1 {
		t.Errorf("Owned = %v, %v", owned, err)
	}
	must(t, n.RemoveRule(t.Context(), r))
	if owned, err := n.Owned(t.Context()); err != nil || len(owned) != 0 {
		t.Errorf("Owned = %v, %v", owned, err)
	}
}

// readOnly is a host whose disk can't be written.
type readOnly struct{ hosts.Host }

func (readOnly) ReplaceFile(_ context.Context, r hosts.Replacement) error {
	return &os.PathError{Op: "write", Path: r.Path, Err: syscall.EROFS}
}

// TestAllWaysAreTried: a name with several addresses, and an endpoint of several
// servers, are reached by each of them afterwards.
func TestAllWaysAreTried(t *testing.T) {
	w := newWorld(t)
	c := w.guarded()
	c.Endpoint = "10.0.0.5:5432,[fd00::5]:5433"
	n, err := open(t.Context(), w.config(nil), c)
	must(t, err)
	must(t, n.EnsureRule(t.Context(), ruleOf("a", []netip.Prefix{web}, db4, db6)))
	w.want("Patchbay", w.app, controlPlane4, db4, true)
	w.want("Patchbay", w.app, controlPlane6, db6, true)
	w.want("the bystander", w.other, bystander6, db6, false)
	// One of them is enough to be shut out.
	wrong, err := open(t.Context(), w.config(map[string]any{"allow": []string{"10.64.9.9"}}), c)
	must(t, err)
	refused(t, wrong.EnsureRule(t.Context(), ruleOf("b", []netip.Prefix{web}, db4)), patchbay.TargetUnreachable, "as it was before")
	w.want("Patchbay", w.app, controlPlane6, db6, true)
}

// TestWhoIsStoppedTakesItBack: a change that could not be tried to its end is none.
func TestWhoIsStoppedTakesItBack(t *testing.T) {
	w := newWorld(t)
	before, err := w.content()
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	w.box.effect = func(string) (happens, lives bool) {
		cancel() // the transaction itself is not stopped by that here
		return true, true
	}
	c := w.config(nil)
	c.Host = patient{w.box}
	n, err := open(t.Context(), c, w.guarded())
	must(t, err)
	if err := n.EnsureRule(ctx, ruleOf("a", []netip.Prefix{web}, db4)); !errors.Is(err, context.Canceled) {
		t.Errorf("EnsureRule = %v", err)
	}
	if now, err := w.content(); err != nil || now != before {
		t.Errorf("there is\n%s, %v", now, err)
	}
}

// patient ends what it has begun.
type patient struct{ hosts.Host }

func (p patient) Run(ctx context.Context, c hosts.Command) (hosts.Result, error) {
	return p.Host.Run(context.WithoutCancel(ctx), c)
}

// TestATargetThatIsDownIsGuarded: nobody can try then, and Patchbay is let in all the
// same.
func TestATargetThatIsDownIsGuarded(t *testing.T) {
	w := newWorld(t)
	c := w.guarded()
	c.Endpoint = "10.0.0.5:7000"
	n, err := open(t.Context(), w.config(nil), c)
	must(t, err)
	must(t, n.EnsureRule(t.Context(), ruleOf("a", []netip.Prefix{web}, ap("10.0.0.5:7000"))))
	w.echo(w.db.Listen(t, ":7000"))
	w.want("Patchbay", w.app, controlPlane4, ap("10.0.0.5:7000"), true)
	w.want("the application", w.app, webAddr, ap("10.0.0.5:7000"), true)
	w.want("the bystander", w.other, bystander4, ap("10.0.0.5:7000"), false)
}

// TestNoInstantIsOpen: while rules come and go, the bystander is refused every time, and
// a session of somebody else's lives on.
func TestNoInstantIsOpen(t *testing.T) {
	w := newWorld(t)
	n := w.open(nil)
	must(t, n.EnsureRule(t.Context(), ruleOf("a", []netip.Prefix{web}, db4)))
	held := w.held(webAddr, db4)
	ctx, cancel := context.WithCancel(t.Context())
	tried := make(chan int)
	go func() {
		count := 0
		for ctx.Err() == nil {
			if open, err := reaches(context.WithoutCancel(ctx), w.other, bystander4, db4); err != nil || open {
				t.Errorf("the bystander gets through: %t, %v", open, err)
			}
			count++
		}
		tried <- count
	}()
	for i := range 12 {
		r := ruleOf("b", []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, 0, byte(i)}), 32)}, db4)
		must(t, n.EnsureRule(t.Context(), r))
		if err := speak(held, "x"); err != nil {
			t.Errorf("a session of another connection: %v", err)
		}
		must(t, n.RemoveRule(t.Context(), r))
	}
	cancel()
	t.Logf("the bystander has tried %d times", <-tried)
}

// TestADeathAtEveryInstantLosesNothing dies before and after every effect of each
// change, and of some boots the machine then.
func TestADeathAtEveryInstantLosesNothing(t *testing.T) {
	w := newWorld(t)
	stays := ruleOf("stays", []netip.Prefix{batch}, db4)
	must(t, w.open(nil).EnsureRule(t.Context(), stays))
	settled, err := w.content()
	must(t, err)
	r := ruleOf("a", []netip.Prefix{web}, db4)
	moved := ruleOf("a", []netip.Prefix{netip.PrefixFrom(webAddr.Next(), 32)}, db4)
	clean := func() {
		must(t, w.open(nil).RemoveRule(t.Context(), r))
	}
	for _, change := range []struct {
		name          string
		prepare, make func(driver.Network) error
		open          netip.Addr // by it in the end; none when it closes
		first         bool       // nothing is there of the unit
	}{
		{"the first rule", func(driver.Network) error { w.box.enabled = false; return os.Remove(w.box.at(unitFile)) }, func(n driver.Network) error { return n.EnsureRule(t.Context(), r) }, webAddr, true},
		{"a rule", nil, func(n driver.Network) error { return n.EnsureRule(t.Context(), r) }, webAddr, false},
		{"a moved rule", func(n driver.Network) error { return n.EnsureRule(t.Context(), r) }, func(n driver.Network) error { return n.EnsureRule(t.Context(), moved) }, webAddr.Next(), false},
		{"the end of a rule", func(n driver.Network) error { return n.EnsureRule(t.Context(), r) }, func(n driver.Network) error { return n.RemoveRule(t.Context(), r) }, netip.Addr{}, false},
		{"a repair", func(n driver.Network) error {
			return errors.Join(n.EnsureRule(t.Context(), r), w.nft("flush ruleset"))
		}, func(n driver.Network) error { return n.EnsureRule(t.Context(), r) }, webAddr, false},
	} {
		t.Run(change.name, func(t *testing.T) {
			for at := 1; ; at++ {
				died := false
				for _, after := range []bool{false, true} {
					for _, boots := range []bool{after == (at%2 == 0)} { // half of what could be
						if change.prepare != nil {
							must(t, change.prepare(w.open(nil)))
						}
						count, what := 0, ""
						w.box.effect = func(name string) (happens, lives bool) {
							count++
							if count == at {
								what = name
							}
							return count < at || count == at && after, count < at
						}
						err := change.make(w.open(nil))
						w.box.effect = nil
						if count < at {
							must(t, err)
							clean()
							continue
						}
						died = true
						if boots {
							w.reboot()
						}
						if change.name != "a repair" || boots {
							if !(change.first && boots) { // its unit is not there yet, nor is it for the rule that stays
								w.want("the bystander, after a death at "+what, w.other, bystander4, db4, false)
								w.want("another connection, after a death at "+what, w.app, batchOne, db4, true)
							}
						}
						must(t, change.make(w.open(nil)))
						for _, a := range []netip.Addr{webAddr, webAddr.Next()} {
							w.want("in the end, after a death at "+what, w.app, a, db4, a == change.open)
						}
						w.want("the bystander, in the end", w.other, bystander4, db4, false)
						clean()
						if now, err := w.content(); err != nil || now != settled {
							t.Errorf("after a death at %s there is in the end\n%s\nwant\n%s", what, now, settled)
						}
					}
				}
				if !died {
					t.Logf("%d effects", at-1)
					return
				}
			}
		})
	}
}

// TestAChangeIsNoDrift: who looks while another connection's rule is half made finds
// nothing wrong with his own.
func TestAChangeIsNoDrift(t *testing.T) {
	w := newWorld(t)
	n := w.open(nil)
	a := ruleOf("a", []netip.Prefix{web}, db4)
	must(t, n.EnsureRule(t.Context(), a))
	half, looked := make(chan struct{}), make(chan struct{})
	once := false
	w.box.effect = func(what string) (happens, lives bool) {
		if strings.HasPrefix(what, "write") && !once {
			once = true
			close(half)
			<-looked
		}
		return true, true
	}
	done := make(chan error)
	go func() { done <- w.open(nil).EnsureRule(t.Context(), ruleOf("b", []netip.Prefix{batch}, db4)) }()
	<-half
	if s, err := n.(*network).inspect(t.Context(), a); err != nil || s.Exact {
		t.Errorf("half of a change is not seen: %+v, %v", s, err)
	}
	seen := make(chan driver.RuleState)
	go func() {
		s, err := n.InspectRule(t.Context(), a)
		if err != nil {
			t.Error(err)
		}
		seen <- s
	}()
	close(looked)
	if s := <-seen; !s.Exact {
		t.Errorf("InspectRule = %+v", s)
	}
	must(t, <-done)
}

// TestAFlushInBetween: two writers, and somebody who flushes everything meanwhile.
func TestAFlushInBetween(t *testing.T) {
	w := newWorld(t)
	a, b := ruleOf("a", []netip.Prefix{web}, db4), ruleOf("b", []netip.Prefix{batch}, db4)
	done := make(chan error)
	for _, r := range []driver.Rule{a, b} {
		n := w.open(nil)
		go func() {
			var err error
			for range 5 {
				err = errors.Join(err, n.EnsureRule(t.Context(), r))
			}
			done <- err
		}()
	}
	for range 5 {
		must(t, w.nft("flush ruleset"))
	}
	must(t, errors.Join(<-done, <-done))
	n := w.open(nil)
	for _, r := range []driver.Rule{a, b} {
		must(t, n.EnsureRule(t.Context(), r))
	}
	for _, r := range []driver.Rule{a, b} {
		if s, err := n.InspectRule(t.Context(), r); err != nil || !s.Exact {
			t.Errorf("InspectRule = %+v, %v", s, err)
		}
	}
	w.want("the one", w.app, webAddr, db4, true)
	w.want("the other", w.app, batchOne, db4, true)
	w.want("the bystander", w.other, bystander4, db4, false)
}

// TestUntilReboot leaves no file, and takes away what another registration wrote.
func TestUntilReboot(t *testing.T) {
	w := newWorld(t)
	r := ruleOf("a", []netip.Prefix{web}, db4)
	must(t, w.open(nil).EnsureRule(t.Context(), r))
	w.reboot()
	w.want("the application", w.app, webAddr, db4, true)
	w.want("the bystander", w.other, bystander4, db4, false)
	n := w.open(map[string]any{"untilReboot": true})
	must(t, n.EnsureRule(t.Context(), r))
	if _, err := os.Stat(w.box.at(rulesFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
	if s, err := n.InspectRule(t.Context(), r); err != nil || !s.Exact {
		t.Errorf("InspectRule = %+v, %v", s, err)
	}
	w.reboot()
	w.want("the bystander", w.other, bystander4, db4, true)
}

// TestWhatIsNotOurs: a file by the name of ours, and things in our table.
func TestWhatIsNotOurs(t *testing.T) {
	w := newWorld(t)
	n := w.open(nil)
	r := ruleOf("a", []netip.Prefix{web}, db4)
	must(t, os.WriteFile(w.box.at(rulesFile), []byte("flush ruleset\n"), 0o644))
	refused(t, n.EnsureRule(t.Context(), r), patchbay.NotOurs, rulesFile)
	must(t, os.Remove(w.box.at(rulesFile)))
	must(t, n.EnsureRule(t.Context(), r))
	for _, what := range []string{"set inet patchbay mine { type ipv4_addr; }", "map inet patchbay mine { type ipv4_addr : verdict; }", "chain inet patchbay mine", "counter inet patchbay mine"} {
		kind, _, _ := strings.Cut(what, " ")
		must(t, w.nft("add "+what))
		before, err := w.content()
		must(t, err)
		refused(t, n.EnsureRule(t.Context(), ruleOf("b", []netip.Prefix{web}, db4)), patchbay.NotOurs, kind+" mine", "nft delete "+kind+" inet patchbay mine")
		refused(t, n.RemoveRule(t.Context(), r), patchbay.NotOurs)
		_, err = n.(driver.NetworkChecker).Check(t.Context())
		refused(t, err, patchbay.NotOurs, kind+" mine")
		if now, err := w.content(); err != nil || now != before {
			t.Errorf("there is\n%s\nand was\n%s", now, before)
		}
		must(t, w.nft("delete "+kind+" inet patchbay mine"))
	}
	must(t, n.RemoveRule(t.Context(), r))
}

// TestManyRules: a thousand connections' sets, as the kernel takes them and lists them.
func TestManyRules(t *testing.T) {
	w := newWorld(t)
	all := records{}
	var last driver.Rule
	for i := range 1000 {
		uid := fmt.Sprintf("uuuuuuuu%04d", i)
		last = ruleOf(uid, []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(i / 200), byte(i)}), 32), pre("10.65.0.0/16"),
		}, db4)
		r, err := recordOf(last)
		must(t, err)
		all[last.Name] = r
	}
	m := machine{w.box}
	must(t, m.apply(t.Context(), all.script()))
	began := time.Now()
	must(t, m.apply(t.Context(), all.script()))
	t.Logf("a change among 1000 rules: %v", time.Since(began))
	list, err := m.list(t.Context())
	must(t, err)
	if table := ours(list); !table.good() || !same(table.records, all) {
		t.Error("what is listed is not what was written")
	}
	n := w.open(nil)
	if owned, err := n.Owned(t.Context()); err != nil || len(owned) != 1000 || !slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Name == last.Name && o.Mark == last.Mark }) {
		t.Errorf("Owned has %d, %v", len(owned), err)
	}
}
