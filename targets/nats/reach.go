package nats

import (
	"context"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Beyond implements [driver.WarnedLogins]: what a login can do that no permission
// of the product forbids. What a login publishes is checked, and what it has the
// server publish is not: where an answer, a message of a consumer or an
// acknowledgement is sent to is the asker's to say, and where a stream republishes
// its owner's. The table in docs/security.md has all of it, and a test tries each.
func (t *target) Beyond(ctx context.Context, r driver.LoginRequest) ([]string, error) {
	s, err := t.scopeOf(r.Access, r.Options)
	if err != nil {
		return nil, err
	}
	var list []string
	switch streams := len(s.streams) > 0; {
	case streams && r.Access == patchbay.Owner:
		list = append(list, "the owner of a stream decides what it captures, copies and republishes: this login can read and write every subject and stream of the account")
	case streams:
		brings := "bring what the stream holds"
		if r.Access == patchbay.Writer {
			brings = "bring messages of its own"
		}
		list = append(list, "NATS checks what a login publishes, and not where it has the server send what a stream holds: this login can "+brings+" to every subject of the account, and purge and delete every stream there")
		if s.getsDirectly() {
			does := "has every request carried out that a message of the stream happens to be"
			if r.Access == patchbay.Writer {
				does = "can read and change every stream of the account"
			}
			list = append(list, "what is got directly (of a bucket, and with --option direct) can be sent to JetStream itself: this login "+does)
		}
	case r.Access != patchbay.Reader:
		taken, err := t.takenByAStream(ctx, s.subjects)
		if err != nil {
			return nil, err
		}
		if taken {
			list = append(list, "a stream takes what this login publishes, and NATS does not check where it has the acknowledgement sent: it can bring those, whose words it does not choose, to every subject of the account")
		}
	}
	if s.anyAnswer {
		list = append(list, "who may answer any request can answer one of its own: this login can publish to every subject of the account")
	}
	if len(list) > 0 {
		list = append(list, "give applications that may not do that to each other an account each")
	}
	return list, nil
}

// getsDirectly reports whether direct gets are among the rights.
func (s scope) getsDirectly() bool {
	return len(s.direct) > 0 || slices.ContainsFunc(s.streams, func(stream string) bool { _, is := bucket(stream); return is })
}

// takenByAStream reports whether one of the account's streams takes any of what
// is published to the subjects.
func (t *target) takenByAStream(ctx context.Context, subjects []string) (bool, error) {
	session, err := t.admin.session(ctx)
	if err != nil {
		return false, err
	}
	streams, err := session.streams(ctx)
	if err != nil {
		return false, err
	}
	for _, takes := range streams {
		for _, subject := range takes {
			if slices.ContainsFunc(subjects, func(s string) bool { return meets(s, subject) }) {
				return true, nil
			}
		}
	}
	return false, nil
}
