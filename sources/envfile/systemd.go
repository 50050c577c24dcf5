package envfile

import (
	"errors"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/sources/internal/environmentfile"
)

// systemd is the dialect of EnvironmentFile= (systemd.exec(5)).
type systemd struct{}

func (systemd) name() string { return "systemd" }

func (systemd) maxLine() int { return 0 }

func (systemd) checkName(name string, _ patchbay.ClientType) string {
	if len(name) > maxName {
		return tooLong
	}
	if !environmentfile.IsName(name) {
		return "is none that systemd sets (it leaves others out without a word): letters, digits and underscores, not beginning with a digit"
	}
	return ""
}

func (systemd) encode(value string, _ patchbay.ClientType) (written, why string) {
	return environmentfile.Quote(value), ""
}

func (systemd) misread(string, string, patchbay.ClientType) string { return "" }

var systemdKinds = map[environmentfile.Kind]statementKind{
	environmentfile.Other: other, environmentfile.Comment: comment, environmentfile.Assignment: assignment,
}

func (systemd) parse(text string) ([]statement, error) {
	found, err := environmentfile.Parse(text)
	if bad := (*environmentfile.Ambiguity)(nil); errors.As(err, &bad) {
		return nil, refusal{line: bad.Line, why: bad.Why}
	}
	list := make([]statement, len(found))
	for i, s := range found {
		list[i] = statement{kind: systemdKinds[s.Kind], text: s.Text, name: s.Name, value: s.Value, from: s.From, to: s.To}
	}
	return list, nil
}
