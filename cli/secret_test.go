package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// An editor ends a file with a newline that is no part of the password; a blank
// may be one.
func TestASecretFileIsTheSecretLessTheNewlineAtItsEnd(t *testing.T) {
	a, _ := build(Deps{})
	file := filepath.Join(t.TempDir(), "pw")
	for text, want := range map[string]string{
		"hunter2":           "hunter2",
		"hunter2\n":         "hunter2",
		"hunter2\r\n":       "hunter2",
		" hunter2 \n":       " hunter2 ",
		"\thunter2\n\n":     "\thunter2\n",
		"two\nlines\n":      "two\nlines",
		"@file":             "@file",
		"":                  "",
		"\n":                "",
		"\r\n":              "",
		long(maxSecret):     long(maxSecret),
		long(maxSecret + 1): "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := a.secretFile("password", file)
		if got.Reveal() != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %.20q, %v", text, got.Reveal(), err)
		}
		if err != nil && (patchbay.CodeOf(err) != patchbay.InvalidArgument || strings.Contains(err.Error(), "hunter")) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }
