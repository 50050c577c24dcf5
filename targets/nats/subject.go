package nats

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
)

const (
	maxSubjectLength = 255
	maxStreamLength  = 255 // characters
	maxScope         = 64  // subjects, and streams
)

// A token is what subjects are made of. The product allows nearly anything;
// braces would be a template to it, blanks a queue name, and the rest of what is
// left out here is somebody trying something.
var (
	tokenForm  = regexp.MustCompile(`^[\p{L}\p{N}_$:=/+@~#%&!-]+$`)
	streamForm = regexp.MustCompile(`^[\p{L}\p{N}_$:=+@~#%&!-]+$`) // a bound in it would be compiled 255 times: 10 MB
)

// scope is what a login may use, sorted and without duplicates.
type scope struct {
	subjects, streams []string
	// direct are those of the streams whose messages it may get directly.
	direct []string
	// anyAnswer lets it answer requests that wait for answers anywhere.
	anyAnswer bool
}

func (s scope) empty() bool { return len(s.subjects)+len(s.streams) == 0 }

func newScope(subjects, streams []string) (scope, error) {
	for _, s := range subjects {
		if err := checkSubject(s); err != nil {
			return scope{}, err
		}
	}
	for _, s := range streams {
		if utf8.RuneCountInString(s) > maxStreamLength || !streamForm.MatchString(s) {
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "%q is not the name of a stream", short(s))
		}
	}
	s := scope{subjects: sorted(subjects), streams: sorted(streams)}
	if len(s.subjects) > maxScope || len(s.streams) > maxScope {
		return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "there are more than %d subjects or streams", maxScope)
	}
	return s, nil
}

// checkSubject checks a subject that a login is given. Its first token is
// no wildcard and none of the server's own: either would give more than any
// access does, $JS.API and $SYS for a start.
func checkSubject(s string) error {
	bad := func(why string) error {
		return patchbay.Errorf(patchbay.InvalidArgument, "the subject %q %s", short(s), why)
	}
	if len(s) > maxSubjectLength {
		return bad("is too long")
	}
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		switch {
		case token == "*" || token == ">":
			if i == 0 {
				return bad("begins with a wildcard, which would include the server's own subjects: name the first token")
			}
			if token == ">" && i != len(tokens)-1 {
				return bad("goes on behind >")
			}
		case !tokenForm.MatchString(token):
			return bad("is not made of tokens of letters, digits and _-$:=/+@~#%&!, separated by dots")
		}
	}
	switch root := tokens[0]; {
	case root == "$KV" || root == "$O": // buckets are streams with these subjects
	case strings.HasPrefix(root, "$"), strings.HasPrefix(root, "_INBOX"), root == "_R_", root == "_GR_":
		return bad("is the server's own; to use a stream, name it in streams")
	}
	return nil
}

// covers reports whether every subject that sub matches is matched by of.
func covers(of, sub string) bool {
	have, want := strings.Split(of, "."), strings.Split(sub, ".")
	for i, token := range have {
		switch {
		case token == ">":
			return len(want) > i
		case i >= len(want) || want[i] == ">":
			return false
		case token != "*" && token != want[i]:
			return false
		}
	}
	return len(have) == len(want)
}

// meets reports whether there is a subject that both match.
func meets(a, b string) bool {
	of, with := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(of), len(with)) {
		switch x, y := of[i], with[i]; {
		case x == ">" || y == ">":
			return true
		case x != y && x != "*" && y != "*":
			return false
		}
	}
	return len(of) == len(with)
}

// within fails when s goes beyond limit. A limit that says nothing is none.
func (s scope) within(limit scope) error {
	if limit.empty() {
		return nil
	}
	for _, subject := range s.subjects {
		if !slices.ContainsFunc(limit.subjects, func(l string) bool { return covers(l, subject) }) {
			return patchbay.Errorf(patchbay.InvalidArgument, "the subject %q is not within those of the registration: %s", subject, listing(limit.subjects))
		}
	}
	for _, stream := range s.streams {
		if !slices.Contains(limit.streams, stream) {
			return patchbay.Errorf(patchbay.InvalidArgument, "the stream %q is not one of the registration: %s", stream, listing(limit.streams))
		}
	}
	return nil
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func listing(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// short keeps a hostile value from filling a message.
func short(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
