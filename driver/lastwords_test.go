package driver

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// TestLastWordsTellTheReason and nothing that could be a setting.
func TestLastWordsTellTheReason(t *testing.T) {
	settings := map[string]patchbay.Secret{"URL": patchbay.NewSecret("postgres://app:hunter22@db/shop"), "SHORT": patchbay.NewSecret("on")}
	for output, want := range map[string]string{
		"":                                      "",
		"one\n\n two\tthree \n":                 "one; two three",
		"1\n2\n3\n4\n":                          "2; 3; 4",
		"can't sign in with hunter22.":          "can't sign in with [redacted].",
		"postgres://app:hunter22@db/shop is on": "[redacted] is on",
		"\x1b[31mred":                           `\x1b[31mred`,
	} {
		if got := LastWords([]byte(output), settings); got != want {
			t.Errorf("%q became %q, want %q", output, got, want)
		}
	}
	// Of what is too long both ends: an error that is wrapped has its reason last.
	wrapped := "Cannot restart container 6e0f5d33: " + strings.Repeat("runc create failed: ", 20)
	for reason, want := range map[string]string{"no space left on device": "no space left on device", "hunter22 is wrong": "[redacted] is wrong"} {
		got := LastWords([]byte(wrapped+reason), settings)
		if !strings.HasPrefix(got, "Cannot restart container") || !strings.HasSuffix(got, want) || len(got) > maxSaid+len("…") {
			t.Errorf("the end of a long line became %q", got)
		}
	}
	// What is shown as several letters is not broken.
	if got := LastWords([]byte(strings.Repeat("\u202e", 500)), nil); strings.Trim(strings.ReplaceAll(got, `\u202e`, ""), "…") != "" {
		t.Errorf("broken in the middle of a letter: %q", got)
	}
}
