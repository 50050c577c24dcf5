// Package variable says what Linux gives a program in its environment.
package variable

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Max is Linux's MAX_ARG_STRLEN in bytes, the zero byte at the end left out: the
// longest NAME=VALUE.
const Max = 128<<10 - 1

var form = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,254}$`)

// Refused is why no environment can have such a variable everywhere, as a sentence;
// "" when it can. carrier is what takes it there, and can't take what is no UTF-8.
func Refused(name, value, carrier string) string {
	switch {
	case !form.MatchString(name):
		return fmt.Sprintf("the setting name %.80q is none that an environment can have everywhere: letters, digits, dots, dashes and underscores, at most 255", name)
	case strings.Contains(value, "\x00"):
		return fmt.Sprintf("the value of %s holds a NUL byte, which ends a variable", name)
	case !utf8.ValidString(value):
		return fmt.Sprintf("the value of %s is no UTF-8, and %s carries nothing else", name, carrier)
	case len(name)+1+len(value) > Max:
		return fmt.Sprintf("the value of %s is longer than Linux gives a program in one variable, %d bytes", name, Max)
	}
	return ""
}
