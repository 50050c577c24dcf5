package settings

import (
	"regexp"
	"testing"
)

// Servers of a URL keep what stands between them, and what could end a host is escaped.
func TestServersStandInAURL(t *testing.T) {
	for servers, want := range map[string]string{
		"db.example:27017":           "db.example:27017",
		"a:1,b:2,c:3":                "a:1,b:2,c:3",
		"[2001:db8::1]:27017,b:2":    "[2001:db8::1]:27017,b:2",
		"db.example":                 "db.example",
		"übung.example:1":            "%C3%BCbung.example:1",
		"[::1]:1,[::2]:2,10.0.0.1:3": "[::1]:1,[::2]:2,10.0.0.1:3",
	} {
		got := uri.encode("servers", servers)
		if got != want || uri.decode("servers", got) != servers || !regexp.MustCompile(`\A(?:`+uri.accepts("servers")+`)\z`).MatchString(got) {
			t.Errorf("%s: %s, and back %s", servers, got, uri.decode("servers", got))
		}
		if !uri.holds("servers", servers) {
			t.Errorf("%s can't be held", servers)
		}
	}
	for _, servers := range []string{"a:1/x", "a:1?x=y", "u@a:1", "a:1#x", "a:x"} {
		if uri.holds("servers", servers) {
			t.Errorf("%s is held as %s", servers, uri.encode("servers", servers))
		}
	}
}
