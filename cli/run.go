package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
)

func (a *app) runCommand() *cobra.Command {
	ref := &connectionRef{}
	cmd := &cobra.Command{
		Use:   "run --source SOURCE -- COMMAND [ARGUMENT…]",
		Short: "Run a command with the settings of a source, or of local connections",
		Long: `Runs a command on this machine with the settings of a source in its environment,
where they replace settings of the same name; with --local, those of the local
connections. The command takes the place of
patchbay: it gets its terminal and signals, and its exit status is the one that
is seen. Credentials of Patchbay itself are not passed on.`,
		Example: `  patchbay run --source web -- go run ./cmd/web
  patchbay run --source web -- psql
  patchbay run --local -- go run ./cmd/web`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch at := cmd.ArgsLenAtDash(); {
			case len(args) == 0:
				return usagef(cmd, "which command? Name it after --")
			case at > 0, at < 0:
				return usagef(cmd, "the command comes after --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if !ref.named() {
				return usagef(cmd, "with the settings of which source? --source NAME, or --local")
			}
			settings, err := a.environment(cmd, *ref)
			if err != nil {
				return err
			}
			environ, err := merged(a.Environ(), settings)
			if err != nil {
				return err
			}
			path, err := a.lookPath(args[0], environ)
			if err != nil {
				return err
			}
			c.Close()
			err = a.Exec(path, args, environ)
			if err == nil {
				return nil
			}
			return statusError{fmt.Errorf("%s can't be started: %w", args[0], err), exitNotExecuted}
		},
	}
	a.homeFlags(cmd, ref)
	cmd.Flags().StringVar(&ref.connection, "connection", "", "with --local: only the settings of this connection")
	must(cmd.Flags().MarkHidden("name"))
	return cmd
}

// environment is the settings to start a command with.
func (a *app) environment(cmd *cobra.Command, ref connectionRef) (map[string]patchbay.Secret, error) {
	if ref.isLocal() {
		return a.localEnvironment(cmd.Context(), ref)
	}
	if ref.connection != "" {
		return nil, usagef(cmd, "--connection is for --local: a source's settings are those of all its connections")
	}
	source, err := a.home(cmd.Context(), ref)
	if err != nil {
		return nil, err
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return c.Environment(cmd.Context(), source)
}

// merged is an environment with settings in it. What signs in to Patchbay
// itself stays out: the command is not the operator.
func merged(environ []string, settings map[string]patchbay.Secret) ([]string, error) {
	out := []string{}
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if _, replaced := settings[name]; !replaced && name != "PATCHBAY_TOKEN" {
			out = append(out, e)
		}
	}
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := settings[name].Reveal()
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the setting %q can't be put into an environment", clean(name))
		}
		out = append(out, name+"="+value)
	}
	return out, nil
}

// lookPath finds a command as a shell does, in the PATH that it will see.
func (a *app) lookPath(command string, environ []string) (string, error) {
	if strings.Contains(command, "/") {
		return command, executable(command)
	}
	path := ""
	for _, e := range environ {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			path = value
		}
	}
	var denied error
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, command)
		// A relative PATH entry would run what lies in the working directory.
		if !filepath.IsAbs(file) {
			continue
		}
		err := executable(file)
		if err == nil {
			return file, nil
		}
		var status statusError
		if errors.As(err, &status) && status.status == exitNotExecuted {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", statusError{fmt.Errorf("there is no command %q in the PATH", command), exitNoSuchFile}
}

func executable(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return statusError{fmt.Errorf("there is no command %q", file), exitNoSuchFile}
	case err != nil:
		return statusError{fmt.Errorf("%q can't be started: %w", file, err), exitNotExecuted}
	case info.IsDir() || info.Mode()&0o111 == 0:
		return statusError{fmt.Errorf("%q is not executable", file), exitNotExecuted}
	}
	return nil
}
