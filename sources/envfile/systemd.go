package envfile

import (
	"strings"

	"patchbay.dev/patchbay"
)

// systemd is the dialect of EnvironmentFile= (systemd.exec(5)). Values are
// written between double quotes, where line breaks may stand as they are and
// where a shell that sources the file reads the same.
type systemd struct{}

func (systemd) name() string { return "systemd" }

func (systemd) maxLine() int { return 0 }

func (systemd) checkName(name string, _ patchbay.ClientType) string {
	if len(name) > maxName {
		return tooLong
	}
	if !isName(name, "") {
		return "is none that systemd sets (it leaves others out without a word): letters, digits and underscores, not beginning with a digit"
	}
	return ""
}

// systemdEscapes are what a backslash between double quotes takes the meaning
// of; before anything else it stands for itself.
const systemdEscapes = "\"\\`$"

func (systemd) encode(value string, _ patchbay.ClientType) (written, why string) {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(value) {
		if strings.IndexByte(systemdEscapes, value[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(value[i])
	}
	b.WriteByte('"')
	return b.String(), ""
}

func (systemd) misread(string, string, patchbay.ClientType) string { return "" }

const (
	systemdSpace = " \t\r\n"
	systemdBreak = "\r\n"
)

func has(set string, c byte) bool { return strings.IndexByte(set, c) >= 0 }

func (systemd) parse(text string) ([]statement, error) {
	if strings.HasPrefix(text, byteOrderMark) {
		// systemd takes it for a part of the first name.
		return nil, refuse(text, 0, "begins with a byte order mark, which systemd does not know")
	}
	var list []statement
	for i := 0; i < len(text); {
		if i > 0 && text[i-1] == '\r' {
			return nil, refuse(text, i-1, "has a carriage return within, which systemd takes for the end of the line")
		}
		start := i
		for i < len(text) && has(systemdSpace, text[i]) && !has(systemdBreak, text[i]) {
			i++
		}
		switch {
		case i == len(text) || has(systemdBreak, text[i]):
			i = pastBreak(text, i)
			list = append(list, statement{kind: other, text: text[start:i]})
		case text[i] == '#' || text[i] == ';':
			for i < len(text) && !has(systemdBreak, text[i]) {
				i++
			}
			// Whether the next line still is the comment depends on systemd's version.
			if text[i-1] == '\\' {
				return nil, refuse(text, start, "is a comment that ends in a backslash: older versions of systemd take the next line for a part of it")
			}
			i = pastBreak(text, i)
			list = append(list, statement{kind: comment, text: text[start:i]})
		default:
			s, next, err := systemdAssignment(text, start, i)
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

// systemdAssignment reads the line that begins at start and whose name begins
// at i, as systemd's own reader does, state by state.
func systemdAssignment(text string, start, i int) (statement, int, error) {
	name := i
	i++ // a name has one character, were it an equals sign
	for i < len(text) && text[i] != '=' && !has(systemdBreak, text[i]) {
		i++
	}
	if i == len(text) || text[i] != '=' {
		next := pastBreak(text, i)
		return statement{kind: other, text: text[start:next]}, next, nil
	}
	s := statement{kind: assignment, name: strings.TrimRight(text[name:i], systemdSpace), from: i - start}
	i++
	var value []byte
	end := i       // of the value as it is written, spaces behind it left out
	kept := 0      // of value: what is no trailing space
	inner := false // within a value that is not quoted, where spaces count
	for i < len(text) && !has(systemdBreak, text[i]) {
		c := text[i]
		i++
		switch {
		case c == '\\':
			if i == len(text) {
				return s, 0, refuse(text, start, "ends in a backslash: what is written behind it would become a part of it")
			}
			inner = true
			if next := pastBreak(text, i); has(systemdBreak, text[i]) {
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
			value, i, ok = systemdQuoted(text, i, c, value)
			if !ok {
				return s, 0, refuse(text, start, "opens a quote that is never closed")
			}
			kept, end = len(value), i
		case has(systemdSpace, c):
			if inner {
				value = append(value, c)
			}
		default:
			inner = true
			value = append(value, c)
			kept, end = len(value), i
		}
	}
	s.value, s.to = string(value[:kept]), end-start
	i = pastBreak(text, i)
	s.text = text[start:i]
	return s, i, nil
}

// systemdQuoted appends what is between the quote before i and the next one.
func systemdQuoted(text string, i int, quote byte, value []byte) ([]byte, int, bool) {
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
			case has(systemdEscapes, c):
				value = append(value, c)
			case c != '\n':
				value = append(value, '\\', c)
			}
			i++
		}
	}
	return nil, 0, false
}
