package envfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// opened is a source for a path, with properties as JSON.
func opened(t testing.TB, path, properties string) driver.Source {
	t.Helper()
	return openedOn(t, hosts.NewLocal(hosts.DialRules{}), path, properties)
}

func openedOn(t testing.TB, host hosts.Host, path, properties string) driver.Source {
	t.Helper()
	s, err := Driver().Open(t.Context(), driver.Config{Host: host, ID: testID, Endpoint: path, Properties: json.RawMessage(properties)})
	must(t, err)
	return s
}

// connect is the change of a connection of that name; its uid is its name.
func connect(name string, generation int64, settings ...string) driver.Change {
	c := driver.Change{Name: name, Mark: driver.Mark{UID: name, Generation: generation, Connection: testID.Linker(name)}}
	for i := 0; i < len(settings); i += 2 {
		c.Set = append(c.Set, patchbay.Setting{Name: settings[i], Value: patchbay.NewSecret(settings[i+1])})
	}
	return c
}

func version(t testing.TB, s driver.Source) string {
	t.Helper()
	snapshot, err := s.ReadSettings(t.Context())
	must(t, err)
	return snapshot.Version
}

func written(t testing.TB, s driver.Source, c driver.Change) {
	t.Helper()
	_, err := s.WriteSettings(t.Context(), c, version(t, s))
	must(t, err)
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func code(t *testing.T, err error, want patchbay.Code, what string) {
	t.Helper()
	if patchbay.CodeOf(err) != want {
		t.Errorf("%s = %v, want %s", what, err, want)
	}
}

func TestPropertiesAreStrict(t *testing.T) {
	good := []string{
		``, `{}`, `{"dialect":"docker"}`, `{"dialect":"systemd","mode":"0640"}`, `{"bindingRoot":"/b"}`, `{"bindingRoot":"/b","bindingMount":"/run/b"}`,
		`{"egress":["10.0.0.1/32","fd00::/64"]}`, `{"reload":{"command":["true"]}}`, `{"reload":{"pidFile":"/p"}}`, `{"reload":{"pidFile":"/p","signal":"USR1"}}`, `{"wait":{"limit":"2m","steady":"0s"},"host":""}`,
	}
	bad := []string{
		`[]`, `{"dialekt":"dotenv"}`, `{"dialect":"toml"}`, `{} {}`, `{"mode":"0100"}`, `{"mode":"9"}`, `{"mode":"07777"}`, `{"mode":640}`,
		`{"bindingRoot":"b"}`, `{"bindingRoot":"/b/../c"}`, `{"bindingRoot":"/"}`, `{"bindingMount":"/run/b"}`, `{"bindingRoot":"/b","bindingMount":"b"}`, `{"egress":["10.0.0.1"]}`, `{"egress":["10.0.0.1/24"]}`, `{"egress":"10.0.0.0/8"}`,
		`{"reload":{}}`, `{"reload":{"command":[]}}`, `{"reload":{"command":[""]}}`, `{"reload":{"command":"true"}}`, `{"reload":{"command":["true"],"pidFile":"/p"}}`,
		`{"reload":{"command":["true"],"signal":"HUP"}}`, `{"reload":{"pidFile":"p"}}`, `{"reload":{"pidFile":"/p","signal":"KILL"}}`, `{"reload":{"signal":"HUP"}}`,
		`{"reload":{"command":["true","\u0000"]}}`, `{"wait":{"limit":"1h"}}`, `{"wait":{"steady":"soon"}}`,
	}
	open := func(endpoint, properties string) error {
		_, err := Driver().Open(t.Context(), driver.Config{Host: hosts.NewLocal(hosts.DialRules{}), ID: testID, Endpoint: endpoint, Properties: json.RawMessage(properties)})
		return err
	}
	for _, p := range good {
		if err := open("/srv/.env", p); err != nil {
			t.Errorf("Open with %s: %v", p, err)
		}
	}
	for _, p := range bad {
		code(t, open("/srv/.env", p), patchbay.InvalidArgument, "Open with "+p)
	}
	for _, path := range []string{"", "env", "./env", "/", "/a/../b", "/a//b", "/a/", "/a\nb", "/a\x00b"} {
		code(t, open(path, ""), patchbay.InvalidArgument, "Open of "+path)
	}
	_, err := Driver().Open(t.Context(), driver.Config{ID: testID, Endpoint: "/e", Admin: driver.Secrets{"password": patchbay.NewSecret("x")}})
	code(t, err, patchbay.InvalidArgument, "Open with an admin credential")
}

func TestFilesLookLikeThis(t *testing.T) {
	tests := []struct{ dialect, before, after string }{
		{"dotenv", "# mine\nexport PGUSER=old # who\nDEBUG=1", `# mine
export PGUSER='app' # who
DEBUG=1
# patchbay: my%20web/orders (orders, generation 3, after an added LF), do not edit by hand: PGHOST PGUSER PGPASSWORD
PGHOST='10.0.0.5'
PGPASSWORD="it's #1"
`},
		{"docker", "PGUSER=old\nPGUSER=older\n", `PGUSER=old
PGUSER=app
# patchbay: my%20web/orders (orders, generation 3), do not edit by hand: PGHOST PGUSER PGPASSWORD
PGHOST=10.0.0.5
PGPASSWORD=it's #1
`},
		{"systemd", "PGUSER=o\\\nld\n", `PGUSER="app"
# patchbay: my%20web/orders (orders, generation 3), do not edit by hand: PGHOST PGUSER PGPASSWORD
PGHOST="10.0.0.5"
PGPASSWORD="it's #1"
`},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "env")
		must(t, os.WriteFile(path, []byte(tt.before), 0o600))
		written(t, opened(t, path, `{"dialect":"`+tt.dialect+`"}`), connect("orders", 3, "PGHOST", "10.0.0.5", "PGUSER", "app", "PGPASSWORD", "it's #1"))
		if got := content(t, path); got != tt.after {
			t.Errorf("%s:\n%s\nwant\n%s", tt.dialect, got, tt.after)
		}
	}
}

// TestADeleteTakesAllOfItsOwn: whatever merges and editors made of the file.
func TestADeleteTakesAllOfItsOwn(t *testing.T) {
	mark := func(name string, names ...string) string {
		var settings []string
		for _, name := range names {
			settings = append(settings, name, "")
		}
		return newMark("my web", connect(name, 2, settings...)).line() + "\n"
	}
	had := connect("orders", 2, "HOST", "h", "PASSWORD", "new")
	for name, tt := range map[string]struct{ before, after string }{
		"a block that is there twice, the older one below": {
			mark("orders", "HOST", "PASSWORD") + "HOST=h\nPASSWORD=new\nTHEIRS=1\n" + mark("orders", "HOST", "PASSWORD") + "HOST=h\nPASSWORD=old\n",
			"THEIRS=1\n",
		},
		"two marks on end": {
			mark("orders", "HOST", "PASSWORD") + mark("orders", "URL") + "URL=old\nHOST=h\nPASSWORD=new\n", "",
		},
		"two lines of one name behind a mark": {
			mark("orders", "HOST", "PASSWORD") + "HOST=h\nPASSWORD=old\nPASSWORD=new\n", "",
		},
		"a line that was moved, and one that was copied": {
			"PASSWORD=new\n# theirs\n" + mark("orders", "HOST", "PASSWORD") + "HOST=h\nTHEIRS=1\nPASSWORD='new'\n",
			"# theirs\nTHEIRS=1\n",
		},
		"a value that somebody changed": {
			mark("orders", "HOST", "PASSWORD") + "HOST=elsewhere # for now\nPASSWORD=new\n", "HOST=elsewhere # for now\n",
		},
		"an old copy of the file": {
			strings.Replace(mark("orders", "HOST", "PASSWORD"), "generation 2", "generation 1", 1) + "HOST=h\nPASSWORD=old\nPASSWORD=theirs\n", "PASSWORD=theirs\n",
		},
		"a value that somebody set below": {
			mark("orders", "HOST", "PASSWORD") + "HOST=h\nPASSWORD=new\nHOST=elsewhere\n", "HOST=elsewhere\n",
		},
		"a mark that somebody removed": {"HOST=h\nTHEIRS=1\nPASSWORD=new\n", "THEIRS=1\n"},
		"lines that somebody removed":  {mark("orders", "HOST", "PASSWORD") + "THEIRS=1\n", "THEIRS=1\n"},
		"what another connection has":  {mark("events", "HOST") + "HOST=h\n" + mark("orders", "PASSWORD") + "PASSWORD=new\n", mark("events", "HOST") + "HOST=h\n"},
		"a setting that was dropped":   {mark("orders", "URL", "PASSWORD") + "URL=old\nPASSWORD=new\n", ""},
		"marks together, and settings together below": {
			mark("orders", "HOST", "PASSWORD") + mark("orders", "HOST", "PASSWORD") + "HOST=h\nPASSWORD=new\nPASSWORD=old\nTHEIRS=1\n", "THEIRS=1\n",
		},
		"more often than there are marks": {
			mark("orders", "HOST", "PASSWORD") + mark("orders", "HOST", "PASSWORD") + "HOST=h\nPASSWORD=new\nPASSWORD=old\nPASSWORD=theirs\n", "PASSWORD=theirs\n",
		},
		"a conflict within": {
			"A=1\n<<<<<<< HEAD\n" + mark("orders", "HOST", "PASSWORD") + "=======\n" + mark("orders", "PASSWORD") + ">>>>>>> web\nHOST=h\n<<<<<<< HEAD\nPASSWORD=new\n=======\nPASSWORD=old\n>>>>>>> web\nB=2\n",
			"A=1\nB=2\n",
		},
		"a conflict with somebody's lines": {
			"<<<<<<< HEAD\n" + mark("orders", "PASSWORD") + "PASSWORD=new\n=======\n" + mark("orders", "PASSWORD") + "PASSWORD=old\nTHEIRS=1\n>>>>>>> web\n",
			"<<<<<<< HEAD\n=======\nTHEIRS=1\n>>>>>>> web\n",
		},
		"a copy that is cut by empty lines and a comment": {
			mark("orders", "HOST", "PASSWORD") + "HOST=h\nPASSWORD=new\n" + mark("orders", "HOST", "PASSWORD") + "HOST=h\n\n# why\n\nPASSWORD=old\n", "\n# why\n\n",
		},
		"moved to the right, and back": {
			"  " + mark("orders", "HOST", "PASSWORD") + "  HOST=h\n\tPASSWORD=new\n  " + mark("orders", "PASSWORD") + "  PASSWORD=old\n", "",
		},
		"with other line ends": {
			"A=1\r\n" + strings.ReplaceAll(mark("orders", "HOST", "PASSWORD")+"HOST=h\nPASSWORD=new\n"+mark("orders", "PASSWORD")+"PASSWORD=old\n", "\n", "\r\n"), "A=1\r\n",
		},
		"half of a mark": {
			"# patchbay: my%20web/orders (orders, gener\nHOST=h\nPASSWORD=new\n" + mark("orders", "HOST", "PASSWORD") + "HOST=h\nPASSWORD=old\n", "",
		},
		"the end of a block":            {"PASSWORD=new\nTHEIRS=1\n" + mark("orders", "HOST", "PASSWORD") + "HOST=h\n", "THEIRS=1\n"},
		"lines made comments":           {mark("orders", "HOST", "PASSWORD") + "HOST=h\n#PASSWORD=new\nTHEIRS=1\n# PASSWORD='new'\n# PASSWORD=theirs\n", "THEIRS=1\n# PASSWORD=theirs\n"},
		"somebody's lines in the midst": {mark("orders", "HOST", "PASSWORD") + "HOST=h\n# why\nexport A=1\nPASSWORD=new\n", "# why\nexport A=1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "env")
			must(t, os.WriteFile(path, []byte(tt.before), 0o600))
			s := opened(t, path, "")
			for range 2 {
				written(t, s, driver.Change{Mark: had.Mark, Name: had.Name, Had: had.Set})
				if got := content(t, path); got != tt.after {
					t.Errorf("the file holds\n%s\nwant\n%s", got, tt.after)
				}
			}
		})
	}
}

// TestAMergeLeavesNoPassword: two branches of the file's repository in which the
// connection was rotated are merged by git, in each way that it has.
func TestAMergeLeavesNoPassword(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	for dialect := range dialects {
		for _, way := range []string{"--union", "--diff3", "--ours", "-q"} {
			for generation := 2; generation <= 3; generation++ { // which of them the record has
				t.Run(fmt.Sprintf("%s %s %d", dialect, way, generation), func(t *testing.T) {
					dir := t.TempDir()
					s := opened(t, filepath.Join(dir, "env"), `{"dialect":"`+dialect+`"}`)
					file := func(n int) string { return filepath.Join(dir, strconv.Itoa(n)) }
					change := func(n int) driver.Change {
						p := "canary-" + strconv.Itoa(n)
						return connect("orders", int64(n), "HOST", "h", "PORT", "1", "PASSWORD", p, "URL", "pg://"+p+"@h")
					}
					must(t, os.WriteFile(filepath.Join(dir, "env"), []byte("THEIRS=1\n"), 0o600))
					written(t, s, change(1))
					one := content(t, filepath.Join(dir, "env"))
					must(t, os.WriteFile(file(1), []byte(one+"LAST=1\n"), 0o600))
					for n := 2; n <= 3; n++ {
						must(t, os.WriteFile(filepath.Join(dir, "env"), []byte(one), 0o600))
						c := change(n)
						c.Had = change(1).Set
						written(t, s, c)
						must(t, os.WriteFile(file(n), []byte(content(t, filepath.Join(dir, "env"))+"LAST=1\n"), 0o600))
					}
					merged, err := exec.Command("git", "merge-file", "-p", way, file(2), file(1), file(3)).Output()
					if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
						t.Fatal(err)
					}
					c := change(generation)
					for what, after := range map[string]driver.Change{
						"a delete":   {Mark: c.Mark, Name: c.Name, Had: c.Set},
						"a rotation": {Mark: driver.Mark{UID: c.Mark.UID, Generation: 4}, Name: c.Name, Set: connect("orders", 4, "HOST", "h", "PORT", "1", "PASSWORD", "four", "URL", "pg://four@h").Set, Had: c.Set},
					} {
						must(t, os.WriteFile(filepath.Join(dir, "env"), merged, 0o600))
						before, err := s.ReadSettings(t.Context())
						must(t, err)
						written(t, s, after)
						now := content(t, filepath.Join(dir, "env"))
						if strings.Contains(now, "canary") || !strings.HasPrefix(now, "THEIRS=1\n") || !strings.Contains(now, "LAST=1\n") || len(after.Set) == 0 && now != "THEIRS=1\nLAST=1\n" {
							t.Errorf("%s of\n%s\nleaves\n%s", what, merged, now)
						}
						must(t, s.RestoreSettings(t.Context(), after, before))
						if now := content(t, filepath.Join(dir, "env")); now != string(merged) {
							t.Errorf("its undo leaves\n%s\nof\n%s", now, merged)
						}
					}
				})
			}
		}
	}
}

// TestACopyOfABindingGoesToo: one that somebody made, and one that was renamed.
func TestACopyOfABindingGoesToo(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "bindings")
	must(t, os.Mkdir(root, 0o700))
	s := opened(t, filepath.Join(dir, "env"), `{"bindingRoot":"`+root+`"}`)
	file := func(n int64, password string) driver.Change {
		c := connect("orders", n, "password", password)
		c.Set[0].File = true
		return c
	}
	one, two := file(1, "canary-1"), file(2, "canary-2")
	two.Had = one.Set
	written(t, s, one)
	copied := func(to string) {
		t.Helper()
		if out, err := exec.Command("cp", "-a", filepath.Join(root, "orders"), filepath.Join(root, to)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	left := func(what string, want ...string) {
		t.Helper()
		var names []string
		entries, err := os.ReadDir(root)
		must(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if !slices.Equal(names, want) {
			t.Errorf("after %s there are %q, want %q", what, names, want)
		}
	}
	copied("copy")
	before, err := s.ReadSettings(t.Context())
	must(t, err)
	written(t, s, two)
	left("a rotation", "orders")
	must(t, s.RestoreSettings(t.Context(), two, before))
	left("its undo", "copy", "orders")
	must(t, os.Rename(filepath.Join(root, "orders"), filepath.Join(root, "renamed")))
	written(t, s, driver.Change{Mark: one.Mark, Name: one.Name, Had: one.Set})
	left("a delete")
}

// TestALoginOfOursGoesByItsName: somebody has changed what is beside it.
func TestALoginOfOursGoesByItsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	const uid = "wvuc2jq47uhc"
	c := connect("orders", 2, "URL", "pg://pb_"+uid+"_g2:new@h")
	c.Mark.UID = uid
	must(t, os.WriteFile(path, []byte("URL='pg://pb_"+uid+"_g1:old@h?more=1'\n#URL=pg://pb_"+uid+"_g1:old@h\nOTHER=pb_"+uid+"_g1\nURL=theirs\n"), 0o600))
	written(t, opened(t, path, ""), driver.Change{Mark: c.Mark, Name: c.Name, Had: c.Set})
	if got := content(t, path); got != "OTHER=pb_"+uid+"_g1\nURL=theirs\n" {
		t.Errorf("the file holds\n%s", got)
	}
}

// TestAnUndoAfterAnEditCanBeRepeated: the answer to the first one was lost.
func TestAnUndoAfterAnEditCanBeRepeated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	s := opened(t, path, "")
	first := connect("orders", 1, "HOST", "h", "PASSWORD", "old", "URL", "u")
	written(t, s, first)
	before, err := s.ReadSettings(t.Context())
	must(t, err)
	next := connect("orders", 2, "HOST", "h", "PASSWORD", "new")
	next.Had = first.Set
	written(t, s, next)
	must(t, os.WriteFile(path, []byte(content(t, path)+"THEIRS=1\n"), 0o600))
	for range 2 {
		must(t, s.RestoreSettings(t.Context(), next, before))
		want := newMark("my web", first).line()
		want = strings.Replace(want, "generation 1", "generation 1, in a new file", 1) + "\nHOST='h'\nPASSWORD='old'\nURL='u'\nTHEIRS=1\n"
		if got := content(t, path); got != want {
			t.Errorf("the file holds\n%s\nwant\n%s", got, want)
		}
	}
}

func TestMarksAreOnlyWhatTheyAre(t *testing.T) {
	whole := mark{source: "a b/ü", connection: "o'r(d)ers", uid: "u-1.x_y", generation: 7, origin: origin{file: true, lineBreak: "\r\n"}, names: []string{"A", "a,b;c:d", "ü\\"}}
	got, ok := parseMark(whole.line() + "\r\n")
	if !ok || got.line() != whole.line() || got.origin != whole.origin || got.source != whole.source || got.names[2] != whole.names[2] {
		t.Errorf("the mark %q is read as %+v", whole.line(), got)
	}
	for _, text := range []string{
		"# patchbay", "# patchbay: a/b (u, generation 1), do not edit by hand", "x " + whole.line(), whole.line() + " %zz",
		"# patchbay: a/b (U, generation 1), do not edit by hand: A", "# patchbay: a/b (u, generation x), do not edit by hand: A",
		"# patchbay: a/b (u, generation 99999999999999999999), do not edit by hand: A", "PATCHBAY=1",
	} {
		if m, ok := parseMark(text); ok {
			t.Errorf("%q is read as the mark %+v", text, m)
		}
	}
	// A value that looks like one is none.
	path := filepath.Join(t.TempDir(), "env")
	must(t, os.WriteFile(path, []byte("A='\n"+whole.line()+"\n'\n"), 0o600))
	if owned, err := opened(t, path, "").Owned(t.Context()); err != nil || len(owned) != 0 {
		t.Errorf("Owned of a value that looks like a mark = %v, %v", owned, err)
	}
}

func TestWhatIsNoSettingsFileIsRefusedAndLeftAlone(t *testing.T) {
	make := func(s string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(s), 0o600) }
	}
	tests := []struct {
		what  string
		make  func(path string) error
		read  patchbay.Code // of ReadSettings; "" when it can be read
		write patchbay.Code
		says  string
	}{
		{"a directory", func(p string) error { return os.Mkdir(p, 0o700) }, patchbay.SettingsUnreadable, patchbay.SettingsUnreadable, "directory"},
		{"a FIFO", func(p string) error { return syscall.Mkfifo(p, 0o600) }, patchbay.SettingsUnreadable, patchbay.SettingsUnreadable, "FIFO"},
		{"a device", func(p string) error { return os.Symlink("/dev/zero", p) }, patchbay.SettingsUnreadable, patchbay.SettingsUnreadable, "device"},
		{"a socket", func(p string) error {
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer func() { _ = syscall.Close(fd) }()
			return syscall.Bind(fd, &syscall.SockaddrUnix{Name: p})
		}, patchbay.SettingsUnreadable, patchbay.SettingsUnreadable, "socket"},
		{"a link to itself", func(p string) error { return os.Symlink(filepath.Base(p), p) }, patchbay.SettingsUnreadable, patchbay.SettingsUnreadable, "symbolic links"},
		{"not UTF-8", make("A=1\nB=\xff\n"), patchbay.SettingsUnreadable, patchbay.SettingsUnreadable, "line 2 is not UTF-8"},
		{"a NUL", make("A=1\x00\n"), patchbay.SettingsUnreadable, patchbay.SettingsUnreadable, "line 1 has a NUL"},
		{"an open quote", make("A=1\nB=\"x\nC=2\n"), patchbay.SettingsUnreadable, patchbay.SettingsUnreadable, "line 2 opens a quote"},
		{"too large", make(strings.Repeat("#", maxFile+1)), patchbay.SettingsUnreadable, patchbay.SettingsUnreadable, "larger"},
		{"read-only", func(p string) error { return os.WriteFile(p, []byte("A=1\n"), 0o444) }, "", patchbay.SettingsUnwritable, "read-only"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "pb") // short: a socket's name may not be long
			must(t, err)
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			path := filepath.Join(dir, "env")
			must(t, tt.make(path))
			before, err := tree(dir)
			must(t, err)
			s := opened(t, path, "")
			change := connect("orders", 1, "A", "canary")
			snapshot, err := s.ReadSettings(t.Context())
			code(t, err, tt.read, "ReadSettings")
			_, inspect := s.Inspect(t.Context())
			_, write := s.WriteSettings(t.Context(), change, snapshot.Version)
			for what, err := range map[string]error{"Inspect": inspect, "CheckChange": s.CheckChange(t.Context(), change), "WriteSettings": write} {
				code(t, err, tt.write, what)
				if err != nil && !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s: %v does not say %q", what, err, tt.says)
				}
				if e := patchbay.AsError(err); err != nil && (e.Transient || strings.Contains(e.Message+e.Fix, "canary")) {
					t.Errorf("%s: %#v", what, e)
				}
			}
			if after, err := tree(dir); err != nil || after != before {
				t.Errorf("something changed:\n%s\nwant\n%s", after, before)
			}
		})
	}
}

func TestModeOfNewFiles(t *testing.T) {
	for properties, want := range map[string]fs.FileMode{`{}`: 0o600, `{"mode":"0640"}`: 0o640} {
		path := filepath.Join(t.TempDir(), "env")
		s := opened(t, path, properties)
		info, err := s.Inspect(t.Context())
		if err != nil || len(info.Warnings) != 1 {
			t.Errorf("Inspect before there is a file = %+v, %v", info, err)
		}
		written(t, s, connect("orders", 1, "A", "1"))
		if fi, err := os.Stat(path); err != nil || fi.Mode() != want {
			t.Errorf("with %s the file has %v, %v", properties, fi.Mode(), err)
		}
	}
}

// TestWorldReadableFilesAreWarnedOf: it is not for us to change the mode.
func TestWorldReadableFilesAreWarnedOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Chmod(path, 0o644))
	s := opened(t, path, "")
	info, err := s.Inspect(t.Context())
	if err != nil || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "0644") {
		t.Errorf("Inspect = %+v, %v", info, err)
	}
	written(t, s, connect("orders", 1, "A", "1"))
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o644 {
		t.Errorf("the mode is %v, %v", fi.Mode(), err)
	}
}

// meddling is a host on which something happens right before the file is
// replaced.
type meddling struct {
	hosts.Host
	meddle func() error
}

func (m meddling) ReplaceFile(ctx context.Context, r hosts.Replacement) error {
	ready := r.Ready
	r.Ready = func(ctx context.Context) error { return errors.Join(ready(ctx), m.meddle()) }
	return m.Host.ReplaceFile(ctx, r)
}

func TestAnEditRightBeforeTheRenameIsNotLost(t *testing.T) {
	for _, edit := range []string{"A=1\nEDITED=1\n", "", "\x00gone"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "env")
		must(t, os.WriteFile(path, []byte("A=1\n"), 0o600))
		s := openedOn(t, meddling{hosts.NewLocal(hosts.DialRules{}), func() error {
			if edit == "\x00gone" {
				return os.Remove(path)
			}
			return os.WriteFile(path, []byte(edit), 0o600)
		}}, path, "")
		_, err := s.WriteSettings(t.Context(), connect("orders", 1, "B", "2"), version(t, s))
		code(t, err, patchbay.SettingsChanged, "WriteSettings")
		b, err := os.ReadFile(path)
		if edit == "\x00gone" {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file is back: %q, %v", b, err)
			}
		} else if string(b) != edit {
			t.Errorf("the edit %q was lost: %q", edit, b)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) > 1 {
			t.Errorf("left behind: %v, %v", names, err)
		}
	}
	t.Run("a file that appears", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "env")
		s := openedOn(t, meddling{hosts.NewLocal(hosts.DialRules{}), func() error { return os.WriteFile(path, []byte("THEIRS=1\n"), 0o600) }}, path, "")
		_, err := s.WriteSettings(t.Context(), connect("orders", 1, "B", "2"), version(t, s))
		code(t, err, patchbay.SettingsChanged, "WriteSettings")
		if got := content(t, path); got != "THEIRS=1\n" {
			t.Errorf("the file holds %q", got)
		}
	})
}

// TestBindingAndFileAreOneChange: the process dies between the two writes;
// the same write, or its undo, goes on from there.
func TestBindingAndFileAreOneChange(t *testing.T) {
	change := connect("orders", 1, "SERVICE_BINDING_ROOT", "/b", "password", "pw")
	change.Set[1].File = true
	setup := func(t *testing.T) (dir string, s driver.Source, before driver.Snapshot, empty string) {
		dir = t.TempDir()
		path, root := filepath.Join(dir, "env"), filepath.Join(dir, "bindings")
		must(t, os.Mkdir(root, 0o700))
		must(t, os.WriteFile(path, []byte("A=1\n"), 0o600))
		empty, err := tree(dir)
		must(t, err)
		properties := `{"bindingRoot":"` + root + `"}`
		stop := errors.New("stopped")
		broken := openedOn(t, meddling{hosts.NewLocal(hosts.DialRules{}), func() error { return stop }}, path, properties)
		before, err = broken.ReadSettings(t.Context())
		must(t, err)
		if _, err := broken.WriteSettings(t.Context(), change, before.Version); !errors.Is(err, stop) {
			t.Fatalf("WriteSettings = %v", err)
		}
		if content(t, path) != "A=1\n" || content(t, filepath.Join(root, "orders", "password")) != "pw" {
			t.Fatal("the write did not stop between the two")
		}
		return dir, opened(t, path, properties), before, empty
	}
	t.Run("again", func(t *testing.T) {
		_, s, before, _ := setup(t)
		got, err := s.WriteSettings(t.Context(), change, before.Version)
		if err != nil || got != version(t, s) {
			t.Fatalf("the same write again = %q, %v", got, err)
		}
	})
	t.Run("undone", func(t *testing.T) {
		dir, s, before, empty := setup(t)
		must(t, s.RestoreSettings(t.Context(), change, before))
		if now, err := tree(dir); err != nil || now != empty {
			t.Errorf("after RestoreSettings\n%s\nwant\n%s", now, empty)
		}
	})
}

func TestForeignBindingsAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "bindings")
	for _, name := range []string{"orders", "k8s"} {
		must(t, os.MkdirAll(filepath.Join(root, name), 0o700))
	}
	must(t, os.WriteFile(filepath.Join(root, "orders", "password"), []byte("theirs"), 0o600))
	must(t, os.Mkdir(filepath.Join(root, "k8s", "..2026_11_23_16_00_00.123"), 0o700))
	must(t, os.Symlink("..2026_11_23_16_00_00.123", filepath.Join(root, "k8s", "..data")))
	must(t, os.WriteFile(filepath.Join(root, "file"), nil, 0o600))
	before, err := tree(dir)
	must(t, err)
	s := opened(t, filepath.Join(dir, "env"), `{"bindingRoot":"`+root+`"}`)
	for _, name := range []string{"orders", "k8s", "file"} {
		c := connect(name, 1, "password", "canary")
		c.Set[0].File = true
		code(t, s.CheckChange(t.Context(), c), patchbay.NotOurs, "CheckChange of "+name)
		_, err := s.WriteSettings(t.Context(), c, version(t, s))
		code(t, err, patchbay.NotOurs, "WriteSettings of "+name)
		snapshot, err := s.ReadSettings(t.Context())
		must(t, err)
		must(t, s.RestoreSettings(t.Context(), c, snapshot))
	}
	if after, err := tree(dir); err != nil || after != before {
		t.Errorf("something changed:\n%s\nwant\n%s", after, before)
	}
	// Nor another connection's.
	mine := connect("mine", 1, "password", "pw")
	mine.Set[0].File = true
	written(t, s, mine)
	mine.Mark.UID = "other"
	_, err = s.WriteSettings(t.Context(), mine, version(t, s))
	code(t, err, patchbay.NotOurs, "WriteSettings over another connection's binding")

	must(t, os.RemoveAll(root))
	code(t, s.CheckChange(t.Context(), mine), patchbay.SettingsUnwritable, "CheckChange without a root")
	_, err = s.Inspect(t.Context())
	code(t, err, patchbay.SettingsUnwritable, "Inspect without a root")
}

// TestBindingReadersSeeAllOrNothing reads pairs of files through one look at
// the directory while they change.
func TestBindingReadersSeeAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, filepath.Join(dir, "env"), `{"bindingRoot":"`+dir+`"}`)
	change := func(i int64) driver.Change {
		v := strings.Repeat(string(rune('a'+i%26)), 5000)
		c := connect("orders", i, "username", v, "password", v)
		c.Set[0].File, c.Set[1].File = true, true
		return c
	}
	written(t, s, change(0))
	done, torn := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(torn)
		for {
			data, err := os.Readlink(filepath.Join(dir, "orders", "..data"))
			if err != nil {
				torn <- err.Error()
				return
			}
			a, errA := os.ReadFile(filepath.Join(dir, "orders", data, "username"))
			b, errB := os.ReadFile(filepath.Join(dir, "orders", data, "password"))
			if errA == nil && errB == nil && (string(a) != string(b) || len(a) != 5000) {
				torn <- "username and password of two generations"
				return
			}
			if b, err := os.ReadFile(filepath.Join(dir, "orders", "password")); err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && len(b) != 5000 {
				torn <- "a part of a password"
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	for i := range int64(60) {
		written(t, s, change(i+1))
	}
	close(done)
	for what := range torn {
		t.Error(what)
	}
}

func TestLeftTempFilesAreSwept(t *testing.T) {
	for what, do := range map[string]func(driver.Source) error{
		"Inspect": func(s driver.Source) error { _, err := s.Inspect(t.Context()); return err },
		"Owned":   func(s driver.Source) error { _, err := s.Owned(t.Context()); return err },
		"WriteSettings": func(s driver.Source) error {
			_, err := s.WriteSettings(t.Context(), connect("orders", 1, "A", "1"), version(t, s))
			return err
		},
		"RestoreSettings": func(s driver.Source) error {
			before, err := s.ReadSettings(t.Context())
			return errors.Join(err, s.RestoreSettings(t.Context(), connect("orders", 1, "A", "1"), before))
		},
	} {
		dir := t.TempDir()
		// A name with what a pattern takes for more than itself.
		path := filepath.Join(dir, "e[n]v*")
		must(t, os.WriteFile(path, nil, 0o600))
		left := filepath.Join(dir, ".e[n]v*.patchbay-somebody.tmp")
		must(t, os.WriteFile(left, []byte("SECRET=1"), 0o600))
		other := filepath.Join(dir, ".env.patchbay-somebody.tmp") // of another file, whose writer may be at work
		must(t, os.WriteFile(other, nil, 0o600))
		must(t, do(opened(t, path, "")))
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s leaves a temporary file: %v", what, err)
		}
		if _, err := os.Stat(other); err != nil {
			t.Errorf("%s takes away another file's: %v", what, err)
		}
	}
}

func TestDialerSpeaksFromThisMachine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	d, err := opened(t, "/nowhere/env", "").(driver.Vantage).Dialer(t.Context())
	must(t, err)
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	must(t, err)
	must(t, c.Close())
}

// TestSettingsThatReadersTakeApart: the text is legal, but what we would add
// could not be told from what is there.
func TestSettingsThatCantBeAddedSafelyAreRefused(t *testing.T) {
	for dialect, texts := range map[string][]string{
		"systemd": {"A=1\\", "A=1\\\n", "# c\\\n", "A='1\n", byteOrderMark + "A=1\n"},
		"dotenv":  {"A='1\n", "A=`1\n", "A=\"1\\\"\n", "A=1\rB=2\n"},
	} {
		for _, text := range texts {
			path := filepath.Join(t.TempDir(), "env")
			must(t, os.WriteFile(path, []byte(text), 0o600))
			err := opened(t, path, `{"dialect":"`+dialect+`"}`).CheckChange(t.Context(), connect("orders", 1, "B", "2"))
			code(t, err, patchbay.SettingsUnreadable, dialect+" "+text)
			if e := patchbay.AsError(err); err != nil && e.Fix == "" {
				t.Errorf("%s %q: no fix in %v", dialect, text, err)
			}
		}
	}
}

// Where the application finds files is known unless it is in a container, and then
// when somebody says so.
func TestWhereTheApplicationFindsItsFiles(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct{ properties, at, hint string }{
		{`{}`, "", "--binding-root"},
		{`{"bindingRoot":"` + root + `"}`, root, ""},
		{`{"bindingRoot":"` + root + `","dialect":"systemd"}`, root, ""},
		{`{"bindingRoot":"` + root + `","dialect":"docker"}`, "", "--binding-mount"},
		{`{"bindingRoot":"` + root + `","dialect":"docker","bindingMount":"/bindings"}`, "/bindings", ""},
	} {
		info, err := opened(t, filepath.Join(t.TempDir(), "env"), c.properties).Inspect(t.Context())
		if err != nil || info.FilesAt != c.at || !strings.Contains(info.NoFiles, c.hint) || (c.hint == "") != (info.NoFiles == "") {
			t.Errorf("%s: files at %q, %q, %v", c.properties, info.FilesAt, info.NoFiles, err)
		}
	}
}
