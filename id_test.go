package patchbay

import (
	"strings"
	"testing"
)

func TestIDsOfConnections(t *testing.T) {
	const (
		rg  = ID("/subscriptions/s/resourceGroups/rg")
		web = rg + "/providers/Microsoft.Web/sites/web"
	)
	at := rg.Location("westus")
	for _, c := range []struct {
		id        ID
		source    ID // of a connection
		name      string
		connector bool
		dryrun    ID // what a dryrun is of
	}{
		{id: web.Linker("db"), source: web, name: "db"},
		{id: ID(strings.ToUpper(string(web.Linker("db")))), source: ID(strings.ToUpper(string(web))), name: "DB"},
		{id: at.Local("db"), source: at, name: "db", connector: true},
		{id: web.Child("providers/Microsoft.ServiceLinker/dryruns", "d"), name: "d", dryrun: web},
		{id: at.Child("dryruns", "d"), name: "d", dryrun: at},
		{id: at},
		{id: web},
		{id: rg},
		{id: at.Local("db").Child("x", "y")},
	} {
		source, name, ok := c.id.ConnectionSource()
		if ok != (c.source != "") || source != c.source || ok && name != c.name || c.id.IsLocal() != c.connector {
			t.Errorf("%s is a connection of %q: %q %q %v", c.id, c.source, source, name, ok)
		}
		of, name, ok := c.id.DryrunSource()
		if ok != (c.dryrun != "") || of != c.dryrun || ok && name != c.name {
			t.Errorf("%s is a dryrun of %q: %q %q %v", c.id, c.dryrun, of, name, ok)
		}
	}
	// The last provider counts: a connection's id may hold another's.
	nested := web.Linker("a").Linker("b")
	if source, name, ok := nested.LinkerSource(); !ok || source != web.Linker("a") || name != "b" {
		t.Errorf("%s: %q %q %v", nested, source, name, ok)
	}
}

// FuzzParseID: no text crashes the parser; what it takes is one form only, and
// its parts are parts of it.
func FuzzParseID(f *testing.F) {
	for _, s := range []string{
		"/subscriptions/s", "//subscriptions/s//resourcegroups/rg/", "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/sites/web",
		"/subscriptions/s/resourceGroups/rg/providers/Microsoft.ServiceLinker/locations/l/connectors/c",
		"/subscriptions/s/providers/Microsoft.ServiceLinker/linkers/../x", "/subscriptions/é/x/\x00", "subscriptions", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			if CodeOf(err) != InvalidResourceID || len(err.Error()) > 2*MaxIDLength {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := ParseID(string(id))
		if err != nil || again != id {
			t.Errorf("%q is %q, which is %q (%v)", s, id, again, err)
		}
		upper, err := ParseID(strings.ToUpper(string(id)))
		if err == nil && isASCII(s) && (!upper.Equal(id) || upper.Key() != id.Key()) {
			t.Errorf("%q and %q are two", id, upper)
		}
		for _, part := range []string{id.Subscription(), id.ResourceGroup(), id.Name(), id.Type()} {
			if part != id.Type() && !strings.Contains(string(id), part) {
				t.Errorf("%q is not in %q", part, id)
			}
		}
		if p := id.Parent(); p != "" {
			if _, err := ParseID(string(p)); err != nil || !strings.HasPrefix(string(id), string(p)+"/") {
				t.Errorf("the parent of %q is %q (%v)", id, p, err)
			}
		}
		if source, name, ok := id.ConnectionSource(); ok {
			made := source.Linker(name)
			if id.IsLocal() {
				made = source.Local(name)
			}
			if !made.Equal(id) {
				t.Errorf("%q is %q of %q, which is %q", id, name, source, made)
			}
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
}

// Ids that are kept under two keys are two: what holds for one of them, a
// secret among it, does not hold for the other.
func TestIDsOfTwoKeysAreNotEqual(t *testing.T) {
	const server = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders"
	for _, other := range []ID{
		"/subscriptions/s/resourceGroups/shop/providers/Microsoft.DBforPostgreSQL/flexibleServerſ/orders",
		"/subscriptions/s/resourceGroups/ſhop/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders",
		"/subscriptions/s/resourceGroups/shop/providers/Microsoft.DBforPostgreSQL/flexibleServers/orderſ",
	} {
		if ID(server).Equal(other) || other.Equal(server) || other.Key() == ID(server).Key() {
			t.Errorf("%s is %s", other, server)
		}
	}
	if !ID(server).Equal(ID(strings.ToUpper(server))) {
		t.Error("case counts")
	}
}

// Letters whose lower case takes more bytes, or fewer, move nothing.
func TestAConnectionIsFoundBehindAnyLetters(t *testing.T) {
	for _, letters := range []string{strings.Repeat("Ⱥ", 80), strings.Repeat("K", 40), strings.Repeat("İ", 40), "ſſ"} {
		group := ID("/subscriptions/s/resourceGroups/" + letters)
		web := group + "/providers/Microsoft.Web/sites/web"
		for _, c := range []struct{ id, source ID }{{web.Linker("db"), web}, {group.Location("local").Local("db"), group.Location("local")}} {
			if source, name, ok := c.id.ConnectionSource(); !ok || source != c.source || name != "db" {
				t.Errorf("%s is %q of %q, %v", c.id, name, source, ok)
			}
		}
	}
}
