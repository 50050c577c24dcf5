package envfile

import (
	"strings"
	"unicode"

	"patchbay.dev/patchbay"
)

// docker is the dialect of docker run --env-file, and of podman: a name, an
// equals sign and the rest of the line, just as it is. There are no quotes, no
// escapes and no comments behind a value.
type docker struct{}

func (docker) name() string { return "docker" }

// maxLine is less than the 64 KiB that docker's line scanner has room for.
func (docker) maxLine() int { return 65_000 }

func (docker) checkName(name string, _ patchbay.ClientType) string {
	switch {
	case len(name) > maxName:
		return tooLong
	case name == "":
		return "is empty"
	case strings.HasPrefix(name, "#"):
		return "makes the line a comment"
	}
	for _, r := range name {
		if r == '=' || r == '/' || unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar || r == '\uFEFF' {
			return "is none that docker's env files can hold: no equals sign, slash, space or control character"
		}
	}
	return ""
}

func (docker) encode(value string, _ patchbay.ClientType) (written, why string) {
	if strings.ContainsAny(value, "\n\r") {
		return "", "holds a line break, which docker's env files have no way to write"
	}
	return value, ""
}

func (docker) misread(string, string, patchbay.ClientType) string { return "" }

func (d docker) parse(text string) ([]statement, error) {
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
		left := strings.TrimLeftFunc(line, unicode.IsSpace)
		name, value, ok := strings.Cut(left, "=")
		switch {
		case strings.HasPrefix(left, "#"):
			s.kind = comment
		case ok && d.checkName(name, "") == "":
			s.kind, s.name, s.value = assignment, name, value
			s.from, s.to = len(line)-len(value)-1, len(line)
		}
		list = append(list, s)
		i = next
	}
	return list, nil
}
