// Package environmentfile has the format of systemd.exec(5)'s EnvironmentFile=: how
// systemd reads such a file, and how a value is written so that it reads it back.
package environmentfile

import "strings"

// Kind is what a statement is.
type Kind int

// The kinds of statements.
const (
	Other      Kind = iota // empty lines, and lines that systemd ignores
	Comment                // a line that is a comment
	Assignment             // a name and a value
)

// Statement is a part of a file: whole lines, their ends included.
type Statement struct {
	Kind Kind
	Text string
	// Of an assignment: what it says, and where in Text its separator begins and its
	// value ends.
	Name, Value string
	From, To    int
}

// Ambiguity is why a text is not read: systemd refuses it, its versions read it
// differently, or what is written behind it would become a part of it.
type Ambiguity struct {
	Line int // from 1
	Why  string
}

func (a *Ambiguity) Error() string { return a.Why }

func refuse(text string, at int, why string) error {
	return &Ambiguity{Line: 1 + strings.Count(text[:at], "\n"), Why: why}
}

// IsName reports whether systemd sets a variable of that name. It leaves others
// out without a word.
func IsName(name string) bool {
	for i, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		case i > 0 && '0' <= c && c <= '9':
		default:
			return false
		}
	}
	return name != ""
}

// escapes are what a backslash between double quotes takes the meaning of; before
// anything else it stands for itself.
const escapes = "\"\\`$"

// Quote writes a value between double quotes, where line breaks may stand as they
// are and where a shell that sources the file reads the same.
func Quote(value string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(value) {
		if has(escapes, value[i]) {
			b.WriteByte('\\')
		}
		b.WriteByte(value[i])
	}
	b.WriteByte('"')
	return b.String()
}

const byteOrderMark = "\uFEFF"

const (
	spaces = " \t\r\n"
	breaks = "\r\n"
)

func has(set string, c byte) bool { return strings.IndexByte(set, c) >= 0 }

// Parse splits a text into its statements. Together they are the text, byte for
// byte. An error is an [Ambiguity].
func Parse(text string) ([]Statement, error) {
	if strings.HasPrefix(text, byteOrderMark) {
		// systemd takes it for a part of the first name.
		return nil, refuse(text, 0, "begins with a byte order mark, which systemd does not know")
	}
	var list []Statement
	for i := 0; i < len(text); {
		if i > 0 && text[i-1] == '\r' {
			return nil, refuse(text, i-1, "has a carriage return within, which systemd takes for the end of the line")
		}
		start := i
		for i < len(text) && has(spaces, text[i]) && !has(breaks, text[i]) {
			i++
		}
		switch {
		case i == len(text) || has(breaks, text[i]):
			i = pastBreak(text, i)
			list = append(list, Statement{Kind: Other, Text: text[start:i]})
		case text[i] == '#' || text[i] == ';':
			for i < len(text) && !has(breaks, text[i]) {
				i++
			}
			// Whether the next line still is the comment depends on systemd's version.
			if text[i-1] == '\\' {
				return nil, refuse(text, start, "is a comment that ends in a backslash: older versions of systemd take the next line for a part of it")
			}
			i = pastBreak(text, i)
			list = append(list, Statement{Kind: Comment, Text: text[start:i]})
		default:
			s, next, err := assignment(text, start, i)
			if err != nil {
				return nil, err
			}
			list, i = append(list, s), next
		}
	}
	return list, nil
}

func pastBreak(text string, i int) int {
	if i+1 < len(text) && text[i] == '\r' && text[i+1] == '\n' {
		return i + 2
	}
	return min(i+1, len(text))
}

// assignment reads the line that begins at start and whose name begins
// at i, as systemd's own reader does, state by state.
func assignment(text string, start, i int) (Statement, int, error) {
	name := i
	i++ // a name has one character, were it an equals sign
	for i < len(text) && text[i] != '=' && !has(breaks, text[i]) {
		i++
	}
	if i == len(text) || text[i] != '=' {
		next := pastBreak(text, i)
		return Statement{Kind: Other, Text: text[start:next]}, next, nil
	}
	s := Statement{Kind: Assignment, Name: strings.TrimRight(text[name:i], spaces), From: i - start}
	i++
	var value []byte
	end := i       // of the value as it is written, spaces behind it left out
	kept := 0      // of value: what is no trailing space
	inner := false // within a value that is not quoted, where spaces count
	for i < len(text) && !has(breaks, text[i]) {
		c := text[i]
		i++
		switch {
		case c == '\\':
			if i == len(text) {
				return s, 0, refuse(text, start, "ends in a backslash: what is written behind it would become a part of it")
			}
			inner = true
			if next := pastBreak(text, i); has(breaks, text[i]) {
				if next == len(text) {
					return s, 0, refuse(text, start, "ends in a backslash: what is written behind it would become a part of it")
				}
				if next == i+2 {
					// A backslash takes away the CR, and the LF behind it ends the value.
					i++
				} else {
					i = next
				}
			} else {
				value = append(value, text[i])
				i++
			}
			kept, end = len(value), i
		case !inner && (c == '\'' || c == '"'):
			var ok bool
			value, i, ok = quotedTo(text, i, c, value)
			if !ok {
				return s, 0, refuse(text, start, "opens a quote that is never closed")
			}
			kept, end = len(value), i
		case has(spaces, c):
			if inner {
				value = append(value, c)
			}
		default:
			inner = true
			value = append(value, c)
			kept, end = len(value), i
		}
	}
	s.Value, s.To = string(value[:kept]), end-start
	i = pastBreak(text, i)
	s.Text = text[start:i]
	return s, i, nil
}

// quotedTo appends what is between the quote before i and the next one.
func quotedTo(text string, i int, quote byte, value []byte) ([]byte, int, bool) {
	for i < len(text) {
		c := text[i]
		i++
		switch {
		case c == quote:
			return value, i, true
		case c != '\\' || quote == '\'':
			value = append(value, c)
		case i == len(text):
			return nil, 0, false
		default:
			switch c = text[i]; {
			case has(escapes, c):
				value = append(value, c)
			case c != '\n':
				value = append(value, '\\', c)
			}
			i++
		}
	}
	return nil, 0, false
}
