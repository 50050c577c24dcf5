package cli

import (
	"context"
	"errors"

	"charm.land/huh/v2"

	"patchbay.dev/patchbay"
)

// asker asks the person at the terminal. Its questions go to standard error:
// standard output is for the result.
type asker interface {
	choose(ctx context.Context, title string, choices []choice) (string, error)
	ask(ctx context.Context, title, suggestion string, check func(string) error) (string, error)
	password(ctx context.Context, title string) (patchbay.Secret, error)
	confirm(ctx context.Context, title string) (bool, error)
}

type choice struct{ label, value string }

// interactive reports whether somebody can be asked.
func (a *app) interactive() bool {
	return !a.stdinUsed && a.IsTerminal(a.Stdin) && a.IsTerminal(a.Stderr)
}

// formAsker asks with forms; with ACCESSIBLE set, with plain lines that a
// screen reader can follow.
type formAsker struct{ app *app }

func (f *formAsker) run(ctx context.Context, field huh.Field) error {
	err := huh.NewForm(huh.NewGroup(field)).
		WithShowHelp(false).
		WithInput(f.app.Stdin).
		WithOutput(f.app.Stderr).
		WithAccessible(f.app.Getenv("ACCESSIBLE") != "").
		RunWithContext(ctx)
	if errors.Is(err, huh.ErrUserAborted) {
		return statusError{nil, exitInterrupted}
	}
	return err
}

func (f *formAsker) choose(ctx context.Context, title string, choices []choice) (string, error) {
	options := make([]huh.Option[string], len(choices))
	for i, c := range choices {
		options[i] = huh.NewOption(clean(c.label), c.value)
	}
	var value string
	err := f.run(ctx, huh.NewSelect[string]().Title(clean(title)).Options(options...).Value(&value))
	return value, err
}

func (f *formAsker) ask(ctx context.Context, title, suggestion string, check func(string) error) (string, error) {
	value := suggestion
	err := f.run(ctx, huh.NewInput().Title(clean(title)).Value(&value).Validate(check))
	return value, err
}

func (f *formAsker) password(ctx context.Context, title string) (patchbay.Secret, error) {
	var value string
	err := f.run(ctx, huh.NewInput().Title(clean(title)).EchoMode(huh.EchoModePassword).Value(&value))
	return patchbay.NewSecret(value), err
}

func (f *formAsker) confirm(ctx context.Context, title string) (bool, error) {
	var yes bool
	err := f.run(ctx, huh.NewConfirm().Title(clean(title)).Value(&yes))
	return yes, err
}
