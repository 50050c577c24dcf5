package environmentfile

import (
	"errors"
	"strings"
	"testing"
)

// What is written is read again, and a text is the sum of its statements. What systemd
// makes of it, the sources' tests ask itself.
func FuzzQuotedValuesAreReadBack(f *testing.F) {
	for _, value := range []string{"", "x", " both ", "a\nb", `back\slash`, `"`, "'", "$HOME", "`date`", "a#b", "é", "\r", "\\\n", "K=1\nZ=2"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsRune(value, 0) {
			t.Skip("no file of this kind has a NUL byte")
		}
		text := "A=1\nK=" + Quote(value) + "\nZ=2\n"
		statements, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all, values := "", map[string]string{}
		for _, s := range statements {
			all += s.Text
			if s.Kind == Assignment {
				values[s.Name] = s.Value
			}
		}
		if all != text || len(values) != 3 || values["K"] != value || values["Z"] != "2" {
			t.Errorf("%q is read as %q", text, values)
		}
	})
}

func TestWhatCantBeToldApartIsRefused(t *testing.T) {
	for text, line := range map[string]int{"\uFEFFA=1\n": 1, "A=1\nB=1\rC=1\n": 2, "A=1\n# c\\\nB=1\n": 2, "A=1\nB='1\n": 2, "A=1\\\n": 1} {
		_, err := Parse(text)
		var bad *Ambiguity
		if !errors.As(err, &bad) || bad.Line != line {
			t.Errorf("Parse(%q) = %v", text, err)
		}
	}
	for name, ok := range map[string]bool{"A": true, "_a1": true, "1A": false, "": false, "A-B": false, "A.B": false, "É": false} {
		if IsName(name) != ok {
			t.Errorf("IsName(%q) = %t", name, !ok)
		}
	}
}
