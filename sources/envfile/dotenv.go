package envfile

import (
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// dotenv is the dialect of the libraries called dotenv: see the package
// comment for what is written and who reads it how.
type dotenv struct{}

func (dotenv) name() string { return "dotenv" }

func (dotenv) maxLine() int { return 0 }

func (dotenv) checkName(name string, client patchbay.ClientType) string {
	if len(name) > maxName {
		return tooLong
	}
	if !isName(name, ".-") {
		return "is none that dotenv files can hold: letters, digits, underscores, dots and dashes, not beginning with a digit, dot or dash"
	}
	return refused(name, client)
}

// form is a way of writing a value.
type form int

const (
	single  form = iota // 'value', just as it is
	double              // "value", just as it is
	bare                // value, just as it is
	escaped             // "value" with \\, \", \$ and \r for what needs it
	lines               // the same, with \n too
	forms
)

// write is the value in that form, if it can hold it: what is read back is the
// value, and no line ends within it that does not for every reader.
func (f form) write(value string) (written string, ok bool) {
	switch f {
	case single:
		return "'" + value + "'", !strings.ContainsAny(value, "'\r") && !strings.HasSuffix(value, `\`)
	case double:
		return `"` + value + `"`, !strings.ContainsAny(value, "\"\\\r")
	case bare:
		return value, value == trimSpace(value) && !bareNot.MatchString(value)
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(value) {
		switch c := value[i]; {
		case c == '\\', c == '"', c == '$':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\n' && f == lines:
			b.WriteString(`\n`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String(), true
}

// bareNot matches what needs quotes: line breaks, what begins with a quote, what
// is a comment for anybody.
var bareNot = regexp.MustCompile("[\r\n]|^['\"`#]|[\\s\u0085\u00a0]#")

// encode implements [dialect]. An earlier release's plan names no client type; it
// may be half carried out, and is gone on with in its form.
func (dotenv) encode(value string, client patchbay.ClientType) (written, why string) {
	if client == "" {
		return encodeForAll(value), ""
	}
	c := choose(value, client)
	return c.written, c.why()
}

// misread implements [dialect].
func (dotenv) misread(name, value string, client patchbay.ClientType) string {
	if client == "" {
		return ""
	}
	c := choose(value, client)
	own, any, _ := readersOf(client)
	return inWords(slices.DeleteFunc(slices.Concat(own, any), func(r reader) bool {
		return r.takes(name) && !r.misreads(c.form, value)
	}))
}

// expands matches where a reader may take a dollar sign for a variable or a
// command, or a backslash away from it.
var expands = regexp.MustCompile(`\$[A-Za-z0-9_{(]|\\\$`)

// encodeForAll is the form that earlier releases wrote.
func encodeForAll(value string) string {
	literal := !expands.MatchString(value)
	switch {
	case !strings.ContainsAny(value, "'\r") && !strings.Contains(value, `\\`) && !strings.HasSuffix(value, `\`):
		return "'" + value + "'"
	case strings.Contains(value, "'") && literal && !strings.ContainsAny(value, "\"\\\r"):
		return `"` + value + `"`
	case literal && !strings.ContainsAny(value, "#\n\r`") && value == trimSpace(value) && !strings.ContainsAny(value[:1], `'"`):
		return value
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(value) {
		switch c := value[i]; {
		case c == '\\', c == '"', c == '$' && expands.MatchString(value[i:min(i+2, len(value))]):
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\r':
			b.WriteString(`\r`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// trimSpace trims what any of the readers trims.
func trimSpace(s string) string { return strings.TrimFunc(s, isSpace) }

func isSpace(r rune) bool {
	switch {
	case r <= ' ', r == 0x7f, 0x80 <= r && r <= 0xa0, r == 0x1680, 0x2000 <= r && r <= 0x200f, r == 0x2028, r == 0x2029, r == 0x202f, r == 0x205f, r == 0x3000, r == 0xfeff:
		return true
	}
	return false
}

// key matches the beginning of an assignment up to its value. A colon needs
// a space behind it: host:port is no assignment.
var key = regexp.MustCompile(`^[ \t]*(?:export[ \t]+)?([A-Za-z0-9_.-]+)([ \t]*=[ \t]*|:[ \t]+)`)

func (dotenv) parse(text string) ([]statement, error) {
	if at := loneReturn(text); at >= 0 {
		return nil, refuse(text, at, "has a carriage return within: some readers take it for the end of the line")
	}
	var list []statement
	i := 0
	if strings.HasPrefix(text, byteOrderMark) {
		list = append(list, statement{kind: other, text: byteOrderMark})
		i = len(byteOrderMark)
	}
	for i < len(text) {
		content, next := lineEnd(text, i)
		line := text[i:content]
		s := statement{kind: other, text: text[i:next]}
		if strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
			s.kind = comment
		}
		if m := key.FindStringSubmatchIndex(line); m != nil {
			value, to, err := dotenvValue(text, i+m[1], content)
			if err != nil {
				return nil, err
			}
			// A quoted value may have gone on over several lines.
			_, next = lineEnd(text, to)
			s = statement{kind: assignment, text: text[i:next], name: line[m[2]:m[3]], value: value, from: m[4], to: to - i}
		}
		list = append(list, s)
		i = next
	}
	return list, nil
}

// loneReturn finds a carriage return that is not part of a line end, or -1.
func loneReturn(text string) int {
	for i := range len(text) {
		if text[i] == '\r' && !strings.HasPrefix(text[i+1:], "\n") {
			return i
		}
	}
	return -1
}

// dotenvValue reads the value that begins at i, in a line that ends at end. A
// text that the libraries split differently is refused: what we write into it
// could become part of somebody's value.
func dotenvValue(text string, i, end int) (value string, to int, err error) {
	line := text[i:end]
	if line == "" {
		return "", i, nil
	}
	quote := line[0]
	switch quote {
	case '`':
		if strings.IndexByte(line[1:], '`') < 0 {
			return "", 0, refuse(text, i, "opens a backtick that does not close on the same line: some readers take the lines that follow for a part of it")
		}
	case '\'', '"':
		closing := closingQuote(text[i:])
		if closing < 0 {
			return "", 0, refuse(text, i, "opens a quote that is never closed: some readers take the rest of the file for a part of it")
		}
		after := i + closing + 1
		rest, _ := lineEnd(text, after)
		tail := strings.TrimLeft(text[after:rest], " \t\r")
		if tail == "" || tail[0] == '#' {
			return unquote(text[i+1:i+closing], quote), after, nil
		}
		if i+closing > end {
			return "", 0, refuse(text, i, "opens a quote that closes in the middle of a later line")
		}
		// "a"b is no quoted value for anybody.
	}
	for at := 0; at < len(line); at++ {
		if line[at] == '#' && (at == 0 || line[at-1] == ' ' || line[at-1] == '\t') {
			line = line[:at]
			break
		}
	}
	line = strings.TrimRight(line, " \t\r")
	return line, i + len(line), nil
}

// closingQuote finds the quote that ends the one at the beginning of text, or
// -1. Between double quotes a backslash takes the next character's meaning.
// Between single quotes readers should not know a backslash, but most don't
// end at a quote behind one.
func closingQuote(text string) int {
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == text[0] && (text[0] == '"' || text[i-1] != '\\'):
			return i
		case text[i] == '\\' && text[0] == '"':
			i++
		}
	}
	return -1
}

// unquote undoes the escapes that encode writes, and those that all readers
// know.
func unquote(s string, quote byte) string {
	if quote == '\'' || !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' || i+1 == len(s) {
			b.WriteByte(c)
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case '\\', '"', '$', '`':
			b.WriteByte(s[i])
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
