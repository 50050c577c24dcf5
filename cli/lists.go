package cli

import (
	"fmt"
	"slices"
	"strings"
)

// listFlags take, as az's do, everything that follows them: --secret name=app
// secret=@pw. The value says which of the following arguments are theirs.
var listFlags = map[string]func(string) bool{
	"--secret":            isPair,
	"--customized-keys":   isPair,
	"--connstr-props":     isPair,
	"--additional":        isPair,
	"--option":            isPair,
	"--setting":           isPair,
	"--user-identity":     isPair,
	"--service-principal": isPair,
	"--user-account":      isPair,
	"--opt-out":           func(s string) bool { return slices.Contains(optOuts, s) },
}

// mayBeEmpty are the list flags that mean something without a value.
var mayBeEmpty = []string{"--secret", "--user-account"}

func isPair(s string) bool { return !strings.HasPrefix(s, "-") && strings.Contains(s, "=") }

// expandLists writes list flags as one flag for each value, which is what the
// parser of flags understands.
func expandLists(args []string) []string {
	if len(args) > 0 && strings.HasPrefix(args[0], "__complete") {
		return args
	}
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(out, args[i:]...)
		}
		takes, ok := listFlags[args[i]]
		if !ok {
			out = append(out, args[i])
			continue
		}
		flag := args[i]
		n := 0
		for i+1 < len(args) && takes(args[i+1]) {
			i, n = i+1, n+1
			out = append(out, flag+"="+args[i])
		}
		if n == 0 && slices.Contains(mayBeEmpty, flag) {
			out = append(out, flag+"=")
		} else if n == 0 {
			out = append(out, flag) // the parser says what is missing
		}
	}
	return out
}

// pairs reads name=value arguments; allowed names the names, nil is any. The
// error never shows a value: it may be a secret whose name was forgotten.
func pairs(flag string, args, allowed []string) (map[string]string, error) {
	m := map[string]string{}
	for _, arg := range args {
		if arg == "" {
			continue
		}
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case !ok || name == "":
			return nil, fmt.Errorf("%s takes name=value", flag)
		case allowed != nil && !slices.Contains(allowed, name):
			return nil, fmt.Errorf("%s has no %q; it takes %s", flag, clean(name), strings.Join(allowed, "=…, ")+"=…")
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("%s has %s twice", flag, clean(name))
		}
		m[name] = value
	}
	return m, nil
}

// near are the names that somebody who wrote s may have meant.
func near(s string, names []string) []string {
	var found []string
	for _, n := range names {
		l, k := strings.ToLower(s), strings.ToLower(n)
		if l != "" && (strings.HasPrefix(k, l) || strings.HasPrefix(l, k) || distance(l, k) <= 1+len(l)/4) {
			found = append(found, n)
		}
	}
	return found
}

func didYouMean(s string, names []string) string {
	if found := near(s, names); len(found) > 0 {
		return "; did you mean " + strings.Join(found, " or ") + "?"
	}
	return ""
}

// distance is Levenshtein's.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	row := make([]int, len(t)+1)
	for j := range row {
		row[j] = j
	}
	for i := range s {
		diagonal := row[0]
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(t)]
}
