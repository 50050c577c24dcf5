package connector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/sources/envfile"
	"patchbay.dev/patchbay/store/storetest"
)

// Connections come, change and go on one settings file, in any order, while a
// person edits it. The specification, looked at after every step:
//
//   - A person's lines stay as they are, where they are. A connection that is
//     written may replace one of a name that it has; nothing else may.
//   - Every other line is that of a live connection: its mark, or a setting that
//     it has on record. No old credential is left of anybody.
//   - Whoever reads the file gets what the connection that was written has, and
//     of all others what they got before.
//   - An operation that is undone leaves the bytes as they were.
//   - When all are deleted, the person's lines are the file; and when nobody but
//     us wrote, it is byte for byte what it was, or not there if it was not.
func TestConnectionsLeaveNothingAndTakeNothing(t *testing.T) {
	m := newModel(t)
	// What was found from outside: c1 took names that c2 had freed, and its
	// delete went back to before c1, when c2 was there.
	m.holds([]act{{doPut, 1, 1, 0}, {doPut, 0, 0, 0}, {doDelete, 1, 0, 0}, {doPut, 0, 1, 0}, {doDelete, 0, 0, 0}}, 0)
	// The same with a line that a person had removed meanwhile.
	m.holds([]act{{doAdd, 0, 0, 1}, {doPut, 0, 0, 0}, {doRemove, 0, 0, 0}, {doPut, 0, 1, 0}, {doDelete, 0, 0, 0}}, 0)
	sequences := 2000
	if testing.Short() {
		sequences = 200
	}
	const batch = 50 // the records of a world that is old are slow
	for range sequences / batch {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			m, random := newModel(t), rand.New(rand.NewPCG(seed, 0))
			for n := range batch {
				acts := make([]act, 4+random.IntN(12))
				for i := range acts {
					acts[i] = act{deed(random.IntN(int(deeds))), random.IntN(3), random.IntN(20), random.IntN(20)}
				}
				if n%4 == 0 { // nobody but us
					acts = slices.DeleteFunc(acts, func(a act) bool { return a.deed >= doEdit })
				}
				if !m.holds(acts, random.IntN(len(begins)*len(dialects))) {
					return
				}
			}
		})
	}
}

// act is one thing that happens. What its numbers name depends on what is there
// by then, so a sequence from which some are left out is one, too.
type act struct {
	deed
	who, a, b int
}

type deed int

const (
	doPut deed = iota
	doPutMore
	doFail
	doRotate
	doDelete
	doFix
	doEdit // from here on, a person
	doRemove
	doAdd
	doMove
	doCopy
	deeds
)

var deedNames = []string{"put", "put", "put that fails", "rotate", "delete", "fix", "edit", "remove", "add", "move", "copy"}

func (a act) String() string { return fmt.Sprintf("%s{%d %d %d}", deedNames[a.deed], a.who, a.a, a.b) }

// model is the world with a real settings file for every sequence.
type model struct {
	*world
	trouble *trouble
	dir     string
	runs    int
}

func newModel(t *testing.T) *model {
	t.Helper()
	m := &model{dir: fastDir(t), trouble: &trouble{}}
	m.world = newWorldOver(t, Limits{}, storetest.NewMemory(), func(ctx context.Context, c driver.Config) (driver.Source, error) {
		source, err := envfile.Driver().Open(ctx, c)
		if err != nil {
			return nil, err
		}
		return troubled{source, source.(driver.Vantage), m.trouble}, nil
	})
	return m
}

// fastDir is a directory in memory, where there is one: the file is written some
// ten thousand times, each time to the disk.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "patchbay-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// holds reports whether the specification does for a sequence; if not, the test
// fails with the shortest that was found by leaving things out.
func (m *model) holds(acts []act, begin int) bool {
	m.t.Helper()
	if acts, err := shortest(acts, func(acts []act) error { return m.run(acts, begin) }); err != nil {
		m.t.Errorf("%v: %v", acts, err)
		return false
	}
	return true
}

// shortest tries a sequence, and gives what is wrong with it, with the shortest that was
// found by leaving things out.
func shortest[T any](acts []T, run func([]T) error) ([]T, error) {
	err := run(acts)
	if err == nil {
		return acts, nil
	}
	for size := max(len(acts)/2, 1); size > 0; size /= 2 {
		for i := 0; i+size <= len(acts); {
			fewer := slices.Concat(acts[:i], acts[i+size:])
			if again := run(fewer); again != nil {
				acts, err = fewer, again
			} else {
				i++
			}
		}
	}
	return acts, err
}

// begins are files as they may be before the first connection; nil is none.
var begins = []*string{
	text(""), nil, text(byteOrderMark + "U1=theirs-1\nTHEIRS='theirs-0'\n"), text("# theirs\nTHEIRS='theirs-0'\n\nexport U1=theirs-1 # yes\n"), text("U1=theirs-1\nTHEIRS='theirs-0'"), text("U1=theirs-1\r\n# theirs\r\nTHEIRS='theirs-0'\r\n"), text("U1=theirs-1\r\nU2=theirs-2"),
}

func text(s string) *string { return &s }

const byteOrderMark = "\uFEFF"

// dialects are how the file is read.
var dialects = []string{"dotenv", "docker", "systemd"}

// names are those of the connections.
var names = []string{"c0", "c-1", "c.2"}

// place is one settings file with its connections.
type place struct {
	*model
	source patchbay.ID
	path   string
	// dialect is what the file is read by. A person's lines say the same in all of
	// them: what only one knows is not written.
	dialect string
	root    string
	theirs  []string // a person's lines, in order
	clean   bool     // no person wrote
	n       int      // counts what a person wrote
}

func (m *model) run(acts []act, begin int) error {
	m.runs++
	dir := filepath.Join(m.dir, fmt.Sprint(m.runs))
	p := &place{
		model: m, path: filepath.Join(dir, "e[n].v+$"), dialect: dialects[begin/len(begins)%len(dialects)], root: filepath.Join(dir, "bindings"), clean: true,
		source: m.group.Child("providers/Microsoft.Web/sites", fmt.Sprintf("web%d", m.runs)),
	}
	if err := os.MkdirAll(p.root, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	start := begins[begin%len(begins)]
	if start != nil && p.dialect != "dotenv" {
		start = text(strings.ReplaceAll(*start, "export ", ""))
	}
	if start != nil && p.dialect == "systemd" {
		start = text(strings.TrimPrefix(*start, byteOrderMark))
	}
	if start != nil {
		if err := os.WriteFile(p.path, []byte(*start), 0o600); err != nil {
			return err
		}
		p.theirs = p.lines()
	}
	m.register(patchbay.Resource{ID: p.source, Endpoint: p.path, Properties: []byte(`{"bindingRoot":"` + p.root + `","dialect":"` + p.dialect + `"}`)}, nil)
	for i, a := range acts {
		if err := p.do(a); err != nil {
			return fmt.Errorf("%s, %v (%d): %w\nand is\n%s", p.dialect, a, i, err, p.read())
		}
	}
	for who := range 3 {
		if err := p.do(act{deed: doDelete, who: who}); err != nil {
			return fmt.Errorf("the delete of c%d at the end: %w\nand is\n%s", who, err, p.read())
		}
	}
	if left, err := os.ReadDir(p.root); err != nil || len(left) > 0 {
		return fmt.Errorf("left below the binding root: %v, %w", left, err)
	}
	if _, err := os.Stat(p.path); p.clean && start == nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the file was not there before")
	}
	if p.clean && start != nil && p.read() != *start {
		return fmt.Errorf("the file is %q, was %q", p.read(), *start)
	}
	if !slices.Equal(p.lines(), p.theirs) {
		return fmt.Errorf("the file is %q, a person's lines are %q", p.lines(), p.theirs)
	}
	return nil
}

func (p *place) read() string {
	b, err := os.ReadFile(p.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.t.Error(err)
	}
	return string(b)
}

// lines are the lines without their ends.
func (p *place) lines() []string {
	var lines []string
	for line := range strings.Lines(strings.TrimPrefix(p.read(), byteOrderMark)) {
		lines = append(lines, strings.TrimRight(line, "\r\n"))
	}
	return lines
}

var assignments = regexp.MustCompile(`^(?:export )?([A-Za-z_]\w*)=(.*)$`)

// quotes are those around a value; none of the values here has an escape.
var quotes = regexp.MustCompile(`^(?:'(.*)'|"(.*)")$`)

// name is what a line assigns, "" for nothing.
func name(line string) string {
	if m := assignments.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}

// effective is what a reader gets: the last line of each name.
func (p *place) effective() map[string]string {
	values := map[string]string{}
	for _, line := range p.lines() {
		if name := name(line); name != "" {
			values[name] = assignments.FindStringSubmatch(line)[2]
			if p.dialect != "docker" { // there quotes are like any other character
				values[name] = quotes.ReplaceAllString(values[name], "$1$2")
			}
		}
	}
	return values
}

// isTheirs reports whether a person wrote the line.
func isTheirs(line string) bool { return line == "" || strings.Contains(line, "theirs") }

// blocks are the lines of each mark's block, by the index of the mark.
func blocks(lines []string) map[int]int {
	ends := map[int]int{}
	for i, line := range lines {
		_, names, ok := strings.Cut(line, "do not edit by hand:")
		if !ok {
			continue
		}
		end := i + 1
		for end < len(lines) && slices.Contains(strings.Fields(names), name(lines[end])) && name(lines[end]) != "" {
			end++
		}
		ends[i] = end
	}
	return ends
}

func (p *place) connection(who int) (patchbay.Connection, bool) {
	c, err := p.Get(p.t.Context(), p.source.Linker(names[who]))
	return c, err == nil
}

func (p *place) spec(variant int) patchbay.Spec {
	spec := p.world.spec()
	custom := func(from, to string) {
		spec.Configuration = &patchbay.ConfigurationInfo{CustomizedKeys: map[string]string{from: to}}
	}
	switch variant % 10 {
	case 1:
		spec.Client = "nodejs"
	case 2:
		spec.Client = "django"
	case 3:
		spec.Naming = patchbay.NamingNative
	case 4:
		spec.Naming = patchbay.NamingServiceBinding
	case 5:
		custom(key, "DB_URL")
	case 6:
		spec.Client = "nodejs"
		custom("AZURE_POSTGRESQL_HOST", "U1")
	case 7:
		spec.Configuration = &patchbay.ConfigurationInfo{Additional: map[string]string{"EXTRA": "more", "U2": "mine"}}
	case 8:
		spec.Configuration = &patchbay.ConfigurationInfo{Action: patchbay.OptOut}
	case 9:
		spec.Access = patchbay.Reader
	}
	return spec
}

func (p *place) do(a act) error {
	if a.deed >= doEdit {
		p.person(a)
		return nil
	}
	old, there := p.connection(a.who)
	id := p.source.Linker(names[a.who])
	before, effective, theirs, edits := p.read(), p.effective(), p.theirs, p.n
	var op patchbay.Operation
	switch {
	case a.deed == doPut || a.deed == doPutMore || a.deed == doFail:
		if a.deed == doFail {
			p.trouble.next = func() {
				if a.b%2 == 0 { // with a person who edits right before it fails
					p.person(act{doEdit + deed(a.a)%(deeds-doEdit), 0, a.b, a.a})
				}
			}
		}
		op = p.end(p.Put(p.t.Context(), PutRequest{ID: id, Spec: p.spec(a.a), Caller: p.caller}))
		p.trouble.next = nil
	case !there:
		return nil
	case a.deed == doRotate:
		op = p.end(p.Rotate(p.t.Context(), RotateRequest{ID: id, Caller: p.caller}))
	case a.deed == doFix:
		op = p.end(p.Validate(p.t.Context(), ValidateRequest{ID: id, Caller: p.caller, Fix: true}))
	case a.deed == doDelete:
		op = p.end(p.Delete(p.t.Context(), id, p.caller, ""))
	}
	var err error
	switch now, _ := p.connection(a.who); {
	case op.State == patchbay.Done:
		err = errors.Join(p.undisturbed(now.Keys, nil), p.owners(), p.readers(old, now, effective))
	case p.n > edits:
		err = errors.Join(p.undisturbed(nil, theirs), p.owners())
	case p.read() != before:
		err = fmt.Errorf("the %s is %s, and the file is not the same", op.Kind, op.State)
	}
	if err != nil {
		return fmt.Errorf("%w; the file was\n%s", err, before)
	}
	return nil
}

// undisturbed says which line of a person is not where and as it was. A line of
// those names, which a connection has, may be written over, and one of those
// that had been is put back.
func (p *place) undisturbed(names, back []string) error {
	theirs := slices.DeleteFunc(p.lines(), func(line string) bool { return !isTheirs(line) })
	kept := slices.DeleteFunc(slices.Clone(theirs), func(line string) bool { return slices.Contains(back, line) && !slices.Contains(p.theirs, line) })
	for _, line := range p.theirs {
		switch {
		case len(kept) > 0 && kept[0] == line:
			kept = kept[1:]
		case !slices.Contains(names, name(line)):
			return fmt.Errorf("a person's line %q is gone", line)
		}
	}
	if len(kept) > 0 {
		return fmt.Errorf("a person's line %q came back", kept[0])
	}
	p.theirs = theirs
	return nil
}

// readers says what readers get that they should not, after an operation that
// made now of old.
func (p *place) readers(old, now patchbay.Connection, before map[string]string) error {
	if now.ID != "" {
		settings, err := p.Configurations(p.t.Context(), now.ID, p.caller)
		if err != nil {
			return err
		}
		values := p.effective()
		for _, s := range settings {
			if !s.File && values[s.Name] != s.Value.Reveal() {
				return fmt.Errorf("a reader gets %s=%s", s.Name, values[s.Name])
			}
		}
	}
	for who := range 3 {
		c, ok := p.connection(who)
		if !ok || c.UID == old.UID || c.UID == now.UID {
			continue
		}
		values := p.effective()
		for _, key := range c.Keys {
			if values[key] != before[key] {
				return fmt.Errorf("%s of %s changed", key, c.Name)
			}
		}
	}
	return nil
}

var loginNames = regexp.MustCompile(`pb_[a-z0-9]+_g\d+`)

// owners says which line is nobody's.
func (p *place) owners() error {
	var keys, logins, marks []string
	for who := range 3 {
		if c, ok := p.connection(who); ok {
			keys, logins, marks = append(keys, c.Keys...), append(logins, c.Login), append(marks, c.UID)
		}
	}
	for _, line := range p.lines() {
		switch {
		case isTheirs(line):
		case strings.HasPrefix(line, "# patchbay: "):
			if !slices.ContainsFunc(marks, func(uid string) bool { return strings.Contains(line, "("+uid+",") }) {
				return fmt.Errorf("nobody's mark: %s", line)
			}
		case !slices.Contains(keys, name(line)):
			return fmt.Errorf("nobody's line: %s", line)
		}
		for _, login := range loginNames.FindAllString(line, -1) {
			if !slices.Contains(logins, login) {
				return fmt.Errorf("an old credential: %s", line)
			}
		}
	}
	return nil
}

// ambiguous reports whether it is anybody's guess whose a line is: one behind a
// mark that lists its name, when that mark has a copy, or when the same name
// comes once more below.
func ambiguous(lines []string) bool {
	uid := regexp.MustCompile(`\((\w+),`)
	for at, line := range lines {
		_, names, ok := strings.Cut(line, "do not edit by hand:")
		if !ok {
			continue
		}
		copied := slices.ContainsFunc(lines[at+1:], func(other string) bool {
			return strings.HasPrefix(other, "# patchbay: ") && uid.FindString(other) == uid.FindString(line)
		})
		for i, line := range lines {
			below := slices.ContainsFunc(lines[i+1:], func(other string) bool { return name(other) == name(line) })
			if isTheirs(line) && name(line) != "" && slices.Contains(strings.Fields(names), name(line)) && (copied || i > at && below) {
				return true
			}
		}
	}
	return false
}

// person edits the file, unless that would make something ambiguous.
func (p *place) person(a act) {
	lines := p.lines()
	end := "\n"
	if strings.Contains(p.read(), "\r\n") {
		end = "\r\n"
	}
	at := func(n int) int { return n % max(len(lines), 1) }
	p.n++
	switch {
	case a.deed == doAdd:
		name := fmt.Sprintf("U%d", p.n)
		if all := slices.Sorted(maps.Keys(p.effective())); a.b%3 == 0 && len(all) > 0 {
			name = all[a.b%len(all)] // one that is there: from now on another
		} else if a.b%3 == 1 {
			name = "AZURE_POSTGRESQL_HOST" // one that some connection may come to want
		}
		lines = slices.Insert(lines, a.a%(len(lines)+1), fmt.Sprintf("%s='theirs-add-%d'", name, p.n))
	case len(lines) == 0:
		return
	case a.deed == doEdit:
		name := name(lines[at(a.a)])
		if name == "" {
			return
		}
		lines[at(a.a)] = fmt.Sprintf("%s='theirs-edit-%d'", name, p.n)
	case a.deed == doRemove:
		lines = slices.Delete(lines, at(a.a), at(a.a)+1)
	case a.deed == doMove:
		line := lines[at(a.a)]
		lines = slices.Delete(lines, at(a.a), at(a.a)+1)
		lines = slices.Insert(lines, a.b%(len(lines)+1), line)
	case a.deed == doCopy:
		all := blocks(lines)
		if len(all) == 0 {
			return
		}
		from := slices.Sorted(maps.Keys(all))[a.a%len(all)]
		lines = slices.Insert(lines, a.b%(len(lines)+1), lines[from:all[from]]...)
	}
	if ambiguous(lines) {
		return
	}
	p.clean = false
	text := strings.Join(lines, end)
	if len(lines) > 0 {
		text += end
	}
	if strings.HasPrefix(p.read(), byteOrderMark) {
		text = byteOrderMark + text
	}
	if err := os.WriteFile(p.path, []byte(text), 0o600); err != nil {
		p.t.Error(err)
	}
	p.theirs = slices.DeleteFunc(lines, func(line string) bool { return !isTheirs(line) })
}

// trouble is that an application does not restart, the next time.
type trouble struct{ next func() }

type troubled struct {
	driver.Source
	driver.Vantage
	*trouble
}

func (s troubled) Restart(context.Context) error {
	if next := s.next; next != nil {
		s.next = nil
		next()
		return patchbay.Errorf(patchbay.RestartFailed, "it does not come up")
	}
	return nil
}
