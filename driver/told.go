package driver

import (
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// What a target tells is kept: in the journal, in the audit log, in answers. A
// target has no say in how much that is.
const (
	maxText  = 2 << 10 // bytes of one text
	maxLines = 100     // of what is for people
	maxSubs  = 10_000
	maxOwned = 20_000 // no target that is used has so many logins of ours
)

// clip is a text of a length that can be kept.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// few are the first lines of what is for people, and how many more there are.
func few(lines []string) []string {
	more := len(lines) - maxLines
	if more > 0 {
		lines = lines[:maxLines]
	}
	lines = slices.Clone(lines)
	for i, line := range lines {
		lines[i] = clip(line)
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("%d more", more))
	}
	return lines
}

func (i TargetInfo) bounded() TargetInfo {
	i.Version, i.TLS, i.Warnings = clip(i.Version), clip(i.TLS), few(i.Warnings)
	i.Subs = slices.DeleteFunc(slices.Clone(i.Subs[:min(len(i.Subs), maxSubs)]), func(s string) bool { return len(s) > maxText })
	return i
}

// checkOwned refuses lists that no target of ours has: what is in them would
// be looked at, and removed, one by one.
func checkOwned(owned []Owned) error {
	if len(owned) > maxOwned {
		return patchbay.Errorf(patchbay.TargetMisbehaved, "it says to have %d things of ours, and nobody has more than %d", len(owned), maxOwned)
	}
	for _, o := range owned {
		if len(o.Name)+len(o.Sub)+len(o.Mark.UID)+len(o.Mark.Connection) > maxText {
			return patchbay.Errorf(patchbay.TargetMisbehaved, "it says to have a thing of ours with a name of more than %d bytes", maxText)
		}
	}
	return nil
}
