package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
)

// maxFile bounds a file whose content is a property, in bytes.
const maxFile = 1 << 20

// fieldFlag is a field of a driver as a flag.
type fieldFlag struct {
	patchbay.Field
	// flag is its name; "" when the command has one of that name already, or the
	// field is of a type that this release does not know: --property says it.
	flag string
	// elsewhere says of a path that it is on another machine.
	elsewhere bool
	text      string
	on        bool
	list      []string
}

// addFlags are what no field of a driver is called on the command line.
var addFlags = []string{"resource-group", "location", "tag", "no-check", "property", "type", "url", "admin", "admin-env", "help"}

// flagOf is the flag that a field can have; "" for none.
func (a *app) flagOf(f patchbay.Field) string {
	known := []patchbay.FieldType{patchbay.TextField, patchbay.BoolField, patchbay.ListField, patchbay.MapField, patchbay.FileField, patchbay.PathField, patchbay.HostField}
	name := f.Word()
	if !slices.Contains(known, f.Type) || !wordForm.MatchString(name) || slices.Contains(addFlags, name) || a.globals.Lookup(name) != nil || f.Secret && a.globals.Lookup(name+"-file") != nil {
		return ""
	}
	return name
}

func newFieldFlag(a *app, cmd *cobra.Command, field patchbay.Field) *fieldFlag {
	f := &fieldFlag{Field: field}
	name := a.flagOf(field)
	if name == "" || !a.isFree(cmd, name) {
		return f
	}
	fs := cmd.Flags()
	about := fieldHelp(field)
	switch field.Type {
	case patchbay.TextField, patchbay.FileField, patchbay.PathField, patchbay.HostField:
		fs.StringVar(&f.text, name, "", about)
	case patchbay.BoolField:
		fs.BoolVar(&f.on, name, false, about)
	case patchbay.ListField:
		if field.Commas {
			fs.StringSliceVar(&f.list, name, nil, about)
		} else {
			fs.StringArrayVar(&f.list, name, nil, about)
		}
	case patchbay.MapField:
		fs.StringArrayVar(&f.list, name, nil, about)
	}
	f.flag = name
	switch {
	case len(field.Words) > 0:
		must(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(field.Words, cobra.ShellCompDirectiveNoFileComp)))
	case field.Type == patchbay.HostField:
		must(cmd.RegisterFlagCompletionFunc(name, a.completeHosts))
	case field.Type == patchbay.PathField && field.Form == "DIR":
		must(cmd.MarkFlagDirname(name))
	case field.Type == patchbay.PathField, field.Type == patchbay.FileField:
		must(cmd.MarkFlagFilename(name))
	}
	return f
}

// fieldHelp is what help says of a field.
func fieldHelp(f patchbay.Field) string {
	if form := fieldForm(f); form != "" {
		return form + ": " + fieldMeans(f)
	}
	return fieldMeans(f)
}

func fieldMeans(f patchbay.Field) string {
	about := f.About
	if len(f.Words) > 0 {
		about += ": " + inWords(f.Words, "or")
	}
	var notes []string
	if f.Type == patchbay.ListField || f.Type == patchbay.MapField {
		notes = append(notes, "several")
	}
	switch {
	case f.Required:
		notes = append(notes, "needed")
	case f.Default != "":
		notes = append(notes, "default "+f.Default)
	}
	if f.Example != "" && len(f.Words) == 0 {
		notes = append(notes, "as "+f.Example)
	}
	if len(notes) > 0 {
		about += " (" + strings.Join(notes, "; ") + ")"
	}
	return about
}

// fieldForm is what stands for a value.
func fieldForm(f patchbay.Field) string {
	switch {
	case f.Form != "":
		return f.Form
	case f.Type == patchbay.FileField:
		return "FILE"
	case f.Type == patchbay.MapField:
		return "name=value"
	}
	return ""
}

// said is the flag of the field, with what stands for its value.
func (f *fieldFlag) said() string { return said(f.flag, f.Field) }

func said(flag string, f patchbay.Field) string {
	switch {
	case flag == "":
		return "--property " + f.Name + ":=JSON"
	case f.Type == patchbay.BoolField:
		return "--" + flag
	}
	return "--" + flag + " " + first(fieldForm(f), strings.ToUpper(f.Name[strings.LastIndexByte(f.Name, '.')+1:]))
}

// value is the field's value on the wire, nil when it was not given.
func (f *fieldFlag) value(a *app, cmd *cobra.Command) (any, error) {
	if f.flag == "" {
		return nil, nil
	}
	for _, text := range append([]string{f.text}, f.list...) {
		if text != "" && len(f.Words) > 0 && !slices.Contains(f.Words, text) && f.Type != patchbay.MapField {
			return nil, usagef(cmd, "--%s has no %q; it takes %s%s", f.flag, clean(text), inWords(f.Words, "or"), didYouMean(text, f.Words))
		}
	}
	switch f.Type {
	case patchbay.BoolField:
		if cmd.Flags().Changed(f.flag) {
			return f.on, nil
		}
	case patchbay.ListField:
		if len(f.list) > 0 {
			return f.list, nil
		}
	case patchbay.MapField:
		m, err := pairs("--"+f.flag, f.list, nil)
		if err != nil {
			return nil, usageError{err, cmd.CommandPath()}
		}
		if len(m) > 0 {
			return m, nil
		}
	default:
		if f.text != "" {
			return f.fromText(cmd.Context(), a, f.text)
		}
	}
	return nil, nil
}

// fromText is the value that a text of the command line stands for.
func (f *fieldFlag) fromText(ctx context.Context, a *app, text string) (any, error) {
	switch f.Type {
	case patchbay.FileField:
		return readFile(first(f.flag, f.Name), text)
	case patchbay.HostField:
		return a.oneOf(ctx, a.hosts(), text, "")
	case patchbay.PathField:
		if !f.elsewhere {
			return a.serverPath(text)
		}
		if !path.IsAbs(text) {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "--%s is a path on the host, where %q leads nowhere by itself", first(f.flag, f.Name), text).
				WithFix("name it from the root there: --%s /…", first(f.flag, f.Name))
		}
	}
	return text, nil
}

// ask asks for a value that is needed; where nobody can be asked, the error says
// how to give it.
func (f *fieldFlag) ask(ctx context.Context, a *app, cmd *cobra.Command) (any, error) {
	missing := usagef(cmd, "%s is missing: %s (%s)", f.Name, f.said(), f.About)
	if !a.interactive() || f.flag == "" {
		return nil, missing
	}
	question := sentence(f.About) + "?"
	if form := fieldForm(f.Field); form != "" {
		question = sentence(f.About) + " (" + form + ")?"
	}
	switch {
	case f.Type == patchbay.BoolField:
		return a.asker.confirm(ctx, question)
	case f.Type == patchbay.MapField:
		return nil, missing
	case len(f.Words) > 0:
		var choices []choice
		for _, w := range f.Words {
			choices = append(choices, choice{w, w})
		}
		text, err := a.asker.choose(ctx, question, choices)
		if f.Type == patchbay.ListField {
			return []string{text}, err
		}
		return text, err
	}
	text, err := a.asker.ask(ctx, question, "", needed(f.Name))
	if err != nil {
		return nil, err
	}
	if f.Type == patchbay.ListField {
		return []string{text}, nil
	}
	return f.fromText(ctx, a, text)
}

// sentence is a text with a capital at its beginning.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// readFile is the content of a file that a flag names.
func readFile(flag, name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "the file of --%s can't be read: %w", flag, err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return "", patchbay.Errorf(patchbay.InvalidArgument, "the file of --%s can't be read: %w", flag, err)
	case len(text) > maxFile:
		return "", patchbay.Errorf(patchbay.InvalidArgument, "the file of --%s is longer than %d bytes", flag, maxFile)
	}
	return string(text), nil
}

// serverPath is a path on the server's machine. On the same machine a relative
// one is as seen from here: the server has another working directory.
func (a *app) serverPath(path string) (string, error) {
	server, err := a.findServer()
	if err != nil || !server.local {
		return path, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "%q is no path: %w", path, err)
	}
	return abs, nil
}

// withPorts gives those of an endpoint's hosts a port that have none; a URL stays
// as it is.
func withPorts(endpoint, port string) string {
	if strings.Contains(endpoint, "://") {
		return endpoint
	}
	hosts := strings.Split(endpoint, ",")
	for i, host := range hosts {
		if _, _, err := net.SplitHostPort(host); err != nil {
			hosts[i] = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
	}
	return strings.Join(hosts, ",")
}

// setMember sets a member of an object; tls.ca is the member ca of its tls.
func setMember(m map[string]any, name string, value any) {
	outer, inner, nested := strings.Cut(name, ".")
	if !nested {
		m[name] = value
		return
	}
	below, ok := m[outer].(map[string]any)
	if !ok {
		below = map[string]any{}
		m[outer] = below
	}
	setMember(below, inner, value)
}

// setProperties adds name=text and name:=JSON to m.
func setProperties(m map[string]any, args []string) error {
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" || name == ":" {
			return fmt.Errorf("--property takes name=text or name:=JSON")
		}
		if bare, isJSON := strings.CutSuffix(name, ":"); isJSON {
			var v any
			if err := json.Unmarshal([]byte(value), &v); err != nil {
				return fmt.Errorf("--property %s:= is not JSON: %w", clean(bare), err)
			}
			m[bare] = v
			continue
		}
		m[name] = value
	}
	return nil
}
