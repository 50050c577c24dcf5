package driver_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"patchbay.dev/patchbay/driver"
)

func TestPasswordsNeedNoQuoting(t *testing.T) {
	plain := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{39}$`)
	seen := map[string]bool{}
	for range 1000 {
		text := driver.NewPassword().Reveal()
		if !plain.MatchString(text) || url.QueryEscape(text) != text || url.PathEscape(text) != text || url.UserPassword("u", text).String() != "u:"+text {
			t.Fatalf("%q", text)
		}
		for _, class := range []string{"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789", "_-"} {
			if !strings.ContainsAny(text, class) {
				t.Fatalf("%q has none of %s", text, class)
			}
		}
		if seen[text] {
			t.Fatal("it came twice")
		}
		seen[text] = true
	}
}
