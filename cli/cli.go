// Package cli is the command line of Patchbay: it turns words into requests to
// a server and answers into text for people and for scripts. It knows the
// server by HTTP only; what needs more (serve, demo) is handed in.
package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// Deps is what the command line works on. Zero members take the process's own.
type Deps struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Environ        func() []string
	// IsTerminal reports whether one of the three streams is a terminal: then a
	// person is there who can be asked, and lines may be painted again.
	IsTerminal func(stream any) bool
	// Exec replaces this process, for run. It returns only when it can't.
	Exec func(path string, argv, environ []string) error
	// Serve runs the server until ctx ends and it has drained.
	Serve func(ctx context.Context, o ServeOptions) error
	// Demo shows the main job; an error says what was not as it should be.
	Demo    func(ctx context.Context, o DemoOptions) error
	Version Version
	// Catalog is what the servers of this build can connect; commands are made
	// from it where no server can be asked for its own. Nil: nothing.
	Catalog func() patchbay.Catalog
	// Random makes the names of connections that were given none.
	Random io.Reader
	Now    func() time.Time
}

// Version says what this build is.
type Version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go,omitempty"`
	Platform string `json:"platform,omitempty"`
}

// ServeOptions is what `patchbay serve` was told.
type ServeOptions struct {
	DataDir   string // exists or is made, mode 0700
	Listen    string // host:port of HTTPS
	HTTP      string // host:port of plain HTTP, on loopback; "": none
	PublicURL string // what answers' URLs begin with; "": what the client used
	Names     []string
	// TrustForwarded takes scheme and host of URLs in answers from a proxy's
	// X-Forwarded-Proto and X-Forwarded-Host.
	TrustForwarded bool
	LogFormat      string // text or json
	LogLevel       slog.Level
	// ValidateEvery is how often each connection is validated; 0 is never.
	ValidateEvery time.Duration
	// RotationOverlap is how long an old credential keeps working, at least,
	// after the new one is in place; 0: the server's default.
	RotationOverlap time.Duration
	OIDC            string // file of OpenID Connect providers; "": none
	// RateReads and RateWrites are requests a second of one principal; 0: the
	// server's default, negative: no limit.
	RateReads, RateWrites float64
	// DenyDial and AllowDial are prefixes, addresses and named sets that no
	// connection is made to, or is made to nevertheless.
	DenyDial, AllowDial []string
	TokenLifetime       time.Duration // of a token of the built-in issuer; 0: the server's default
	KeyRotation         time.Duration // how long a signing key signs; 0: the server's default
	OTLPEndpoint        string        // URL of an OpenTelemetry collector; "": no traces
	// EventsTo is the URL that events are sent to; zero: nobody is told.
	EventsTo patchbay.Secret
	// EventsKeyFile has the keys that sign them; "": one in the data directory, which
	// is made when there is none.
	EventsKeyFile   string
	EventsPlainHTTP bool          // EventsTo may be http of an address that is not loopback
	Drain           time.Duration // how long SIGTERM waits for what is in flight
	// Grace is how long a request waits for the operation that it began; 0 is not
	// at all.
	Grace  time.Duration
	Stdout io.Writer
	Stderr io.Writer
}

// DemoOptions is what `patchbay demo` was told.
type DemoOptions struct {
	Keep     bool   // stay up until interrupted
	Postgres string // postgres:// URL of an administrator, "": NATS only
	// Terminal says that a person watches: colours and pauses are fine.
	Terminal       bool
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

func (d Deps) withDefaults() Deps {
	if d.Stdin == nil {
		d.Stdin = os.Stdin
	}
	if d.Stdout == nil {
		d.Stdout = os.Stdout
	}
	if d.Stderr == nil {
		d.Stderr = os.Stderr
	}
	if d.Getenv == nil {
		d.Getenv = os.Getenv
	}
	if d.Environ == nil {
		d.Environ = os.Environ
	}
	if d.IsTerminal == nil {
		d.IsTerminal = func(stream any) bool {
			f, ok := stream.(*os.File)
			return ok && term.IsTerminal(int(f.Fd()))
		}
	}
	if d.Exec == nil {
		d.Exec = syscall.Exec
	}
	if d.Random == nil {
		d.Random = rand.Reader
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Version.Version == "" {
		d.Version.Version = "dev"
	}
	return d
}

// app is one run of the command line: what it was given, and the flags that
// every command has.
type app struct {
	Deps

	url          string
	caFile       string
	tokenFile    string
	dataDir      string
	output       string
	subscription string
	quiet        bool

	globals   *pflag.FlagSet    // the flags above
	catalog   *patchbay.Catalog // nil until it is needed
	asked     bool              // it is the server's
	bare      bool              // the tree has no commands that are made from it
	connected *client.Client
	inventory []client.ResourceView // nil until it was asked for
	asker     asker
	stdinUsed bool // a secret was read from standard input
}

// New is the command tree. Commands return their errors; [Main] prints them.
func New(deps Deps) *cobra.Command {
	_, root := build(deps)
	return root
}

func build(deps Deps) (*app, *cobra.Command) {
	a := newApp(deps)
	return a, a.root()
}

func newApp(deps Deps) *app {
	a := &app{Deps: deps.withDefaults()}
	a.asker = a.newAsker()
	return a
}

// root makes the command tree, from the catalogue in use.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "patchbay",
		Short: "Connect applications to the services that they use",
		Long: `Patchbay connects an application to a backing service with one command: it
makes a login with just the rights that are asked for, writes the settings under
the names that the client library reads, restarts the application and proves
that it works. If a step fails, everything is put back as it was.

Commands talk to a server (patchbay serve). On the server's own machine they find
it by its data directory; elsewhere, name it:

  PATCHBAY_URL, --patchbay-url  its URL
  PATCHBAY_CA, --ca             the file of the authority that signed its certificate
  PATCHBAY_TOKEN                the token to sign in with, or --token-file
  PATCHBAY_DATA, --data         the data directory, in place of the default
  PATCHBAY_OUTPUT               the default of --output
  ACCESSIBLE                    ask in plain lines, which a screen reader can follow

Results go to standard output, everything for people to standard error.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// A word that the catalogue does not have is what is wrong, not its flags.
		if args := cmd.Flags().Args(); len(args) > 0 && cmd.Annotations[catalogued] != "" {
			if wrong := cmd.ValidateArgs(args); wrong != nil {
				return wrong
			}
		}
		return usageError{err, cmd.CommandPath()}
	})

	f := root.PersistentFlags()
	a.globals = f
	f.StringVar(&a.url, "patchbay-url", "", "URL of the server (default $PATCHBAY_URL, or that of the data directory)")
	f.StringVar(&a.caFile, "ca", "", "file of the authority that signed the server's certificate (default $PATCHBAY_CA)")
	f.StringVar(&a.tokenFile, "token-file", "", "file of the token to sign in with (default $PATCHBAY_TOKEN, or the data directory's)")
	f.StringVar(&a.dataDir, "data", "", "the server's data directory (default $PATCHBAY_DATA, or one of the user's)")
	f.StringVarP(&a.output, "output", "o", "", "output format: json, table, yaml or none (default $PATCHBAY_OUTPUT, or json)")
	f.StringVar(&a.subscription, "subscription", "", "subscription of what is named in short (default $PATCHBAY_SUBSCRIPTION, or the only one)")
	f.BoolVar(&a.quiet, "only-show-errors", false, "no progress and no warnings")
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputFormats, cobra.ShellCompDirectiveNoFileComp)))
	must(root.MarkPersistentFlagFilename("ca"))
	must(root.MarkPersistentFlagFilename("token-file"))
	must(root.MarkPersistentFlagDirname("data"))
	root.Example = "  patchbay serve\n" + a.addExamples() +
		"  patchbay connection create " + a.exampleKind() + " --source web --target main --client-type go\n" +
		"  patchbay connection validate web/orders_x1y2z --fix"

	root.AddCommand(
		a.serveCommand(), a.demoCommand(),
		a.driverCommand(), a.hostCommand(), a.discoverCommand(), a.resourceCommand(), a.connectionCommand(), a.operationCommand(), a.leftoversCommand(),
		a.roleCommand(), a.runCommand(), a.versionCommand(),
		a.loginCommand(), a.logoutCommand(), a.whoamiCommand(),
		a.principalCommand(), a.tenantCommand(), a.subscriptionCommand(), a.auditCommand(), a.eventsCommand(),
	)
	root.InitDefaultCompletionCmd()
	return root
}

// must holds for registrations that can only fail for a flag that is not
// there: a mistake in this package that no test run survives.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// noCommand is the argument check of a command that only has subcommands.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	names := []string{}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usagef(cmd, "there is no command %q; there are %s%s",
		clean(cmd.CommandPath()+" "+args[0]), strings.Join(names, ", "), didYouMean(args[0], names))
}

// Main runs one command line (without the program's name) and gives the exit
// status: docs/cli.md lists them. When ctx ends, it stops
// waiting; what the server has begun goes on.
func Main(ctx context.Context, deps Deps, args []string) int {
	a := newApp(deps)
	args = expandLists(args)
	root := a.rootFor(ctx, args)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if a.connected != nil {
		a.connected.Close()
	}
	if err != nil && errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return exitInterrupted
	}
	return a.report(cmd, err)
}
