package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"patchbay.dev/patchbay"
)

// maxSecret bounds a secret that is read from a file or a pipe, in bytes.
const maxSecret = 1 << 20

// secretValue is a secret as a command line gives it: @FILE is the file's
// content and @- standard input's, without the newline at their end; anything
// else is the secret itself, which the person is warned of.
func (a *app) secretValue(what, arg string) (patchbay.Secret, error) {
	if file, ok := strings.CutPrefix(arg, "@"); ok {
		return a.secretFile(what, file)
	}
	if arg != "" {
		a.notef("patchbay: warning: the %s is on the command line, where other users of this machine and the shell's history can see it; @FILE and @- are not", what)
	}
	return patchbay.NewSecret(arg), nil
}

// secretFile reads a secret; "-" is standard input.
func (a *app) secretFile(what, name string) (patchbay.Secret, error) {
	var r io.Reader
	if name == "-" {
		if a.stdinUsed {
			return patchbay.Secret{}, usageError{fmt.Errorf("two secrets can't both come from standard input"), "patchbay"}
		}
		a.stdinUsed = true
		r = a.Stdin
	} else {
		f, err := os.Open(name)
		if err != nil {
			return patchbay.Secret{}, patchbay.Errorf(patchbay.InvalidArgument, "the %s can't be read: %w", what, err)
		}
		defer func() { _ = f.Close() }()
		r = f
	}
	text, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	switch {
	case err != nil:
		return patchbay.Secret{}, patchbay.Errorf(patchbay.InvalidArgument, "the %s can't be read: %w", what, err)
	case len(text) > maxSecret:
		return patchbay.Secret{}, patchbay.Errorf(patchbay.InvalidArgument, "the %s is longer than %d bytes", what, maxSecret)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if value == "" {
		return patchbay.Secret{}, patchbay.Errorf(patchbay.InvalidArgument, "the %s is empty", what)
	}
	return patchbay.NewSecret(value), nil
}

// secretEnv takes a secret from the environment.
func (a *app) secretEnv(what, name string) (patchbay.Secret, error) {
	value := a.Getenv(name)
	if value == "" {
		return patchbay.Secret{}, patchbay.Errorf(patchbay.InvalidArgument, "the %s is not in the environment: %s is empty or not set", what, name)
	}
	return patchbay.NewSecret(value), nil
}
