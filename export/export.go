// Package export writes what a connection would put on its source in the formats
// that other tools read, for who carries it there by other means. What a format
// can't hold exactly is refused by name.
package export

import (
	"slices"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/sources/envfile"
)

// Connection is what is written.
type Connection struct {
	Name   string // of the connection alone
	Source string // the name of what it is for; "" for a developer's own
	Client patchbay.ClientType
	Set    []patchbay.Setting
}

// Format is a way to write a connection's settings.
type Format struct {
	Name  string
	About string // what reads it
	// Archive says that it is no text.
	Archive bool
	// write gives the text of the variables and files; what of them it has no place
	// for, Write has left out.
	write func(Connection) (text []byte, warnings []string, err error)
	// variables and files are what the format has a place for.
	variables, files bool
}

var formats = []Format{
	{Name: "dotenv", About: "a .env file, as the client type's library reads it", variables: true, write: lines("dotenv")},
	{Name: "compose", About: "an override file for the service of the source's name, with the settings in it", variables: true, files: true, write: compose},
	{Name: "kubernetes", About: "a Secret for envFrom, and another one for files", variables: true, files: true, write: kubernetes},
	{Name: "systemd", About: "a file for EnvironmentFile=", variables: true, write: lines("systemd")},
	{Name: "servicebinding", About: "a tar archive of the directory below $SERVICE_BINDING_ROOT", Archive: true, files: true, write: binding},
	{Name: "vcap", About: "the value of VCAP_SERVICES", variables: true, files: true, write: vcap},
}

// Formats are all that there are.
func Formats() []Format { return slices.Clone(formats) }

// Write is the connection in that format. warnings say what of it is not there, and
// what somebody may read otherwise. No value is in an error.
func (f Format) Write(c Connection) (text []byte, warnings []string, err error) {
	kept := c
	kept.Set = nil
	var left []string
	for _, s := range c.Set {
		if text := s.Name + "=" + s.Value.Reveal(); strings.Contains(text, "\x00") || !utf8.ValidString(text) {
			return nil, nil, refuse(s.Name, "is no text, and %s holds nothing else", f.Name)
		}
		if s.File && f.files || !s.File && f.variables {
			kept.Set = append(kept.Set, s)
			continue
		}
		left = append(left, s.Name)
	}
	switch {
	case len(c.Set) == 0:
		return nil, nil, patchbay.Errorf(patchbay.ResourceNotFound, "the connection %s has no settings", c.Name)
	case len(kept.Set) == 0 && f.files:
		return nil, nil, patchbay.Errorf(patchbay.NotSupported, "the settings of %s are environment variables, and %s is files", c.Name, f.Name).
			WithFix("update the connection with --naming servicebinding, or choose another format")
	case len(kept.Set) == 0:
		return nil, nil, patchbay.Errorf(patchbay.NotSupported, "the settings of %s are files, and %s is environment variables", c.Name, f.Name).
			WithFix("--format servicebinding")
	}
	text, warnings, err = f.write(kept)
	if err == nil && len(left) > 0 {
		what := "files"
		if f.files {
			what = "environment variables"
		}
		warnings = append(warnings, "not in it, because they are "+what+": "+strings.Join(left, ", "))
	}
	return text, warnings, err
}

func refuse(name, format string, args ...any) error {
	e := patchbay.Errorf(patchbay.InvalidArgument, "the setting "+clip(name)+" "+format, args...)
	e.Subject = clip(name)
	return e.WithFix("give it another name with --customized-keys, or choose another format")
}

// clip keeps a hostile name from filling a terminal, and from being a format.
func clip(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "%", "%%")
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// lines is a settings file of that dialect.
func lines(dialect string) func(Connection) ([]byte, []string, error) {
	return func(c Connection) ([]byte, []string, error) {
		text, warnings, err := envfile.Lines(dialect, c.Client, c.Set)
		return []byte(text), warnings, err
	}
}

// parts are the variables and the files.
func (c Connection) parts() (variables, files []patchbay.Setting) {
	for _, s := range c.Set {
		if s.File {
			files = append(files, s)
		} else {
			variables = append(variables, s)
		}
	}
	return variables, files
}
