package redis

import "strings"

// matches reports whether a pattern of Redis' matches a text: * and ? are anything and
// any byte, [a-z] and [^a-z] one of some or of none of them, \ takes the next as it is.
func matches(pattern, text string) bool {
	// Behind a * that is not the last one, nothing before it need be tried again.
	star, from, starred := "", "", false
	for {
		if strings.HasPrefix(pattern, "*") {
			star, from, starred = strings.TrimLeft(pattern, "*"), text, true
			pattern = star
			continue
		}
		if pattern == "" && text == "" {
			return true
		}
		if text != "" {
			if rest, ok := one(pattern, text[0]); ok {
				pattern, text = rest, text[1:]
				continue
			}
		}
		if !starred || from == "" {
			return false
		}
		from = from[1:]
		pattern, text = star, from
	}
}

// one takes a byte by the head of a pattern that is no *.
func one(pattern string, b byte) (rest string, ok bool) {
	switch {
	case pattern == "":
		return "", false
	case pattern[0] == '?':
		return pattern[1:], true
	case pattern[0] == '[':
		in, rest := class(pattern[1:])
		return rest, in(b)
	case pattern[0] == '\\' && len(pattern) > 1:
		pattern = pattern[1:]
	}
	return pattern[1:], pattern[0] == b
}

// class reads what stands in brackets; one that is not closed ends with the pattern.
func class(p string) (in func(byte) bool, rest string) {
	negated := strings.HasPrefix(p, "^")
	p = strings.TrimPrefix(p, "^")
	type span struct{ from, to byte }
	var spans []span
	for len(p) > 0 && p[0] != ']' {
		switch {
		case p[0] == '\\' && len(p) > 1:
			spans, p = append(spans, span{p[1], p[1]}), p[2:]
		case len(p) > 2 && p[1] == '-':
			spans, p = append(spans, span{min(p[0], p[2]), max(p[0], p[2])}), p[3:]
		default:
			spans, p = append(spans, span{p[0], p[0]}), p[1:]
		}
	}
	return func(b byte) bool {
		for _, s := range spans {
			if s.from <= b && b <= s.to {
				return !negated
			}
		}
		return negated
	}, strings.TrimPrefix(p, "]")
}

// example is a text that a pattern matches, with any where it takes anything; ok is
// false when none is found.
func example(pattern, anything string) (text string, ok bool) {
	var b strings.Builder
	for rest := pattern; len(rest) > 0; {
		switch rest[0] {
		case '*':
			rest = strings.TrimLeft(rest, "*")
			b.WriteString(anything)
		case '?':
			rest = rest[1:]
			b.WriteByte('x')
		case '[':
			var in func(byte) bool
			in, rest = class(rest[1:])
			for c := byte('!'); c <= '~'; c++ {
				if in(c) {
					b.WriteByte(c)
					break
				}
			}
		default:
			if rest[0] == '\\' && len(rest) > 1 {
				rest = rest[1:]
			}
			b.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	return b.String(), matches(pattern, b.String())
}
