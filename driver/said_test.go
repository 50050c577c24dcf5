package driver

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

func TestWhatTheOtherSideSaidIsOneHarmlessLine(t *testing.T) {
	secret := patchbay.NewSecret("hunter2 and\nmore")
	for text, want := range map[string]string{
		"":                                 "",
		`relation "orders" doesn't exist`:  `relation "orders" doesn't exist`,
		"größer als 文字":                    "größer als 文字",
		"one\r\ntwo\tthree\x00":            `one\r\ntwo\tthree\x00`,
		"\x1b[31mred\x1b]0;title\a":        `\x1b[31mred\x1b]0;title\a`,
		"\u202egnp.exe\u2066\u200b\ufeff":  `\u202egnp.exe\u2066\u200b\ufeff`,
		"a\u2028b\u0085c\u00a0d":           `a\u2028b\u0085c\u00a0d`,
		"\xff\xfe bytes \U000e0041":        `\xff\xfe bytes \U000e0041`,
		"it is hunter2 and\nmore, he said": "it is [redacted], he said",
		strings.Repeat("ab", 5000):         strings.Repeat("ab", 100) + "…",
		strings.Repeat("\n", 500):          strings.Repeat(`\n`, 100) + "…",
	} {
		if got := Quoted(text, secret); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	// It is taken out before anything is cut.
	if got := Quoted(strings.Repeat("x", 195)+"hunter2 and\nmore", secret); strings.Contains(got, "hunter2") {
		t.Errorf("%s", got)
	}
}

func TestAnSQLStateIsOneByItsForm(t *testing.T) {
	for code, want := range map[string]string{"42P01": "SQLSTATE 42P01", "": "without an SQLSTATE", "42p01": "without an SQLSTATE", "42P01x": "without an SQLSTATE", "hunt\n": "without an SQLSTATE"} {
		if got := SQLState(code); got != want {
			t.Errorf("%q is %q", code, got)
		}
	}
}
