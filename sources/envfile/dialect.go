package envfile

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
)

// dialect is one way of writing settings in a file. A dialect can read back
// exactly whatever it writes.
type dialect interface {
	name() string
	// parse splits a text into its statements. Together they are the text, byte
	// for byte.
	parse(text string) ([]statement, error)
	// checkName says why a file for that client type can have no such name, "" when
	// it can.
	checkName(name string, client patchbay.ClientType) string
	// encode writes a value for an application of that client type, as it stands
	// behind the equals sign; why says why it can't be written.
	encode(value string, client patchbay.ClientType) (written, why string)
	// misread names those that read the application's value otherwise all the
	// same, "" for nobody.
	misread(name, value string, client patchbay.ClientType) string
	// maxLine is the longest line that readers take, in bytes, 0 for any length.
	maxLine() int
}

var dialects = map[string]dialect{"dotenv": dotenv{}, "docker": docker{}, "systemd": systemd{}}

type statementKind int

const (
	other      statementKind = iota // empty lines, and lines that readers ignore
	comment                         // a line that is a comment
	assignment                      // a name and a value
)

// statement is a part of a settings file: whole lines, their ends included.
type statement struct {
	kind statementKind
	text string
	// Of an assignment: what it says, and where its separator begins and its
	// value ends in text. What is before and after stays when a value is replaced.
	name, value string
	from, to    int
}

// assign gives the statement another value, already encoded.
func (s statement) assign(written string) string {
	rest := s.text[s.to:]
	if strings.HasPrefix(rest, "#") {
		rest = " " + rest // a comment right behind a quote; behind a bare value it would be part of it
	}
	return s.text[:s.from] + "=" + written + rest
}

// refusal is why a text can't be used; the line counts from 1.
type refusal struct {
	line int
	why  string
}

func (r refusal) Error() string { return fmt.Sprintf("line %d %s", r.line, r.why) }

func refuse(text string, at int, why string) error {
	return refusal{line: 1 + strings.Count(text[:at], "\n"), why: why}
}

// maxName bounds what ends up in a mark, an error and a process's environment.
const maxName = 255

const tooLong = "is longer than 255 bytes"

const byteOrderMark = "\uFEFF"

// checkText refuses what no dialect can hold.
func checkText(content []byte) error {
	if at := bytes.IndexByte(content, 0); at >= 0 {
		return refuse(string(content), at, "has a NUL byte: this is no text")
	}
	if !utf8.Valid(content) {
		at := 0
		for {
			r, size := utf8.DecodeRune(content[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		return refuse(string(content), at, "is not UTF-8")
	}
	return nil
}

// lineEnd is where the content of the line that i is in ends, and where the
// next line begins. A carriage return before the end belongs to it.
func lineEnd(text string, i int) (content, next int) {
	content, next = len(text), len(text)
	if at := strings.IndexByte(text[i:], '\n'); at >= 0 {
		content, next = i+at, i+at+1
	}
	if content > i && text[content-1] == '\r' {
		content--
	}
	return content, next
}

// checkValue refuses what no environment variable can hold.
func checkValue(value string) string {
	switch {
	case strings.Contains(value, "\x00"):
		return "holds a NUL byte, which no environment variable can"
	case !utf8.ValidString(value):
		return "is not UTF-8"
	}
	return ""
}

// checkSetting refuses a setting that the dialect can't hold. The value itself
// is never part of the error.
func checkSetting(d dialect, s patchbay.Setting, client patchbay.ClientType) error {
	if why := d.checkName(s.Name, client); why != "" {
		return invalid(s.Name, "the setting name %q %s", clip(s.Name), why).
			WithFix("name it with letters, digits and underscores, beginning with a letter")
	}
	value := s.Value.Reveal()
	why := checkValue(value)
	if why == "" {
		var written string
		written, why = d.encode(value, client)
		if m := d.maxLine(); why == "" && m > 0 && len(s.Name)+len(written)+1 > m {
			why = fmt.Sprintf("makes a line longer than the %d bytes that its readers take", m)
		}
	}
	if why != "" {
		return invalid(s.Name, "the value of %s %s", s.Name, why).
			WithFix("give it one of letters, digits, dots and dashes: that is read alike by all")
	}
	return nil
}

func invalid(subject, format string, args ...any) *patchbay.Error {
	e := patchbay.Errorf(patchbay.InvalidArgument, format, args...)
	e.Subject = clip(subject)
	return e
}

// clip keeps a hostile name from filling a log.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// isName reports whether s is letters, digits, underscores and what else
// allows, not beginning with a digit or with that.
func isName(s, also string) bool {
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		case i > 0 && ('0' <= c && c <= '9' || strings.IndexByte(also, c) >= 0):
		default:
			return false
		}
	}
	return s != ""
}
