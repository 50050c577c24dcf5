package cli

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
)

func (a *app) serveCommand() *cobra.Command {
	var o ServeOptions
	var level, eventsTo string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Runs the server: HTTPS, with a certificate of a local authority that is made at
first start, over a data directory that has the records, the key that seals
secrets, and the admin token (mode 0600) that the command line on this machine
picks up by itself. SIGTERM and SIGINT let what is in flight end, and stop.

It connects to targets on loopback, in private networks and elsewhere, for
databases are there, and to no metadata service of a cloud, link-local address or
multicast. --deny-dial closes more, --allow-dial opens; the most specific prefix
decides, so what is closed by itself is opened only by naming it. Names are judged
by the addresses that they lead to, from the server and from sources alike.`,
		Example: `  patchbay serve
  patchbay serve --deny-dial all --allow-dial 10.20.0.0/16
  patchbay serve --events-to https://alerts.example/hooks/patchbay
  patchbay serve --data /var/lib/patchbay --listen 0.0.0.0:7443 --public-url https://patchbay.example:7443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.DataDir = a.data()
			if o.DataDir == "" {
				return usagef(cmd, "there is no HOME for the data directory: name one with --data")
			}
			if _, _, err := net.SplitHostPort(o.Listen); err != nil {
				return usagef(cmd, "--listen takes HOST:PORT")
			}
			if o.HTTP != "" && !isLoopback(o.HTTP) {
				return usagef(cmd, "--http takes HOST:PORT of a loopback address only: tokens are not sent in the clear")
			}
			if o.PublicURL != "" {
				if u, err := url.Parse(o.PublicURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
					return usagef(cmd, "--public-url takes https://HOST[:PORT]")
				}
			}
			if o.OTLPEndpoint != "" {
				if u, err := url.Parse(o.OTLPEndpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
					return usagef(cmd, "--otlp-endpoint takes http://HOST:PORT or https://HOST:PORT")
				}
			}
			if o.LogFormat != "text" && o.LogFormat != "json" {
				return usagef(cmd, "--log-format has no %q; it takes text or json", clean(o.LogFormat))
			}
			if err := o.LogLevel.UnmarshalText([]byte(level)); err != nil {
				return usagef(cmd, "--log-level has no %q; it takes debug, info, warn or error", clean(level))
			}
			if min(o.Drain, o.RotationOverlap, o.TokenLifetime, o.KeyRotation, o.Grace, o.ValidateEvery) < 0 {
				return usagef(cmd, "--drain, --rotation-overlap, --token-lifetime, --signing-key-rotation, --grace and --validate-every are not negative")
			}
			if o.ValidateEvery > 0 && o.ValidateEvery < time.Minute {
				return usagef(cmd, "--validate-every takes a minute at least, or 0 for never")
			}
			if !isRate(o.RateReads) || !isRate(o.RateWrites) {
				return usagef(cmd, "--rate-reads and --rate-writes take a number of requests a second, up to a million")
			}
			var err error
			if o.EventsTo, err = a.eventsTo(cmd, eventsTo); err != nil {
				return err
			}
			if a.Serve == nil {
				return notInThisBuild("serve")
			}
			o.Stdout, o.Stderr = a.Stdout, a.Stderr
			return a.Serve(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:7443", "HOST:PORT of HTTPS")
	f.StringVar(&o.HTTP, "http", "", "HOST:PORT of plain HTTP too, on a loopback address")
	f.StringVar(&o.PublicURL, "public-url", "", "what URLs in answers begin with, behind a proxy (default: what the client used)")
	f.BoolVar(&o.TrustForwarded, "trust-forwarded", false, "believe X-Forwarded-Proto and X-Forwarded-Host: only behind a proxy that sets them")
	f.StringSliceVar(&o.Names, "tls-name", nil, "further host names and addresses of the certificate (several)")
	f.StringVar(&o.LogFormat, "log-format", "text", "text or json")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.OIDC, "oidc", "", "file of OpenID Connect providers whose tokens are accepted (YAML; docs/sign-in.md)")
	f.Float64Var(&o.RateReads, "rate-reads", 0, "reads a second of one principal, in bursts of ten times as many; -1 is no limit (default 200)")
	f.Float64Var(&o.RateWrites, "rate-writes", 0, "writes a second of one principal, in bursts of ten times as many; -1 is no limit (default 50)")
	f.StringSliceVar(&o.DenyDial, "deny-dial", nil, "where no connection to a target is made: a prefix, an address, or all, loopback, private, link-local, metadata (several)")
	f.StringSliceVar(&o.AllowDial, "allow-dial", nil, "where one is made although --deny-dial or the server itself closes it; the most specific prefix decides (several)")
	f.DurationVar(&o.TokenLifetime, "token-lifetime", 0, "how long a token of the built-in issuer is good (default 1h)")
	f.DurationVar(&o.KeyRotation, "signing-key-rotation", 0, "how long a key signs tokens before the next does (default 720h)")
	must(cmd.MarkFlagFilename("oidc", "yaml", "yml"))
	f.StringVar(&o.OTLPEndpoint, "otlp-endpoint", "", "URL of an OpenTelemetry collector, for traces (OTLP over HTTP)")
	f.StringVar(&eventsTo, "events-to", "", "https URL that is told when a connection turns bad or good again, or @FILE with it (docs/operate.md)")
	f.StringVar(&o.EventsKeyFile, "events-key-file", "", "file of the keys that sign events, whsec_… a line (default: events.key in the data directory, made when it is not there)")
	f.BoolVar(&o.EventsPlainHTTP, "events-plain-http", false, "let --events-to be an http URL that is not of this machine")
	must(cmd.MarkFlagFilename("events-key-file"))
	f.DurationVar(&o.RotationOverlap, "rotation-overlap", 0, "how long a replaced credential keeps working, at least (default 2s)")
	f.DurationVar(&o.ValidateEvery, "validate-every", time.Hour, "how often each connection is validated, spread out; 0 is never, and then nothing is noticed either when a source changes")
	f.DurationVar(&o.Grace, "grace", 250*time.Millisecond, "how long a request waits for the operation that it began, to answer it finished; 0 is not at all")
	f.DurationVar(&o.Drain, "drain", 20*time.Second, "how long a stop waits for what is in flight")
	for _, name := range []string{"deny-dial", "allow-dial"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{"all", "link-local", "loopback", "metadata", "private"}, cobra.ShellCompDirectiveNoFileComp)))
	}
	must(cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{
		strings.ToLower(slog.LevelDebug.String()), strings.ToLower(slog.LevelInfo.String()),
		strings.ToLower(slog.LevelWarn.String()), strings.ToLower(slog.LevelError.String()),
	}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// eventsTo reads --events-to. What such a URL may have of secrets is not repeated.
func (a *app) eventsTo(cmd *cobra.Command, value string) (patchbay.Secret, error) {
	to := patchbay.NewSecret(value)
	if file, ok := strings.CutPrefix(value, "@"); ok {
		var err error
		if to, err = a.secretFile("URL of the receiver of events", file); err != nil {
			return to, err
		}
	}
	if u, err := url.Parse(to.Reveal()); !to.IsZero() && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return to, usagef(cmd, "--events-to takes https://HOST[:PORT]/PATH, or @FILE with that in it")
	}
	for _, name := range []string{"events-key-file", "events-plain-http"} {
		if to.IsZero() && cmd.Flags().Changed(name) {
			return to, usagef(cmd, "--%s is of use with --events-to only", name)
		}
	}
	return to, nil
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func notInThisBuild(name string) error {
	return patchbay.Errorf(patchbay.NotSupported, "this build has no %s", name)
}

func (a *app) demoCommand() *cobra.Command {
	var o DemoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a server, a NATS server and an application, in a temporary directory",
		Long: `Starts the server, a NATS server and a small application in a temporary directory,
connects them, breaks and mends the connection, rotates it and deletes it, and
shows each step. It ends by itself, leaves nothing behind, and its exit status is
not 0 if anything was not as it said.`,
		Example: `  patchbay demo
  patchbay demo --keep
  patchbay demo --postgres @admin.url`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Postgres != "" {
				if file, ok := strings.CutPrefix(o.Postgres, "@"); ok {
					s, err := a.secretFile("URL", file)
					if err != nil {
						return err
					}
					o.Postgres = s.Reveal()
				}
				if u, err := url.Parse(o.Postgres); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
					return usagef(cmd, "--postgres takes postgres://USER@HOST:PORT/DATABASE, or @FILE with that in it")
				}
			}
			if a.Demo == nil {
				return notInThisBuild("demo")
			}
			o.Terminal = a.IsTerminal(a.Stdout)
			o.Stdin, o.Stdout, o.Stderr = a.Stdin, a.Stdout, a.Stderr
			return a.Demo(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "stay up afterwards, until interrupted")
	cmd.Flags().StringVar(&o.Postgres, "postgres", "", "do the same with this PostgreSQL: postgres:// URL of an administrator, or @FILE with it")
	return cmd
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show which build this is",
		Long:    "Shows the version, the commit and the toolchain of this build. It asks no server.",
		Example: "  patchbay version\n  patchbay version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			if a.output == "" {
				parts := []string{a.Version.Version}
				for _, s := range []string{a.Version.Commit, a.Version.Go, a.Version.Platform} {
					if s != "" {
						parts = append(parts, s)
					}
				}
				_, err := fmt.Fprintln(a.Stdout, "patchbay "+strings.Join(parts, " "))
				return err
			}
			return a.print(a.Version, func() rows {
				return rows{head: []string{"Version", "Commit", "Go", "Platform"},
					lines: [][]string{{a.Version.Version, a.Version.Commit, a.Version.Go, a.Version.Platform}}}
			})
		},
	}
}

// isRate refuses what is no number, and what no server answers in a second.
func isRate(v float64) bool { return v >= -1 && v <= 1e6 }
