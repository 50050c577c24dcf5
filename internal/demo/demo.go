// Package demo shows the main job to somebody who has nothing but Go: a
// control plane, a real server to connect to and a real application, and the
// commands that a user would give, each with what came of it.
package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay/internal/natsserver"
)

// Options are what the demonstration needs of its caller.
type Options struct {
	Keep     bool   // stay up until ctx ends
	Postgres string // an administrator's URL, "": NATS only
	Out      io.Writer
	// Executable is this program: started with [AppCommand] it is the
	// application.
	Executable string
	// Serve runs a control plane on dir until ctx ends; it calls ready when
	// requests are answered.
	Serve func(ctx context.Context, dir string, log io.Writer, ready func()) error
	// Command runs the command line against the control plane on dir.
	Command func(ctx context.Context, dir string, args []string, stdout, stderr io.Writer) int
}

// Run shows everything and takes it down again. An error says what was not as
// the demonstration says.
func Run(ctx context.Context, o Options) (err error) {
	dir, err := os.MkdirTemp("", "patchbay-demo-")
	if err != nil {
		return err
	}
	defer func() {
		if rmErr := os.RemoveAll(dir); err == nil {
			err = rmErr
		}
	}()
	d := &demo{Options: o, dir: dir, data: filepath.Join(dir, "data"), began: time.Now()}
	d.say("Patchbay, shown on this machine: a control plane, real servers and a real application in %s", dir)

	stop, err := d.serve(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := stop(); err == nil {
			err = stopErr
		}
	}()
	broker, err := natsserver.Start(ctx, natsserver.Config{})
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	defer broker.Stop()
	stories := []*story{d.natsStory(broker)}
	if o.Postgres != "" {
		s, cleanUp, err := d.postgresStory(ctx)
		if err != nil {
			return err
		}
		defer func() {
			if cleanErr := cleanUp(); err == nil {
				err = cleanErr
			}
		}()
		stories = append(stories, s)
	}
	for _, s := range stories {
		if err := d.tell(ctx, s); err != nil {
			return err
		}
	}
	d.say("\nEverything was as it said, in %.1f s.", time.Since(d.began).Seconds())
	if !o.Keep {
		return nil
	}
	d.say("\nThe control plane and its servers stay up until you press Ctrl-C. In another terminal:\n")
	d.say("  export PATCHBAY_DATA=%s", d.data)
	d.say("  go run ./cmd/patchbay resource list -o table")
	<-ctx.Done()
	return nil
}

type demo struct {
	Options
	dir   string
	data  string
	began time.Time
	log   bytes.Buffer // the control plane's; shown when something went wrong
}

// story is one target, told from the application's first failure to its last.
type story struct {
	kind    string // demo-app's word for it
	title   string
	product string
	add     []string // registers the target
	create  []string // the target's part of create
	target  string   // its name
	setting string   // the one that is broken behind Patchbay's back
	secrets []string // files with secrets that add names
}

func (d *demo) say(format string, args ...any) { _, _ = fmt.Fprintf(d.Out, format+"\n", args...) }

// serve starts the control plane and gives what stops it.
func (d *demo) serve(ctx context.Context) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- d.Serve(ctx, d.data, &d.log, func() { close(ready) }) }()
	select {
	case <-ready:
		return func() error {
			cancel()
			return <-ended
		}, nil
	case err := <-ended:
		cancel()
		return nil, fmt.Errorf("start the control plane: %w\n%s", err, d.log.String())
	}
}

// command gives a command as a user would, shows it and what it printed, and
// fails when it does not end in want.
func (d *demo) command(ctx context.Context, want int, args ...string) (string, error) {
	d.say("\n  $ patchbay %s", strings.Join(quoted(args), " "))
	var printed bytes.Buffer
	out := &indented{to: io.MultiWriter(d.Out, &printed)}
	got := d.Command(ctx, d.data, args, out, out)
	if got != want {
		return "", fmt.Errorf("patchbay %s ended with %d, and should with %d", strings.Join(args, " "), got, want)
	}
	return printed.String(), nil
}

// quoted shows arguments as a shell would take them.
func quoted(args []string) []string {
	shown := make([]string, len(args))
	for i, a := range args {
		if strings.ContainsAny(a, " $*>'\"") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		shown[i] = a
	}
	return shown
}

// indented sets what a command prints off from what the demonstration says.
type indented struct {
	to  io.Writer
	mid bool
}

func (w *indented) Write(p []byte) (int, error) {
	for _, line := range bytes.SplitAfter(p, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		if !w.mid {
			if _, err := io.WriteString(w.to, "    "); err != nil {
				return 0, err
			}
		}
		if _, err := w.to.Write(line); err != nil {
			return 0, err
		}
		w.mid = !bytes.HasSuffix(line, []byte("\n"))
	}
	return len(p), nil
}

func (d *demo) natsStory(broker *natsserver.Server) *story {
	seed, creds := filepath.Join(d.dir, "operator.seed"), filepath.Join(d.dir, "system.creds")
	admin := broker.Admin()
	s := &story{
		kind: "nats", title: "NATS", product: "a NATS server (JetStream, operator mode) on " + broker.Endpoint(), target: "broker", setting: natsSetting,
		add: []string{
			"resource", "add", "nats", "broker", "--endpoint", broker.Endpoint(), "--account", broker.Account(),
			"--operator-seed-file", seed, "--system-creds-file", creds, "--subject", "orders.>",
		},
		create: []string{"nats", "--target", "broker"},
	}
	s.secrets = []string{seed, admin["operatorSeed"].Reveal(), creds, admin["systemCreds"].Reveal()}
	return s
}

// postgresStory makes the table that the application works on, and gives what
// removes it.
func (d *demo) postgresStory(ctx context.Context) (*story, func() error, error) {
	u, err := url.Parse(d.Postgres)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return nil, nil, errors.New("--postgres wants postgres://user:password@host:port/database")
	}
	run := func(ctx context.Context, sql string) error {
		conn, err := pgx.Connect(ctx, d.Postgres)
		if err != nil {
			return fmt.Errorf("reach PostgreSQL: %w", err)
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, sql)
		return err
	}
	if err := run(ctx, "CREATE TABLE "+Table+" (id bigint GENERATED ALWAYS AS IDENTITY, what text)"); err != nil {
		return nil, nil, err
	}
	password := filepath.Join(d.dir, "postgres.password")
	secret, _ := u.User.Password()
	mode := u.Query().Get("sslmode")
	if mode == "" {
		mode = "prefer"
	}
	return &story{
		kind: "postgres", title: "PostgreSQL", product: "the PostgreSQL server at " + u.Host, target: "db", setting: postgresSetting,
		add: []string{
			"resource", "add", "postgres", "db", "--endpoint", u.Host, "--sslmode", mode,
			"--admin", u.User.Username(), "--admin-password-file", password,
		},
		create:  []string{"postgres", "--target", "db/" + strings.Trim(u.Path, "/")},
		secrets: []string{password, secret},
	}, func() error { return run(context.WithoutCancel(ctx), "DROP TABLE "+Table) }, nil
}

// tell shows one story.
func (d *demo) tell(ctx context.Context, s *story) (err error) {
	d.say("\n══ %s ══", s.title)
	for i := 0; i+1 < len(s.secrets); i += 2 {
		if err := os.WriteFile(s.secrets[i], []byte(s.secrets[i+1]), 0o600); err != nil {
			return err
		}
	}
	env, pid := filepath.Join(d.dir, s.kind+".env"), filepath.Join(d.dir, s.kind+".pid")
	original := []byte("# the shop's own settings\nSHOP_NAME=\"Ada's shop\"\nPORT=8080\n")
	if err := os.WriteFile(env, original, 0o640); err != nil {
		return err
	}
	source, connection := "web-"+s.kind, "web-"+s.kind+"/orders"

	d.say("\n1. The application has no settings yet, so it does not start.")
	app, err := start(ctx, d.Executable, s.kind, env, pid)
	if err != nil {
		return err
	}
	<-app.done
	if signedIn, _, _ := app.counts(); signedIn > 0 || app.words() == "" {
		return errors.New("the application worked without a connection")
	}
	d.say("   the application: %s", app.words())

	d.say("\n2. Register %s and the application's settings file.", s.product)
	if _, err := d.command(ctx, 0, append(s.add, "-o", "table")...); err != nil {
		return err
	}
	if _, err := d.command(ctx, 0, "resource", "add", "envfile", source, "--path", env,
		"--reload-pid-file", pid, "--reload-signal", "HUP", "-o", "table"); err != nil {
		return err
	}

	d.say("\n3. Something fails half-way: this source's reload command does not work.")
	if err := d.rollback(ctx, s, original); err != nil {
		return err
	}

	d.say("\n4. Connect them, with one command.")
	// The application is not up yet: its reload has nobody to tell.
	create := append([]string{"connection", "create"}, s.create...)
	create = append(create, "--source", source, "--connection", "orders", "--client-type", "go", "-o", "table")
	if _, err := d.command(ctx, 0, create...); err != nil {
		return err
	}
	app, err = start(ctx, d.Executable, s.kind, env, pid)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := app.stop(); err == nil {
			err = stopErr
		}
	}()
	if err := app.worksAnew(ctx); err != nil {
		return err
	}
	d.say("   the application signs in and works")
	if err := d.validated(ctx, connection, 0); err != nil {
		return err
	}

	d.say("\n5. Somebody edits the settings behind Patchbay's back.")
	if err := spoil(env, s.setting); err != nil {
		return err
	}
	if err := d.validated(ctx, connection, exitFindings); err != nil {
		return err
	}
	if err := d.validated(ctx, connection, 0, "--fix"); err != nil {
		return err
	}
	if err := app.worksAnew(ctx); err != nil {
		return err
	}

	d.say("\n6. Rotate the credential under the running application.")
	_, refusedBefore, _ := app.counts()
	if _, err := d.command(ctx, 0, "connection", "rotate", connection, "-o", "table"); err != nil {
		return err
	}
	if err := app.worksAnew(ctx); err != nil {
		return err
	}
	signedIn, refused, users := app.counts()
	if refused != refusedBefore {
		return fmt.Errorf("the application was refused %d times during the rotation: %s", refused-refusedBefore, app.words())
	}
	if users < 2 {
		return errors.New("the application did not come to use the new credential")
	}
	d.say("   the application signed in %d times so far, with %d credentials one after the other; refused: %d", signedIn, users, refused)

	d.say("\n7. Delete the connection: its login is gone, and the file is as it was.")
	if _, err := d.command(ctx, 0, "connection", "delete", connection, "--yes", "-o", "table"); err != nil {
		return err
	}
	if err := app.until(ctx, "be refused", func() bool { _, now, _ := app.counts(); return now > refused }); err != nil {
		return err
	}
	d.say("   the application, with the settings that it had: %s", app.words())
	return same(env, original)
}

// exitFindings is how validate ends when a check failed.
const exitFindings = 4

func (d *demo) validated(ctx context.Context, connection string, want int, flags ...string) error {
	args := append([]string{"connection", "validate", connection}, flags...)
	_, err := d.command(ctx, want, append(args, "-o", "table")...)
	return err
}

// rollback shows a create that fails after its login was made and its settings
// were written.
func (d *demo) rollback(ctx context.Context, s *story, original []byte) error {
	env, source := filepath.Join(d.dir, s.kind+"-broken.env"), "broken-"+s.kind
	if err := os.WriteFile(env, original, 0o640); err != nil {
		return err
	}
	if _, err := d.command(ctx, 0, "resource", "add", "envfile", source, "--path", env, "--reload-command", "false", "-o", "table"); err != nil {
		return err
	}
	create := append([]string{"connection", "create"}, s.create...)
	if _, err := d.command(ctx, 1, append(create, "--source", source, "--connection", "orders", "--client-type", "go", "-o", "table")...); err != nil {
		return err
	}
	if err := same(env, original); err != nil {
		return err
	}
	d.say("   %s is byte for byte what it was", filepath.Base(env))
	return nil
}

// spoil changes a setting's value in the file.
func spoil(path, name string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var lines []string
	found := false
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, name+"=") {
			line, found = name+"=spoilt\n", true
		}
		lines = append(lines, line)
	}
	if !found {
		return fmt.Errorf("%s is not in %s", name, filepath.Base(path))
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "")), 0o640)
}

func same(path string, original []byte) error {
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, original) {
		return fmt.Errorf("%s is not what it was", filepath.Base(path))
	}
	return nil
}
