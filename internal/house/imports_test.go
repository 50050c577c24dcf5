package house

import (
	"slices"
	"strings"
	"testing"
)

// room is a package, or with a trailing /… a family of packages, and what of
// this module its code (not its tests) may import.
type room struct {
	pkg string
	may []string
	// why is said when an import isn't allowed.
	why string
	// scaffold is test and demonstration code: only tests, scaffold and the
	// command import it.
	scaffold bool
}

// everything lets a package import any other.
var everything = []string{"…"}

// driverMay is what a driver is built on.
var driverMay = []string{"", "driver", "hosts/…", "internal/failpoint", "internal/pgconnect", "internal/mqttconnect", "internal/dockerapi", "internal/kubeconnect"}

const driverWhy = "a driver knows the driver contract, the domain and hosts: then a new one is one new package, and none depends on the engine or the records"

// rooms is the plan of the house; every package is in it. "" is the domain.
var rooms = []room{
	{pkg: "", why: "the domain is plain Go: everything else may depend on it because it depends on nothing"},
	{pkg: "arm", may: []string{""}, why: "the wire's words are known to who speaks it, and know the domain only"},
	{pkg: "arm/client", may: []string{"", "arm"}, why: "a client knows a server by the wire alone"},
	{pkg: "keyring", may: []string{""}, why: "sealing knows secrets, not what they are for"},
	{pkg: "settings/…", may: []string{"", "settings/…"}, why: "the settings table is data: docs and previews use it without an engine"},
	{pkg: "saga", may: []string{"", "internal/failpoint", "internal/fairshare"}, why: "the engine runs plans; what they do is not its business"},
	{pkg: "store", may: []string{"", "saga"}, why: "the records' contract is independent of who keeps them"},
	{pkg: "store/sqlite", may: []string{"", "saga", "store", "internal/failpoint"}, why: "a store keeps records; it calls nobody"},
	{pkg: "store/postgres", may: []string{"", "saga", "store", "internal/failpoint"}, why: "a store keeps records; it calls nobody"},
	{pkg: "driver", may: []string{"", "hosts", "internal/failpoint", "internal/fairshare"}, why: "the driver contract is what outsiders build on"},
	{pkg: "driver/sandbox", may: []string{"", "driver", "internal/fairshare"},
		why: "a child process has the drivers that it is handed, and nothing of the server"},
	{pkg: "hosts/ssh", may: []string{"", "driver", "hosts/…"}, why: "a way to another machine is a driver too: it describes itself, and is opened with a registration"},
	{pkg: "hosts/…", may: []string{"", "hosts/…"}, why: "hosts run commands and move files; they know no product"},
	{pkg: "targets/…", may: driverMay, why: driverWhy},
	{pkg: "sources/…", may: append([]string{"sources/internal/…", "internal/relay"}, driverMay...), why: driverWhy},
	{pkg: "sources/internal/…", why: "what several sources read and write is a format, and knows none of them"},
	{pkg: "sources/internal/containerevents", may: []string{"sources/internal/eventstreams"}, why: "what engines tell of containers is one of the streams that several watch"},
	{pkg: "internal/pgconnect", may: []string{"", "driver"}, why: "how a server is signed in to is the same for its target driver and its guard, and knows neither"},
	{pkg: "internal/mqttconnect", may: []string{"driver"}, why: "how a broker is signed in to is the same for whom it is administered by and for whom it is not, and knows neither"},
	{pkg: "internal/dockerapi", may: []string{"", "driver", "hosts"}, why: "how an engine is reached and spoken to is the same for the sources in it and its guard, and knows neither"},
	{pkg: "internal/kubeconnect", may: []string{"", "driver", "hosts", "internal/relay"}, why: "how a cluster is spoken to is the same for its sources and its guard, and knows neither"},
	{pkg: "networks/…", may: driverMay, why: driverWhy},
	{pkg: "connector", may: []string{"", "driver", "hosts", "keyring", "saga", "settings", "store", "internal/failpoint", "internal/fairshare", "internal/version"},
		why: "the use cases know contracts, never a product, a database or the wire"},
	{pkg: "access", may: []string{"", "store"}, why: "who may do what is decided from roles alone, by whatever way it is asked"},
	{pkg: "notify", may: []string{"", "driver", "store", "internal/version"},
		why: "events are delivered from where a store keeps them, whoever put them there"},
	{pkg: "audit", may: []string{"", "store"}, why: "the audit log is kept by a store and asked by the wire; it calls neither"},
	{pkg: "identity/…", may: []string{"", "keyring", "store", "identity/…", "internal/fairshare", "internal/recent"}, why: "who calls is found out before, and without, what is called"},
	{pkg: "server", may: []string{"", "access", "arm", "audit", "connector", "identity/…", "settings", "store", "internal/fairshare", "internal/recent", "internal/version"},
		why: "the server translates between the wire and the use cases; what it needs of drivers, the use cases ask"},
	{pkg: "export", may: []string{"", "sources/envfile"}, why: "settings are written for other tools as data, with the words that a source writes them with"},
	{pkg: "cli", may: []string{"", "arm", "arm/client", "export", "internal/version"},
		why: "the command line is a client like any other: what it can do, the wire can do"},
	{pkg: "internal/controlplane", may: everything},
	{pkg: "cmd/patchbay/…", may: everything},
	{pkg: "examples/driver", may: []string{"driver", "cmd/patchbay/app"}, why: "a program of somebody else's has the drivers that it brings, and what is exported"},
	{pkg: "examples/driver/shelf", may: []string{"", "driver"}, why: "an example of a driver shows what a driver of another module can have"},
	{pkg: "examples/driver/shelfd", why: "what is administered knows nothing of who does"},

	{pkg: "internal/failpoint", may: []string{""}, why: "failpoints are everywhere, so they depend on nearly nothing"},
	{pkg: "internal/fairshare", why: "places are divided among names, whatever they stand for"},
	{pkg: "internal/relay", why: "a relay dials for whoever speaks to it, from wherever it was started"},
	{pkg: "internal/recent", why: "what was used last is remembered, whatever it is"},
	{pkg: "internal/version", why: "a version is a string"},
	{pkg: "internal/tested", scaffold: true, why: "it reads what tests say, whatever they test"},
	{pkg: "internal/relay/alone", may: []string{"internal/relay"}, scaffold: true, why: "a relay alone is for the tests"},
	{pkg: "internal/wiretest", scaffold: true, why: "it compares two trees of JSON, whoever wrote them"},
	{pkg: "internal/house", scaffold: true, why: "the rules import nothing that they judge"},

	// The suites are exported: whoever writes a driver or a store runs them.
	{pkg: "driver/drivertest", may: []string{"", "driver", "hosts/…"}, scaffold: true,
		why: "an outsider's driver passes this suite without our engine"},
	{pkg: "hosts/hoststest", may: []string{"", "hosts/…"}, scaffold: true, why: "one suite for every machine"},
	{pkg: "store/storetest", may: []string{"", "saga", "store"}, scaffold: true, why: "one suite for every store"},
	{pkg: "internal/testenv/…", may: []string{"", "driver", "hosts/…", "internal/natsserver", "internal/testenv/…"}, scaffold: true,
		why: "test servers are started for the product, not by it"},
	{pkg: "internal/natsserver", may: []string{""}, scaffold: true, why: "an embedded NATS is for the demonstration and the tests"},
	{pkg: "internal/demo/…", may: everything, scaffold: true},
	{pkg: "internal/bench/…", may: everything, scaffold: true},
	{pkg: "internal/crashtest/…", may: everything, scaffold: true},
	{pkg: "internal/clienttest/…", may: everything, scaffold: true},
	{pkg: "internal/attacktest/…", may: everything, scaffold: true},
}

// matches reports whether pattern, a package or a family, has pkg in it.
func matches(pattern, pkg string) bool {
	switch base, family := strings.CutSuffix(pattern, "…"); {
	case family && base == "":
		return true
	case family:
		return under(pkg, strings.TrimSuffix(base, "/"))
	default:
		return pkg == pattern
	}
}

// roomOf is the most particular room that has pkg.
func roomOf(pkg string) (room, bool) {
	var best room
	found := false
	for _, r := range rooms {
		if matches(r.pkg, pkg) && (!found || len(r.pkg) > len(best.pkg)) {
			best, found = r, true
		}
	}
	return best, found
}

// local is the package of this module that an import path names.
func local(importPath string) (pkg string, ok bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func called(pkg string) string {
	if pkg == "" {
		return "the domain"
	}
	return pkg
}

// refused says why a package's code may not import another of this module; ""
// when it may.
func refused(from, to string) string {
	r, ok := roomOf(from)
	if !ok {
		return "it has no room in internal/house/imports_test.go: say there what it may import"
	}
	dest, _ := roomOf(to)
	switch {
	case from == to, r.pkg == dest.pkg && r.scaffold:
		return ""
	case dest.scaffold && !r.scaffold && !under(from, "cmd/patchbay"):
		return "test and demonstration code has no place in the product"
	case slices.ContainsFunc(r.may, func(p string) bool { return matches(p, to) }):
		return ""
	default:
		return r.why
	}
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, s := range mustSources(t) {
		if _, ok := roomOf(s.pkg); !ok {
			t.Errorf("%s: %s", s.path, refused(s.pkg, ""))
			continue
		}
		if s.test {
			continue
		}
		for _, p := range s.imports() {
			if to, ok := local(p); ok {
				if why := refused(s.pkg, to); why != "" {
					t.Errorf("%s: %s may not import %s: %s", s.path, called(s.pkg), called(to), why)
				}
			}
		}
	}
}

// The rule above is only worth what it refuses.
func TestTheArrowsRefuseTheWrongWay(t *testing.T) {
	tests := []struct {
		from, to string
		allowed  bool
	}{
		{"", "driver", false},
		{"saga", "store", false},
		{"saga", "", true},
		{"targets/postgres", "driver", true},
		{"targets/postgres", "targets/nats", false},
		{"networks/pghba", "targets/postgres", false},
		{"networks/pghba", "internal/pgconnect", true},
		{"networks/docker", "sources/docker", false},
		{"networks/docker", "internal/dockerapi", true},
		{"networks/networkpolicy", "sources/kubernetes", false},
		{"networks/networkpolicy", "internal/kubeconnect", true},
		{"targets/postgres", "saga", false},
		{"sources/envfile", "hosts/ssh", true},
		{"sources/envfile", "settings", false},
		{"sources/envfile", "sources/internal/environmentfile", true},
		{"targets/postgres", "sources/internal/environmentfile", false},
		{"connector", "targets/nats", false},
		{"connector", "store/sqlite", false},
		{"connector", "internal/testenv", false},
		{"server", "driver", false},
		{"cli", "connector", false},
		{"cli", "arm", true},
		{"cli", "arm/client", true},
		{"arm", "server", false},
		{"arm", "arm/client", false},
		{"server", "arm/client", false},
		{"store/sqlite", "store", true},
		{"cmd/patchbay", "internal/demo", true},
		{"internal/controlplane", "store/sqlite", true},
		{"internal/controlplane", "internal/demo", false},
		{"cmd/patchbay", "targets/postgres", true},
		{"cmd/patchbay/app", "internal/demo", true},
		{"examples/driver/shelf", "internal/pgconnect", false},
		{"driver", "driver/drivertest", false},
		{"somewhere/new", "", false},
	}
	for _, tt := range tests {
		if got := refused(tt.from, tt.to) == ""; got != tt.allowed {
			t.Errorf("%s -> %s allowed = %t, want %t", called(tt.from), called(tt.to), got, tt.allowed)
		}
	}
}

// ban is an import that has no place in the product, or only in some rooms.
type ban struct {
	path   string   // an import path, or one with a trailing /… for a family
	only   []string // rooms that may; nil: nobody
	tests  bool     // whether tests and scaffold may not either
	reason string
}

var bans = []ban{
	{path: "log", reason: "log/slog is the one log: structured, with levels, and it redacts secrets (slog.NewLogLogger makes one of the old kind)"},
	{path: "io/ioutil", tests: true, reason: "io and os have had its functions since Go 1.16"},
	{path: "gopkg.in/yaml.v2", tests: true, reason: "go.yaml.in/yaml/v4 is the one YAML library; two disagree about the same file"},
	{path: "gopkg.in/yaml.v3", tests: true, reason: "go.yaml.in/yaml/v4 is the one YAML library; two disagree about the same file"},
	{path: "sigs.k8s.io/yaml", tests: true, reason: "go.yaml.in/yaml/v4 is the one YAML library; two disagree about the same file"},
	{path: "github.com/pkg/errors", tests: true, reason: "errors and %w do it"},
	{path: "math/rand", tests: true, reason: "math/rand/v2 has no global seed to get wrong; for secrets, crypto/rand"},
	{path: "math/rand/v2", only: []string{"saga", "notify"}, reason: "what it makes can be guessed: only the jitter of what is repeated may be; secrets and ids come from crypto/rand"},
	{path: "os/exec", only: []string{"hosts/…", "sources/…", "driver/sandbox", "cli", "cmd/patchbay"},
		reason: "commands are run by hosts, with an argument list and without secrets in it; by a source's reload; by patchbay run; and this program by itself, to probe"},
	{path: "net/http/pprof", reason: "its import alone serves profiles on the default mux"},
	{path: "expvar", reason: "its import alone serves variables on the default mux"},
	{path: "testing", reason: "the flags of testing end up in the binary"},
	{path: "unsafe", only: []string{"driver/sandbox"}, tests: true, reason: "nothing here needs it, but for a filter that the kernel is handed by its address"},
	{path: "C", tests: true, reason: "one static binary, cross-built without a C compiler"},
	{path: "github.com/nats-io/nats-server/…", reason: "a NATS server is for the demonstration and the tests"},
	{path: "github.com/spf13/…", only: []string{"cli", "cmd/patchbay"}, reason: "only the command line has flags"},
}

// about reports whether b is about that import path.
func (b ban) about(p string) bool {
	if base, family := strings.CutSuffix(b.path, "/…"); family {
		return under(p, base)
	}
	return p == b.path
}

func (b ban) allows(s source) bool {
	if s.test || s.scaffold() {
		return !b.tests
	}
	return slices.ContainsFunc(b.only, func(p string) bool { return matches(p, s.pkg) })
}

// scaffold reports whether the file is of test or demonstration code.
func (s source) scaffold() bool {
	r, _ := roomOf(s.pkg)
	return r.scaffold
}

// pins reports whether the file exists only to hold a version in go.mod: its
// tag is never set.
func (s source) pins() bool {
	for _, group := range s.ast.Comments {
		for _, c := range group.List {
			if c.Text == "//go:build depsonly" {
				return true
			}
		}
	}
	return false
}

func TestTheDomainImportsTheStandardLibraryOnly(t *testing.T) {
	for _, s := range mustSources(t) {
		if s.pkg != "" || s.test || s.pins() {
			continue
		}
		for _, p := range s.imports() {
			if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") {
				t.Errorf("%s imports %s: the domain is what everybody depends on, so it depends on nobody", s.path, p)
			}
		}
	}
}

// clients are the rooms whose libraries speak to a product: nobody else has them.
var clients = []string{"targets/…", "sources/…", "networks/…", "internal/pgconnect", "internal/mqttconnect", "internal/dockerapi", "internal/kubeconnect", "store/sqlite", "store/postgres"}

// common are modules that are no product's.
var common = []string{"go.yaml.in/yaml/v4", "golang.org/x/…", "go.opentelemetry.io/…", "github.com/google/uuid", "github.com/gofrs/flock", "github.com/hashicorp/yamux"}

// A product's library is known to what speaks to the product: what a driver or a
// store imports, the rest of the product does not.
func TestOnlyWhatSpeaksToAProductKnowsItsLibrary(t *testing.T) {
	in := func(patterns []string, pkg string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
	}
	theirs := map[string]string{} // import path to a driver that has it
	all := mustSources(t)
	for _, s := range all {
		if s.test || s.pins() || !in(clients, s.pkg) {
			continue
		}
		for _, p := range s.imports() {
			first, _, _ := strings.Cut(p, "/")
			if _, ours := local(p); strings.Contains(first, ".") && !ours && !in(common, p) {
				theirs[p] = s.pkg
			}
		}
	}
	for _, s := range all {
		if s.test || s.pins() || s.scaffold() || in(clients, s.pkg) {
			continue
		}
		for _, p := range s.imports() {
			if owner := theirs[p]; owner != "" {
				t.Errorf("%s imports %s, the library of a product that %s speaks to", s.path, p, owner)
			}
		}
	}
}

func TestForbiddenImportsStayOut(t *testing.T) {
	for _, s := range mustSources(t) {
		if s.pins() {
			continue
		}
		for _, p := range s.imports() {
			for _, b := range bans {
				if b.about(p) && !b.allows(s) {
					t.Errorf("%s imports %s: %s", s.path, p, b.reason)
				}
			}
		}
	}
}
