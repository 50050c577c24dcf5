package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"charm.land/huh/v2"
	"golang.org/x/term"

	"patchbay.dev/patchbay"
)

// asker asks the person at the terminal. Its questions go to standard error:
// standard output is for the result.
type asker interface {
	// choose gives the value of one of the choices.
	choose(ctx context.Context, title string, choices []choice) (string, error)
	// pick gives the values of any of the choices, none too.
	pick(ctx context.Context, title string, choices []choice) ([]string, error)
	// ask gives a text that check accepts; an empty answer is the suggestion.
	ask(ctx context.Context, title, suggestion string, check func(string) error) (string, error)
	confirm(ctx context.Context, title string) (bool, error)
	// password does not show what is typed.
	password(ctx context.Context, title string) (patchbay.Secret, error)
}

type choice struct{ label, value string }

// errAborted is somebody who does not want to answer.
var errAborted = statusError{nil, exitInterrupted}

// interactive reports whether somebody can be asked.
func (a *app) interactive() bool {
	return !a.stdinUsed && a.IsTerminal(a.Stdin) && a.IsTerminal(a.Stderr)
}

func (a *app) newAsker() asker {
	lines := &lineAsker{in: a.Stdin, out: a.Stderr}
	// Forms paint over what is there, which a screen reader can't follow, nor
	// can a terminal that has no cursor to move.
	if a.Getenv("ACCESSIBLE") != "" || a.Getenv("TERM") == "dumb" {
		return lines
	}
	return &formAsker{*lines}
}

// formAsker asks with forms.
type formAsker struct{ lineAsker }

func (f *formAsker) run(ctx context.Context, field huh.Field) error {
	err := huh.NewForm(huh.NewGroup(field)).
		WithShowHelp(false).WithInput(f.in).WithOutput(f.out).
		RunWithContext(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, huh.ErrUserAborted):
		return errAborted
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

func (f *formAsker) pick(ctx context.Context, title string, choices []choice) ([]string, error) {
	options := make([]huh.Option[string], len(choices))
	for i, c := range choices {
		options[i] = huh.NewOption(clean(c.label), c.value)
	}
	var values []string
	err := f.run(ctx, huh.NewMultiSelect[string]().Title(clean(title)).Description("x or space picks, enter ends").Options(options...).Value(&values))
	return values, err
}

func (f *formAsker) ask(ctx context.Context, title, suggestion string, check func(string) error) (string, error) {
	// Shown and not filled in: who types something else means just that.
	var value string
	err := f.run(ctx, huh.NewInput().Title(clean(title)).Placeholder(clean(suggestion)).Value(&value).
		Validate(func(typed string) error { return check(first(typed, suggestion)) }))
	return first(value, suggestion), err
}

func (f *formAsker) confirm(ctx context.Context, title string) (bool, error) {
	var yes bool
	err := f.run(ctx, huh.NewConfirm().Title(clean(title)).Value(&yes))
	return yes, err
}

// lineAsker asks with plain lines.
type lineAsker struct {
	in  io.Reader
	out io.Writer
}

func (l *lineAsker) say(format string, args ...any) { _, _ = fmt.Fprintf(l.out, format, args...) }

func (l *lineAsker) choose(ctx context.Context, title string, choices []choice) (string, error) {
	l.say("%s\n", clean(title))
	for i, c := range choices {
		l.say("  %d. %s\n", i+1, clean(c.label))
	}
	for {
		l.say("1 to %d: ", len(choices))
		answer, err := l.line(ctx)
		if err != nil {
			return "", err
		}
		if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(choices) {
			return choices[n-1].value, nil
		}
	}
}

func (l *lineAsker) pick(ctx context.Context, title string, choices []choice) ([]string, error) {
	l.say("%s\n", clean(title))
	for i, c := range choices {
		l.say("  %d. %s\n", i+1, clean(c.label))
	}
	for {
		l.say("Their numbers, with spaces between them; nothing for none: ")
		answer, err := l.line(ctx)
		if err != nil {
			return nil, err
		}
		var values []string
		good := true
		for _, word := range strings.FieldsFunc(answer, func(r rune) bool { return r == ' ' || r == ',' }) {
			n, err := strconv.Atoi(word)
			if good = good && err == nil && n >= 1 && n <= len(choices); good {
				values = append(values, choices[n-1].value)
			}
		}
		if good {
			return values, nil
		}
	}
}

func (l *lineAsker) ask(ctx context.Context, title, suggestion string, check func(string) error) (string, error) {
	for {
		if suggestion == "" {
			l.say("%s ", clean(title))
		} else {
			l.say("%s [%s] ", clean(title), clean(suggestion))
		}
		answer, err := l.line(ctx)
		if err != nil {
			return "", err
		}
		if answer == "" {
			answer = suggestion
		}
		if err := check(answer); err != nil {
			l.say("%s\n", clean(err.Error()))
			continue
		}
		return answer, nil
	}
}

func (l *lineAsker) confirm(ctx context.Context, title string) (bool, error) {
	l.say("%s (y/N) ", clean(title))
	answer, err := l.line(ctx)
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), err
}

func (l *lineAsker) password(ctx context.Context, title string) (patchbay.Secret, error) {
	f, ok := l.in.(*os.File)
	if !ok {
		return patchbay.Secret{}, patchbay.Errorf(patchbay.NotSupported, "a password can't be asked for here")
	}
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return patchbay.Secret{}, err
	}
	l.say("%s ", clean(title))
	text, err := until(ctx, func() (string, error) {
		b, err := term.ReadPassword(int(f.Fd()))
		return string(b), err
	})
	l.say("\n")
	if ctx.Err() != nil {
		// The read goes on, and has the terminal not show what is typed.
		_ = term.Restore(int(f.Fd()), before)
	}
	if errors.Is(err, io.EOF) {
		err = errAborted
	}
	return patchbay.NewSecret(text), err
}

// line reads one line and nothing of the next: that is for the next question.
func (l *lineAsker) line(ctx context.Context) (string, error) {
	return until(ctx, func() (string, error) {
		var line []byte
		var b [1]byte
		for {
			n, err := l.in.Read(b[:])
			switch {
			case n == 1 && b[0] == '\n':
				return strings.TrimSpace(string(line)), nil
			case n == 1:
				line = append(line, b[0])
			case errors.Is(err, io.EOF):
				return "", errAborted
			case err != nil:
				return "", err
			}
		}
	})
}

// until gives up waiting for read when ctx ends: a read of a terminal can't be
// interrupted, and the process is about to end anyway.
func until(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := read()
		got <- answer{text, err}
	}()
	select {
	case a := <-got:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
