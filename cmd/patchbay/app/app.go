// Package app is the program: the server and its command line, with the drivers of this
// module and those of whoever builds it.
package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/cli"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/controlplane"
	"patchbay.dev/patchbay/internal/demo"
	"patchbay.dev/patchbay/internal/version"
	"patchbay.dev/patchbay/server"
	"patchbay.dev/patchbay/settings"
)

// Extras is what a program has besides what this module brings. docs/write-a-driver.md
// says how a driver is written, and examples/driver is a program with one.
type Extras struct {
	Targets  []driver.TargetDriver
	Sources  []driver.SourceDriver
	Networks []driver.NetworkDriver
	// Kinds are files as in settings/table, by the name of the kind of target: what the
	// client libraries of a product read that the table does not have.
	Kinds map[string][]byte
}

// Main is all of a program. It does not return; with extras that can't be, it says why
// and ends with status 2.
func Main(extras Extras) {
	for _, kind := range slices.Sorted(maps.Keys(extras.Kinds)) {
		if err := settings.Add(kind, extras.Kinds[kind]); err != nil {
			refuse(err)
		}
	}
	err := controlplane.Extend(driver.NewCatalog(extras.Targets, extras.Sources, nil, extras.Networks))
	if err != nil {
		refuse(err)
	}
	controlplane.IfChild()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == demo.AppCommand {
		os.Exit(demo.App(ctx, os.Args[2:], os.Stdout))
	}
	os.Exit(cli.Main(ctx, Deps(), os.Args[1:]))
}

func refuse(err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
	os.Exit(2)
}

// Deps is what the command line has of this program.
func Deps() cli.Deps {
	build := version.Get()
	return cli.Deps{
		Serve:   serve,
		Demo:    showDemo,
		Catalog: catalog,
		Version: cli.Version{Version: build.Version, Commit: build.Commit, Go: build.Go},
	}
}

// catalog is what this build can connect. Its drivers open nothing.
func catalog() patchbay.Catalog { return controlplane.Catalog().Describe(settings.Kinds()) }

func serve(ctx context.Context, o cli.ServeOptions) error {
	log := logger(o.Stderr, o.LogFormat, o.LogLevel)
	slog.SetDefault(logger(o.Stderr, o.LogFormat, max(o.LogLevel, slog.LevelWarn))) // libraries log there
	grace := o.Grace
	if grace == 0 {
		grace = -1 // of the server's options, 0 is the default
	}
	return controlplane.Run(ctx, controlplane.Options{
		Server: server.Options{
			Grace: grace, Dir: o.DataDir, Address: o.Listen, HTTPAddress: o.HTTP, PublicURL: o.PublicURL,
			TrustForwarded: o.TrustForwarded, Names: o.Names, Drain: o.Drain,
			Limits: server.Limits{Reads: o.RateReads, Writes: o.RateWrites},
		},
		Overlap:       o.RotationOverlap,
		ValidateEvery: o.ValidateEvery,
		DenyDial:      o.DenyDial, AllowDial: o.AllowDial,
		Traces: o.OTLPEndpoint,
		Events: controlplane.Events{To: o.EventsTo, KeyFile: o.EventsKeyFile, Plain: o.EventsPlainHTTP},
		SignIn: controlplane.SignIn{Providers: o.OIDC, Lifetime: o.TokenLifetime, Rotation: o.KeyRotation},
		Log:    log,
	})
}

func logger(to io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

func showDemo(ctx context.Context, o cli.DemoOptions) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return demo.Run(ctx, demo.Options{
		Keep: o.Keep, Postgres: o.Postgres, Out: o.Stdout, Executable: exe,
		Serve: func(ctx context.Context, dir string, log io.Writer, ready func()) error {
			to := logger(log, "text", slog.LevelInfo)
			slog.SetDefault(logger(log, "text", slog.LevelWarn))
			return controlplane.Run(ctx, controlplane.Options{
				Server: server.Options{Dir: dir, Address: "127.0.0.1:0"},
				Log:    to,
				Ready:  func(*server.Server) { ready() },
			})
		},
		Command: func(ctx context.Context, dir string, args []string, stdout, stderr io.Writer) int {
			d := Deps()
			d.Stdout, d.Stderr = stdout, stderr
			d.Stdin = noInput{}
			d.Getenv = func(name string) string {
				if name == "PATCHBAY_DATA" {
					return dir
				}
				return ""
			}
			return cli.Main(ctx, d, args)
		},
	})
}

// noInput is a terminal that nobody sits at.
type noInput struct{}

func (noInput) Read([]byte) (int, error) { return 0, io.EOF }
