package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"go.yaml.in/yaml/v4"
)

var outputFormats = []string{"json", "table", "yaml", "none"}

// rows is a table: a head, and lines as wide as it.
type rows struct {
	head  []string
	lines [][]string
	// wraps are the columns whose words go on in the next line, each with its width.
	wraps map[string]int
}

func (r *rows) add(cells ...string) { r.lines = append(r.lines, cells) }

// print writes a command's result: value as json or yaml, or the table.
func (a *app) print(value any, asTable func() rows) error {
	switch format := a.format(); format {
	case "none":
		return nil
	case "table":
		return writeTable(a.Stdout, asTable())
	case "yaml":
		return writeYAML(a.Stdout, value)
	default:
		return writeJSON(a.Stdout, value)
	}
}

func (a *app) format() string { return first(a.output, a.Getenv("PATCHBAY_OUTPUT"), "json") }

// checkOutput refuses an unknown format before anything is asked for.
func (a *app) checkOutput() error {
	if f := a.format(); !slices.Contains(outputFormats, f) {
		return fmt.Errorf("there is no output format %q; there are %s", f, strings.Join(outputFormats, ", "))
	}
	return nil
}

func writeTable(w io.Writer, r rows) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	var wrapped []table.ColumnConfig
	for name, width := range r.wraps {
		wrapped = append(wrapped, table.ColumnConfig{Name: name, WidthMax: width, WidthMaxEnforcer: text.WrapSoft})
	}
	t.SetColumnConfigs(wrapped)
	head := make(table.Row, len(r.head))
	for i, h := range r.head {
		head[i] = h
	}
	t.AppendHeader(head)
	for _, line := range r.lines {
		row := make(table.Row, len(line))
		for i, cell := range line {
			row[i] = clean(cell)
		}
		t.AppendRow(row)
	}
	t.SuppressTrailingSpaces()
	_, err := io.WriteString(w, t.Render()+"\n")
	return err
}

func writeJSON(w io.Writer, value any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return err
	}
	_, err := w.Write(escapeForTerminal(b.Bytes()))
	return err
}

// writeYAML goes through JSON, so that both formats have the same names.
func writeYAML(w io.Writer, value any) error {
	js, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(js, &doc); err != nil {
		return err
	}
	blockStyle(&doc)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return err
	}
	if err := enc.Close(); err != nil {
		return err
	}
	_, err = w.Write(escapeForTerminal(b.Bytes()))
	return err
}

// blockStyle undoes the flow style of JSON; a string that would do something
// to a terminal stays in double quotes, where it can be escaped.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && strings.ContainsFunc(n.Value, unsafeOnTerminal) {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// unsafeOnTerminal reports whether printing r does something other than show a
// character: controls, of both sets, and what changes the direction or the
// line without being seen.
func unsafeOnTerminal(r rune) bool {
	switch {
	case unicode.IsControl(r):
		return true
	case r == utf8.RuneError, r == '\u061c', r == '\u200e', r == '\u200f', r == '\u2028', r == '\u2029', r == '\ufeff':
		return true
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
		return true
	}
	return false
}

// clean is s with everything that would do something to a terminal written as
// its escape: names, messages and values come from elsewhere.
func clean(s string) string {
	if !strings.ContainsFunc(s, unsafeOnTerminal) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !unsafeOnTerminal(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += size
	}
	return b.String()
}

// escapeForTerminal writes what an encoder left raw as \uXXXX, which JSON and
// double-quoted YAML read back as the same character.
func escapeForTerminal(text []byte) []byte {
	if !bytes.ContainsFunc(text, func(r rune) bool { return r != '\n' && unsafeOnTerminal(r) }) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if r != '\n' && unsafeOnTerminal(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.Bytes()
}
