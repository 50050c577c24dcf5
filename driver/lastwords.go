package driver

import (
	"bytes"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// lastLines is how many lines of a log tell why an application did not come up.
const lastLines = 3

// LastWords is the end of an output for people, as one line: without anything that
// could be a setting or a piece of one, and with nothing in it that does harm where
// it is shown. Of a line of more than some 200 bytes both ends are there.
func LastWords(output []byte, settings map[string]patchbay.Secret) string {
	var said []string
	for line := range bytes.Lines(output) {
		if text := strings.Join(strings.Fields(strings.ToValidUTF8(string(line), "")), " "); text != "" {
			said = append(said, text)
		}
	}
	said = said[max(0, len(said)-lastLines):]
	hidden := patchbay.NewSecret("x").String()
	var values []string
	for _, v := range settings {
		if plain := v.Reveal(); len(plain) >= 4 {
			values = append(values, plain)
		}
	}
	// The longest first: one that begins another would leave the other's end.
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	for i, line := range said {
		for _, v := range values {
			line = strings.ReplaceAll(line, v, hidden)
		}
		// A program may quote a part of a setting, such as the password in a URL.
		for _, part := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \"'`()[]{}<>,;=", r) }) {
			part = strings.Trim(part, ".:!?")
			if len(part) < 4 || part == strings.Trim(hidden, "[]") {
				continue
			}
			if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, part) }) {
				line = strings.ReplaceAll(line, part, hidden)
			}
		}
		said[i] = bothEnds(line)
	}
	return strings.Join(said, "; ")
}
