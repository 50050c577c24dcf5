package redis

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func TestAMarkIsReadAsItWasWritten(t *testing.T) {
	for _, m := range []driver.Mark{
		{UID: "x", Generation: 1},
		{UID: "abc", Generation: 1 << 40, Connection: `/subscriptions/s/it's a "group" (x) ~* &* +@all \ % ` + "\x00\r\n\t\xff" + ` é/x`},
	} {
		text := markOf(markPrefix, m)
		if strings.ContainsAny(strings.TrimPrefix(text, "~"), " ()\"'\\*[]?\r\n\x00") {
			t.Errorf("the mark %q could end something", text)
		}
		if got, ok := parseMark(markPrefix, text); !ok || got != m {
			t.Errorf("%q is read as %+v, %t", text, got, ok)
		}
		for _, other := range []string{"", markPrefix, text + " ~x", text + "&uid=y", " " + text, strings.ToUpper(text), strings.Replace(text, "uid", "Uid", 1), text[1:]} {
			if got, ok := parseMark(markPrefix, other); ok {
				t.Errorf("%q is read as %+v", other, got)
			}
		}
		if _, ok := parseMark(claimPrefix, text); ok {
			t.Error("a mark is a claim")
		}
	}
}

func TestPatternsMatchAsTheServersDo(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"*", "x", true}, {"", "", true}, {"", "x", false}, {"a*", "a", true}, {"a*", "ba", false},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"[abc]x", "bx", true}, {"[^abc]x", "bx", false}, {"[^abc]x", "dx", true}, {"[a-c]x", "bx", true}, {"[c-a]x", "bx", true},
		{`\*`, "*", true}, {`\*`, "x", false}, {`[\]]`, "]", true}, {"[abc", "c", true}, {"[", "[", false}, {"*b*", "abc", true}, {"*:*:x", "a:b:x", true}, {"*:*:x", "a:x", false},
		{"a**b", "ab", true}, {`a\`, `a\`, true}, {"ORDERS:*", "orders:1", false},
		{strings.Repeat("*a", 200) + "b", strings.Repeat("a", 2000), false},
	} {
		if got := matches(c.pattern, c.text); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.text, got)
		}
	}
	for _, pattern := range []string{"*", "orders:*", "a?b", "[abc]*", "[^!-y]x", `\*x`, "x", "*a*b*", "[z-a]"} {
		if text, ok := example(pattern, "any"); !ok {
			t.Errorf("%q has the example %q", pattern, text)
		}
	}
	if text, ok := example("[^ -~\x80-\xff]", "any"); ok {
		t.Errorf("what nothing printable matches has the example %q", text)
	}
}

func TestOptionsThatRedisWouldTakeForSomethingElseAreRefused(t *testing.T) {
	for _, keys := range []string{"", ",", "a,,b", "~orders:*", "%R~x", "&x", "+@all", "-x", "(x", ") +@all", "a b", "a\tb", "a\nb", "a\x00b", "a\xffb", "a\u00a0b", strings.Repeat("a", 600), strings.Repeat("a,", 100) + strings.Join(numbers(100), ",")} {
		for _, option := range []string{optionKeys, optionChannels} {
			if s, err := scopeOf("0", map[string]string{option: keys}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
				t.Errorf("%s %q: %+v, %v", option, keys, s, err)
			}
		}
	}
	if _, err := scopeOf("0", map[string]string{"kyes": "x"}); patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), "channels") {
		t.Errorf("an option of nobody: %v", err)
	}
	for text, want := range map[string][]string{"*": {"*"}, "a,*": {"*"}, " a , b,a": {"a", "b"}, "x)y": {"x)y"}, `q"uote's\`: {`q"uote's\`}} {
		s, err := scopeOf("0", map[string]string{optionKeys: text})
		if err != nil || !slices.Equal(s.keys, want) || !slices.Equal(s.channels, want) {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
	for _, sub := range []string{"", "x", "-1", "00", "+1", "1.0", "99999999999", "default", "0/0", " 0"} {
		if err := databaseOf(sub); patchbay.CodeOf(err) != patchbay.ChildMissing {
			t.Errorf("database %q: %v", sub, err)
		}
	}
}

func numbers(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// small is a server with a few commands.
func small() commands {
	c, err := commandsOf([]string{"read", "write", "dangerous"}, []any{
		[]any{[]byte("get"), []byte("ft.search"), []byte("memory|usage")}, []any{[]byte("set"), []byte("flushall")},
		[]any{[]byte("flushall"), []byte("config|get"), []byte("config|set"), []byte("config"), []byte("memory"), []byte("select")},
	})
	if err != nil {
		panic(err)
	}
	return c
}

func TestRulesComeToWhatAServerMakesOfThem(t *testing.T) {
	for rules, want := range map[string]string{
		"-@all":                        "",
		"+@all":                        "config|get config|set flushall ft.search get memory|usage select set",
		"allcommands -@dangerous":      "ft.search get set", // all that is below memory
		"+@all nocommands +get":        "get",
		"-@all +@write -flushall +GET": "get set",
		"-@all +config":                "config|get config|set",
		"-@all +config -config|set":    "config|get",
		"-@all +select|3 +select|4":    "select|3 select|4",
		"-@all +select|3 -select":      "",
		"-@all +select|3 -@dangerous":  "",
		"+@all -select +select|3":      "config|get config|set flushall ft.search get memory|usage select|3 set",
		"-@all +gone +@gone":           "gone",
	} {
		if got := strings.Join(less(small().effective(strings.Fields(rules)), nil), " "); got != want {
			t.Errorf("%q comes to %q, want %q", rules, got, want)
		}
	}
	// Whoever may run a command may run it with any argument, and not the other way around.
	whole, one := small().effective([]string{"+select"}), small().effective([]string{"+select|3"})
	if got := less(one, whole); len(got) > 0 {
		t.Errorf("select|3 is more than select: %q", got)
	}
	if got := less(whole, one); !slices.Equal(got, []string{"select"}) {
		t.Errorf("select is more than select|3 by %q", got)
	}
}

// Searches of modules know indexes, not keys.
func TestALoginWithPatternsDoesNotSearch(t *testing.T) {
	for keys, searches := range map[string]bool{"*": true, "orders:*": false} {
		s, err := scopeOf("0", map[string]string{optionKeys: keys})
		if err != nil {
			t.Fatal(err)
		}
		if got := small().effective(s.commandRules(patchbay.Reader, small()))["ft.search"]; got != searches {
			t.Errorf("of %s it may search: %t", keys, got)
		}
	}
}

// said is what a server says, one byte after the other.
func said(t *testing.T, text string, r *rand.Rand) error {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		for rest := text; rest != ""; {
			n := 1 + r.IntN(min(len(rest), 40))
			if _, err := theirs.Write([]byte(rest[:n])); err != nil {
				break
			}
			rest = rest[n:]
		}
		_ = theirs.Close()
	}()
	budget := driver.NewBudget("cache:6379", 1<<20)
	budget.Renew(t.Context())
	_, err := io.Copy(io.Discard, &wire{Conn: budget.Conn(ours), budget: budget})
	_ = ours.Close()
	return err
}

func TestWhatAServerSaysIsBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, text := range map[string]string{
		"a web server":           "HTTP/1.1 400 Bad Request\r\n\r\n",
		"a large text":           "$99999999\r\n",
		"more than is left":      "$2097152\r\n",
		"a number that is none":  "$12x\r\n",
		"one that overflows":     "$99999999999999999999\r\n",
		"a negative one":         "$-2\r\n",
		"a long list":            "*9999999\r\n",
		"lists in lists":         strings.Repeat("*1\r\n", 100),
		"a line without end":     "+" + strings.Repeat("x", 100_000),
		"another line's end":     "+OK\n",
		"a line that ends twice": "+OK\rX\r\n",
		"version 3":              "%1\r\n",
		"an empty line":          "\r\n",
		"too much of all":        strings.Repeat("+OK\r\n", 1<<20),
		"behind a list":          "*2\r\n$1\r\nx\r\n:1\r\nx",
	} {
		if err := said(t, text, r); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 20 {
		if err := said(t, "+OK\r\n-ERR no\r\n:12\r\n$-1\r\n*-1\r\n$5\r\na\r\nb\n\r\n*0\r\n*2\r\n*1\r\n$1\r\n*\r\n*1\r\n*1\r\n$0\r\n\r\n$1\r\nx\r\n+OK\r\n", r); err != nil {
			t.Errorf("what is as it should be: %v", err)
		}
	}
}

// fake answers each command with what f says.
func fake(t *testing.T, f func(command string) string) driver.Config {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				for {
					var n, size int
					if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
						return
					}
					var words []string
					for range n {
						if _, err := fmt.Fscanf(in, "$%d\r\n", &size); err != nil {
							return
						}
						word := make([]byte, size+2)
						if _, err := io.ReadFull(in, word); err != nil {
							return
						}
						words = append(words, string(word[:size]))
					}
					if _, err := io.WriteString(conn, f(strings.Join(words, " "))); err != nil {
						return
					}
				}
			}()
		}
	}()
	return driver.Config{Endpoint: "redis://" + listener.Addr().String(), Dialer: &net.Dialer{}, Admin: driver.Secrets{"password": patchbay.NewSecret("admin-password-0123456789")}}
}

func text(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// Each is a server that is not what a registration says, with what is said about it.
func TestOtherServersAreToldApart(t *testing.T) {
	const info = "redis_version:%s\r\nrun_id:abc\r\nredis_mode:standalone\r\nrole:master\r\n"
	introduces := func(about string, more func(string) string) func(string) string {
		return func(c string) string {
			switch {
			case strings.HasPrefix(c, "AUTH"):
				return "+OK\r\n"
			case c == "INFO server":
				return text(about)
			case strings.HasPrefix(c, "INFO"):
				return text("cluster_enabled:0\r\n")
			}
			return more(c)
		}
	}
	says := func(answer string) func(string) string { return func(string) string { return answer } }
	for name, c := range map[string]struct {
		server func(string) string
		code   patchbay.Code
		says   string
	}{
		"version 6.2":               {introduces(fmt.Sprintf(info, "6.2.14"), says("-ERR\r\n")), patchbay.NotSupported, "6.2.14"},
		"version 5":                 {says("-ERR wrong number of arguments for 'auth' command\r\n"), patchbay.NotSupported, "5 or older"},
		"a sentinel":                {introduces("redis_version:7.2.0\r\nrun_id:a\r\nredis_mode:sentinel\r\n", says("-ERR\r\n")), patchbay.NotSupported, "Sentinel"},
		"no password":               {says("-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n"), patchbay.AdminRefused, "has no password"},
		"protected mode":            {says("-DENIED Redis is running in protected mode because…\r\n"), patchbay.AdminRefused, "protected mode"},
		"loading":                   {says("-LOADING Redis is loading the dataset in memory\r\n"), patchbay.TargetUnreachable, "loading"},
		"busy":                      {introduces(fmt.Sprintf(info, "7.0.1"), says("-BUSY Redis is busy running a script\r\n")), patchbay.TargetUnreachable, "script"},
		"full":                      {says("-ERR max number of clients reached\r\n"), patchbay.TargetUnreachable, "connections"},
		"a managed service":         {introduces(fmt.Sprintf(info, "7.1.0"), says("-ERR unknown command 'acl', with args beginning with: 'DRYRUN'\r\n")), patchbay.NotSupported, "does not let users be administered"},
		"users that nobody may see": {introduces(fmt.Sprintf(info, "7.1.0"), says("-NOPERM this user has no permissions to run the 'acl|dryrun' command\r\n")), patchbay.AdminRights, "may not do"},
		"strange users": {introduces(fmt.Sprintf(info, "7.1.0"), func(c string) string {
			if strings.Contains(c, "DRYRUN") {
				return "+OK\r\n"
			}
			return "*3\r\n+a\r\n+b\r\n+c\r\n"
		}), patchbay.TargetMisbehaved, "does not have"},
		"nothing of itself": {introduces("x:y\r\n", says("-ERR\r\n")), patchbay.TargetMisbehaved, "what it is"},
		"endless servers": {func(c string) string {
			switch {
			case strings.HasPrefix(c, "AUTH"):
				return "+OK\r\n"
			case c == "INFO server":
				return text(fmt.Sprintf(info, "7.0.1"))
			case c == "INFO replication":
				var all strings.Builder
				for i := range 500 {
					fmt.Fprintf(&all, "slave%d:ip=127.0.0.1,port=%d,state=online\r\n", i, i+1)
				}
				return text(all.String())
			}
			return text("cluster_enabled:0\r\n")
		}, patchbay.TargetMisbehaved, "more than 128"},
	} {
		t.Run(name, func(t *testing.T) {
			opened, err := open(t.Context(), fake(t, c.server))
			if err != nil {
				t.Fatal(err)
			}
			_, err = opened.Inspect(t.Context(), "")
			e := patchbay.AsError(err)
			if err == nil || e.Code != c.code || !strings.Contains(e.Message, c.says) || e.Fix == "" && !e.Transient {
				t.Errorf("Inspect = %v; fix: %+v", err, e)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, e), "admin-password") {
				t.Error("it shows the password")
			}
			_ = opened.Close()
		})
	}
}

// A server's own words are beside an administrator's error, and nowhere else: who may
// only connect sees its steps, and a probe's findings.
func TestWhatAServerSaysIsForWhoAdministersIt(t *testing.T) {
	const canary = "CANARYinTheMine"
	for _, answer := range []string{"-ERR " + canary, "-WRONGPASS " + canary, "-NOPERM " + canary, "-" + canary, "-LOADING " + canary, "-BUSY " + canary, "-MOVED 1 " + canary + ":1"} {
		c := fake(t, func(string) string { return answer + "\r\n" })
		opened, err := open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = opened.Inspect(t.Context(), "")
		e := patchbay.AsError(err)
		if err == nil || strings.Contains(fmt.Sprint(e.Message, e.Fix, e.Subject, e.Err), canary) || !strings.Contains(e.Said, canary) {
			t.Errorf("%s: Inspect = %v; fix: %s; said: %s", answer, err, e.Fix, e.Said)
		}
		r := driver.ProbeRequest{
			Credential: driver.Credential{Public: map[string]string{"username": "app"}, Secret: driver.Secrets{"password": patchbay.NewSecret("app-password-0123456789")}},
			Dialer:     &net.Dialer{}, Sub: "0", Servers: []string{strings.TrimPrefix(c.Endpoint, "redis://")}, Facts: []byte("{}"),
		}
		_, err = tryLogin(t.Context(), c, r)
		if e := patchbay.AsError(err); err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, e), canary) || strings.Contains(fmt.Sprintf("%+v", e), "app-password") {
			t.Errorf("%s: the probe = %v: %+v", answer, err, e)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"cache":                      "[cache:6379] true",
		"redis://cache":              "[cache:6379] false",
		"rediss://cache:7000":        "[cache:7000] true",
		"redis://[fd00::1]:7000":     "[[fd00::1]:7000] false",
		"redis://a:1,b:2,redis://c":  "[a:1 b:2 c:6379] false",
		"rediss://a,redis://b":       "",
		"redis://user:pw@cache:6379": "",
		"redis://cache/3":            "",
		"http://cache":               "",
		"":                           "",
	} {
		c, err := parse(driver.Config{Endpoint: endpoint})
		if got := fmt.Sprint(c.servers, c.secured != nil); want != "" && (err != nil || got != want) || want == "" && patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%q is %s, %v; want %s", endpoint, got, err, want)
		}
	}
	if _, err := parse(driver.Config{Endpoint: "redis://cache", Properties: []byte(`{"tls":{"mode":"require"}}`)}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("redis:// with TLS: %v", err)
	}
}

func TestNodesOfAClusterAreReadAsTheyAreTold(t *testing.T) {
	const list = `a 10.0.0.1:6379@16379,one.example,shard-id=x myself,master - 0 0 1 connected 0-5460
b 10.0.0.2:6379@16379,two.example master - 0 0 2 connected 5461-10922
c fd00::3:6379@16379,,tls-port=0 slave b 0 0 2 connected
d :0@0 master,noaddr - 0 0 3 disconnected
e 10.0.0.5:6379@16379 handshake - 0 0 0 connected
f 10.0.0.6:6379@16379 master,fail - 0 0 0 disconnected
`
	for secured, want := range map[bool]string{
		false: "10.0.0.1:6379 10.0.0.2:6379 [fd00::3]:6379 10.0.0.6:6379",
		true:  "one.example:6379 two.example:6379 [fd00::3]:6379 10.0.0.6:6379",
	} {
		if got := strings.Join(clusterNodes([]byte(list), "cache:6379", secured), " "); got != want {
			t.Errorf("secured %t: %s", secured, got)
		}
	}
	if got := clusterNodes([]byte("a :6379@16379 myself,master - 0 0 0 connected\n"), "cache:6379", false); len(got) > 0 {
		t.Errorf("a node alone: %q", got)
	}
}

func FuzzWire(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\nx\r\n:1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		budget := driver.NewBudget("x", 1<<20)
		budget.Renew(context.Background())
		defer budget.End()
		w := &wire{budget: budget}
		_ = w.look(b)
		if len(w.lists) > maxDepth || w.body > maxBulk+2 {
			t.Errorf("%d lists, %d bytes", len(w.lists), w.body)
		}
	})
}
