package arm

import (
	"maps"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

func TestFilters(t *testing.T) {
	fields := []string{"TargetService", "AuthType", "ClientType"}
	for text, want := range map[string]Filter{
		"":                           {},
		"  ":                         {},
		"AuthType eq 'secret'":       {"AuthType": "secret"},
		"  authtype EQ   'Secret'  ": {"AuthType": "Secret"},
		"AuthType eq'secret'":        {"AuthType": "secret"},
		"AuthType eq 'it''s'":        {"AuthType": "it's"},
		"AuthType eq ''":             {"AuthType": ""},
		"TargetService eq 'a/b' and AuthType eq 'secret' and ClientType eq 'none'": {"TargetService": "a/b", "AuthType": "secret", "ClientType": "none"},
		"(TargetService eq 'a') AND ((AuthType eq 'b'))":                           {"TargetService": "a", "AuthType": "b"},
		"AuthType eq ' and '":                 {"AuthType": " and "},
		"AuthType eq 'a' and AuthType eq 'A'": {"AuthType": "A"},
	} {
		got, err := ParseFilter(text, fields...)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"AuthType":                            "at byte 8, where eq is expected",
		"AuthType eq":                         "a value in single quotes",
		"AuthType eq secret":                  "at byte 12, where a value in single quotes",
		"AuthType eq \"secret\"":              "a value in single quotes",
		"AuthType eq 'secret":                 "a value in single quotes",
		"AuthType ne 'secret'":                "where eq is expected",
		"AuthType eq 'a' or AuthType eq 'b'":  "where and is expected",
		"AuthType eq 'a' and":                 "a field",
		"and AuthType eq 'a'":                 "a field",
		"Name eq 'a'":                         "the fields are TargetService, AuthType, ClientType",
		"(AuthType eq 'a'":                    "a closing parenthesis",
		"AuthType eq 'a')":                    "where and is expected",
		"startswith(AuthType, 'a')":           "a field",
		"AuthType eq 'a' and AuthType eq 'b'": "two values of AuthType",
		strings.Repeat("(", 2000):             "a field",
		strings.Repeat("AuthType eq 'a' and ", 20) + "AuthType eq 'a'": "more than 16",
		strings.Repeat(" ", 3000) + "x":                                "longer than 2048",
	} {
		_, err := ParseFilter(text, fields...)
		if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	f := Filter{"AuthType": "Secret"}
	if !f.Matches("AuthType", "SECRET") || f.Matches("AuthType", "x") || !f.Matches("ClientType", "anything") {
		t.Error("a filter matches other than what it says")
	}
}

// FuzzParseFilter: no filter crashes the parser or makes it hang, and what it
// understands can be written again and is the same.
func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{
		"a eq 'x'", "A EQ 'it''s' and (b eq '')", "((a eq 'x'))", "a eq 'x' and b", "a eq '", "a\x00eq'\xff'", "a eq 'x' and a eq 'y'", strings.Repeat("(", 50),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseFilter(text, "a", "b")
		if err != nil {
			if patchbay.CodeOf(err) != patchbay.InvalidArgument || len(err.Error()) > 400 {
				t.Errorf("%v", err)
			}
			return
		}
		var parts []string
		for field, value := range got {
			parts = append(parts, field+" eq '"+strings.ReplaceAll(value, "'", "''")+"'")
		}
		again, err := ParseFilter(strings.Join(parts, " and "), "b", "a")
		if err != nil && len(text) < maxFilter/2 || err == nil && !maps.Equal(got, again) {
			t.Errorf("%q is %v, and written again %v (%v)", text, got, again, err)
		}
	})
}
