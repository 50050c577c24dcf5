package crashtest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

var every = flag.Int("every", 60, "run every n-th scenario; 1 runs all, 20 and more only a quarter of the failures, and settings files alone")

const rotate = "rotate"

// operation is one that is interrupted, with what comes before it.
type operation struct {
	name   string
	exists bool // it needs a connection
	begin  func(s *server, w *world) (status int)
	// access is what the login has after it has succeeded.
	access string
}

var operations = []operation{
	{"create", false, func(s *server, w *world) int { return s.put(w, "writer") }, "writer"},
	{"update", true, func(s *server, w *world) int { return s.put(w, "reader") }, "reader"},
	{rotate, true, func(s *server, w *world) int {
		status, _ := s.call("POST", w.linker+"/providers/Patchbay.Connector/rotate", own, map[string]any{})
		return status
	}, "writer"},
	{"delete", true, func(s *server, w *world) int {
		status, _ := s.call("DELETE", w.linker, own, nil)
		return status
	}, ""},
}

func (s *server) put(w *world, access string) int {
	properties := map[string]any{
		"targetService": map[string]any{"type": "AzureResource", "id": w.group + "/providers/" + w.target.id()},
		"clientType":    "go",
	}
	maps.Copy(properties, w.target.form(access))
	status, _ := s.call("PUT", w.linker, own, map[string]any{"properties": properties})
	return status
}

// ground is what connections are made on.
type ground struct {
	start func(*testing.T) target
	// source makes a source for one scenario; nil: a settings file.
	source func(t *testing.T, dir string) source
	// site starts what all sources are on, and makes them, in place of that.
	site func(*testing.T) site
	// both starts both, where the target is in the same place; nil: site and start do.
	both func(*testing.T) (site, target)
	// on names it.
	on string
	// local is a connection of a developer's own machine: no source gets its
	// settings, they are answered to whoever asks.
	local bool
	// fails are steps that are made to fail.
	fails []string
	// rarely is how much smaller the share is that is tried here, where not all are: 0 is 1.
	rarely int
}

// every is which share is tried: each such scenario.
func (g ground) every() int {
	if *every == 1 {
		return 1
	}
	return *every * max(g.rarely, 1)
}

var grounds = []ground{
	{start: startPostgres, fails: []string{"verify/before-do", "settings/after-do", "principal/after-do"}},
	{start: startNATS, fails: []string{"verify/before-do", "settings/after-do", "principal/after-do"}},
	{start: startMosquitto, rarely: 4, fails: []string{"verify/before-do", "settings/after-do"}},
	{start: startMySQL, rarely: 4, fails: []string{"verify/before-do", "settings/after-do", "principal/after-do"}},
	{start: startPostgres, local: true, fails: []string{"verify/before-do", "principal/after-do"}},
	{start: startRedisUsers, rarely: 4, fails: []string{"verify/before-do", "settings/after-do", "principal/after-do"}},
	{start: startRedis, fails: []string{"verify/before-do", "settings/after-do"}},
	{start: startGivenRedis, fails: []string{"verify/before-do", "settings/after-do"}},
}

// site is where sources are: a service manager, a container engine, a cluster.
type site struct {
	// network is the one that they are in, where it is not this process's; what
	// listens here is reached there at gateway.
	network network
	gateway string
	expose  func(t testing.TB, host, address string) int
	// source makes one for a scenario.
	source func(t *testing.T, dir string) source
}

// world is one scenario's data directory and source.
type world struct {
	t      *testing.T
	target target
	source source
	at     network
	local  bool
	dir    string
	group  string
	linker string
}

func newWorld(t *testing.T, tg target) *world {
	w := &world{t: t, target: tg, dir: t.TempDir()}
	w.source = newEnvFile(t, w.dir)
	return w
}

// world is a scenario's.
func (g ground) world(t *testing.T, at site, tg target) *world {
	if at.source == nil {
		w := newWorld(t, tg)
		w.local = g.local
		return w
	}
	w := &world{t: t, target: tg, dir: t.TempDir(), at: at.network}
	w.source = at.source(t, w.dir)
	return w
}

// open starts what a ground's scenarios share.
func (g ground) open(t *testing.T) (site, target) {
	if g.both != nil {
		return g.both(t)
	}
	if g.site == nil {
		return site{source: g.source}, g.start(t)
	}
	at := g.site(t)
	tg := g.start(t)
	if at.network != nil {
		tg.(*postgresTarget).isReachedIn(at)
	}
	return at, tg
}

func (w *world) boot(failpoints, record string, flags ...string) *server {
	w.t.Helper()
	return bootIn(w.t, w.at, w.dir, failpoints, record, flags...)
}

// register tells the server of both ends.
func (w *world) register(s *server) {
	w.t.Helper()
	status, subs := s.call("GET", "/subscriptions", own, nil)
	if status != 200 {
		w.t.Fatalf("GET /subscriptions = %d %v", status, subs)
	}
	sub := subs["value"].([]any)[0].(map[string]any)["subscriptionId"].(string)
	w.group = "/subscriptions/" + sub + "/resourceGroups/default"
	path, body := w.target.resource()
	if g, ok := w.target.(guarded); ok {
		g.behind(s, w.group, body)
	}
	if status, answer := s.call("PUT", w.group+"/providers/"+path, own, body); status != 201 {
		w.t.Fatalf("register the target: %d %v", status, answer)
	}
	path, body = w.source.resource()
	source := w.group + "/providers/" + path
	if status, answer := s.call("PUT", source, own, body); status != 201 {
		w.t.Fatalf("register the source: %d %v", status, answer)
	}
	w.linker = source + "/providers/Microsoft.ServiceLinker/linkers/orders"
	if w.local {
		w.linker = w.group + "/providers/Microsoft.ServiceLinker/locations/eastus/connectors/orders"
	}
	if g, ok := w.target.(guarded); ok {
		g.shared(s, w)
	}
}

// given is what an application would have now: what it has of its source, or what
// the server answers for a local connection.
func (w *world) given(s *server) map[string]string {
	w.t.Helper()
	if !w.local {
		return w.settings()
	}
	env := map[string]string{}
	status, answer := s.call("POST", w.linker+"/generateConfigurations", own, nil)
	if status != 200 && status != 404 {
		w.t.Errorf("generateConfigurations = %d %v", status, answer)
	}
	list, _ := answer["configurations"].([]any)
	for _, item := range list {
		setting, _ := item.(map[string]any)
		name, _ := setting["name"].(string)
		env[name], _ = setting["value"].(string)
	}
	return env
}

func (w *world) settings() map[string]string {
	w.t.Helper()
	m, err := w.source.settings()
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// scenario is one place to die at.
type scenario struct {
	target string // and what else says which ground
	op     operation
	fail   string // a step that is made to fail, "" for none
	at     string // the failpoint
}

func (c scenario) String() string {
	s := c.target + ": " + c.op.name
	if c.fail != "" {
		s += ", undone after " + c.fail
	}
	return s + ", killed at " + c.at
}

func (c scenario) failpoints() string {
	if c.fail == "" {
		return c.at + "=kill"
	}
	return c.fail + "=error," + c.at + "=kill"
}

// prepare makes the connection that the operation needs, and gives its
// settings.
func (w *world) prepare(s *server, op operation) (settings map[string]string) {
	w.t.Helper()
	w.register(s)
	if op.exists {
		if status := s.put(w, "writer"); status != 201 {
			w.t.Fatalf("PUT = %d", status)
		}
		if done := s.settle(); done["state"] != "done" {
			w.t.Fatalf("the create before the %s: %v", op.name, done)
		}
	}
	return w.given(s)
}

// instants runs the operation without dying and lists the failpoints that it
// comes by.
func (g ground) instants(t *testing.T, at site, tg target, op operation, fail string) []string {
	t.Helper()
	w := g.world(t, at, tg)
	record := filepath.Join(w.dir, "instants")
	points := ""
	if fail != "" {
		points = fail + "=error"
	}
	s := w.boot("", "")
	w.prepare(s, op)
	// What was before may still be on its way past its last instant, and the times that
	// an instant comes count from the start.
	s.kill()
	s = w.boot(points, record)
	if err := os.RemoveAll(record); err != nil { // those of the start
		t.Fatal(err)
	}
	if status := op.begin(s, w); status/100 != 2 {
		t.Fatalf("%s = %d", op.name, status)
	}
	s.settle()
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatalf("no failpoint was hit: %v", err)
	}
	var names []string
	reached := fail == ""
	for name := range strings.Lines(string(data)) {
		name = strings.TrimSpace(name)
		if name == fail {
			reached = true
			continue
		}
		if base, _, again := strings.Cut(name, "#"); again && base == fail {
			continue
		}
		// Before the failure it is the same run as without one.
		if reached && name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	w.cleanUp(s)
	return names
}

// cleanUp removes what a scenario left of its connection, as a user would, and
// ends the server.
func (w *world) cleanUp(s *server) {
	w.t.Helper()
	if status, _ := s.call("GET", w.linker, own, nil); status == 200 {
		if status, answer := s.call("DELETE", w.linker, own, nil); status/100 != 2 {
			w.t.Errorf("DELETE = %d %v", status, answer)
		}
		s.settle()
	}
	if g, ok := w.target.(guarded); ok {
		g.closed(s)
	}
	s.kill()
	if left := w.target.remains(); len(left) > 0 {
		w.t.Errorf("I1: after the delete there still is %v", left)
	}
	if err := errors.Join(w.source.untouched(), w.source.beside()); err != nil {
		w.t.Errorf("I3: after the delete %v", err)
	}
}

func TestAKillAtEveryInstantLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program hundreds of times")
	}
	killed(t, slices.Concat(grounds, heavy()))
}

// heavy are the grounds whose sources are more than a file, but in a small share: what they
// start costs as much as all the others of it.
func heavy() []ground {
	if *every >= 20 {
		return nil
	}
	unit := ground{start: startPostgres, source: newUnit, on: "systemd", fails: []string{"verify/before-do", "settings/after-do", "restart/after-do"}}
	return append([]ground{unit}, sites()...)
}

// killed kills at every instant on these grounds, and logs a table.
func killed(t *testing.T, grounds []ground) {
	t.Helper()
	tally := &tally{counts: map[string][2]int{}}
	for i, g := range grounds {
		// What can't run here skips its own ground alone.
		t.Run(fmt.Sprintf("ground %d %s", i, g.on), func(t *testing.T) { g.tried(t, tally) })
	}
	var table bytes.Buffer
	tw := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "target\toperation\tkilled\twrong afterwards")
	for _, key := range slices.Sorted(maps.Keys(tally.counts)) {
		_, _ = fmt.Fprintf(tw, "%s\t%d\t%d\n", key, tally.counts[key][0], tally.counts[key][1])
	}
	_ = tw.Flush()
	t.Logf("%d instants found; every %d. was tried\n%s", tally.found, *every, table.String())
}

// tally is what has been tried so far.
type tally struct {
	counts         map[string][2]int // by ground and operation: ran, failed
	found, failing int
}

// tried tries a share of the instants of all operations on a ground.
func (g ground) tried(t *testing.T, all *tally) {
	place, tg := g.open(t)
	name := tg.name()
	if g.local {
		name += ", local"
	}
	if g.on != "" {
		name += ", " + g.on
	}
	for _, op := range operations {
		if op.name == rotate && !tg.administered() {
			continue
		}
		fails := []string{""}
		if op.name != "delete" {
			for _, step := range g.fails {
				fails = append(fails, op.name+"/"+step)
			}
		}
		for _, fail := range fails {
			// To find its instants already costs a run.
			if fail != "" {
				if all.failing++; g.every() >= 20 && all.failing%4 != 1 {
					continue
				}
			}
			for _, at := range g.instants(t, place, tg, op, fail) {
				all.found++
				if all.found%g.every() != 0 {
					continue
				}
				c := scenario{name, op, fail, at}
				ok := t.Run(strings.ReplaceAll(c.String(), "/", "."), func(t *testing.T) { g.interrupted(t, place, tg, c) })
				key := name + "\t" + op.name
				count := all.counts[key]
				count[0]++
				if !ok {
					count[1]++
				}
				all.counts[key] = count
			}
		}
	}
}

// interrupted kills the program at one instant of one operation, starts it
// again, and checks what is there.
func (g ground) interrupted(t *testing.T, at site, tg target, c scenario) {
	tg = tg.in(t)
	w := g.world(t, at, tg)
	s := w.boot("", "")
	old := w.prepare(s, c.op)
	s.kill()
	before := w.source.content()

	s = w.boot(c.failpoints(), "")
	status := c.op.begin(s, w)
	s.eventually("the program dies at "+c.at, s.dead)
	w.comesBack(c, status, before, old)
}

// comesBack starts a program that died in the middle of an operation again, and
// checks what is there.
func (w *world) comesBack(c scenario, status int, before string, old map[string]string) {
	s := w.boot("", "")
	last := s.settle()
	now := w.given(s)
	w.check(s, c, status, last, before, old, now)
	w.audited(s)
	w.cleanUp(s)
	w.silent(append(w.target.secrets(old), w.target.secrets(now)...))
}

// check holds the world against the invariants.
func (w *world) check(s *server, c scenario, status int, last map[string]any, before string, old, now map[string]string) {
	t := w.t
	got, linker := s.call("GET", w.linker, own, nil)
	marked := w.target.marked()
	state, kind := last["state"], last["kind"]
	of, _ := last["connection"].(string)
	accepted := kind == c.op.name && strings.EqualFold(of, w.linker)
	if !accepted && status/100 == 2 {
		t.Errorf("the operation was answered %d and is not on record", status)
	}
	succeeded := accepted && state == "done"
	switch {
	case succeeded && c.op.name == "delete", !succeeded && !c.op.exists:
		if got != 404 {
			t.Errorf("I9: GET = %d, and there should be no connection", got)
		}
		if len(marked) > 0 {
			t.Errorf("I1: there is no connection, and there are %v", marked)
		}
		if err := w.source.untouched(); err != nil {
			t.Errorf("I3: %v", err)
		}
		if w.local && len(now) > 0 {
			t.Errorf("I9: there is no connection, and %d settings of it are answered", len(now))
		}
		if g, ok := w.target.(guarded); ok {
			g.opened(w.linker, nil, "")
		}
	default:
		properties, _ := linker["properties"].(map[string]any)
		if got != 200 || properties["provisioningState"] != "Succeeded" {
			t.Errorf("I9: GET = %d %v", got, linker)
			return
		}
		access := "writer"
		if succeeded {
			access = c.op.access
		} else if content := w.source.content(); content != before {
			t.Errorf("I3: the operation did not succeed, and the source changed from\n%s\nto\n%s", before, content)
		} else if !maps.Equal(now, old) {
			t.Error("I3: the operation did not succeed, and the settings changed")
		}
		who, err := w.target.signsIn(now)
		if err != nil {
			t.Errorf("I2: what the source holds does not sign in: %v", err)
			return
		}
		var made []string
		if w.target.administered() {
			made = []string{who}
		}
		if !slices.Equal(marked, made) {
			t.Errorf("I1, I4: the source signs in as %s, and there are %v", who, marked)
		}
		if err := w.target.exact(now, access); err != nil {
			t.Errorf("I8: %s access: %v", access, err)
		}
		if g, ok := w.target.(guarded); ok {
			g.opened(w.linker, now, access)
		}
		if succeeded && c.op.exists && w.target.administered() {
			if _, err := w.target.signsIn(old); err == nil {
				t.Error("the old login still signs in")
			}
		}
		if err := w.source.kept(); err != nil {
			t.Errorf("I10: %v", err)
		}
	}
	if _, list := s.call("GET", "/providers/Patchbay.Connector/leftovers", own, nil); list != nil {
		if left, _ := list["value"].([]any); len(left) > 0 {
			t.Errorf("leftovers: %v", left)
		}
	}
	if err := w.target.untouched(); err != nil {
		t.Errorf("I10: %v", err)
	}
	if err := w.source.beside(); err != nil {
		t.Errorf("I7: %v", err)
	}
}

// silent looks for secrets in everything that the program wrote.
func (w *world) silent(secrets []string) {
	w.t.Helper()
	err := filepath.WalkDir(w.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || w.source.holds(path) {
			return err
		}
		data, err := os.ReadFile(path)
		for _, secret := range secrets {
			if secret != "" && bytes.Contains(data, []byte(secret)) {
				w.t.Errorf("I7: %s holds a secret", filepath.Base(path))
			}
		}
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
}
