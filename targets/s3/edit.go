package s3

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	// writes is how often a policy is written anew that somebody else writes at the same
	// moment.
	writes = 5
	// sidOwner is the statement that keeps a bucket's owner in: without a policy a bucket
	// is its owner's, and with one it is of whom the policy names.
	sidOwner = "PatchbayKeepsTheOwner"
	// largePolicy is about where the attributes of a file end on ext4, in bytes.
	largePolicy = 3000
)

func isKept(sid string) bool { return sid == sidOwner }

// policyLocks has the policies that this process writes, by server and bucket: S3 has no
// condition on a write, so two that read the same and write each their own would leave
// one of both.
var policyLocks = struct {
	sync.Mutex
	held map[string]chan struct{}
}{held: map[string]chan struct{}{}}

// lockPolicy waits until nobody else in this process writes the policy.
func (t *target) lockPolicy(ctx context.Context, what, bucket string) (unlock func(), err error) {
	name := t.endpoint.Address() + "/" + bucket
	for {
		policyLocks.Lock()
		wait, held := policyLocks.held[name]
		if !held {
			mine := make(chan struct{})
			policyLocks.held[name] = mine
			policyLocks.Unlock()
			return func() {
				policyLocks.Lock()
				delete(policyLocks.held, name)
				policyLocks.Unlock()
				close(mine)
			}, nil
		}
		policyLocks.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			e := over(ctx)
			e.Message = what + ": " + e.Message
			return nil, e
		}
	}
}

// policy reads a bucket's policy; exists is false where it has none, and then everybody
// but its owner is kept out.
func (t *target) policy(ctx context.Context, what, bucket string) (d document, exists bool, err error) {
	got, err := t.s3.do(ctx, what, request{method: http.MethodGet, path: "/" + bucket, query: url.Values{"policy": {""}}})
	switch {
	case err != nil:
		return document{}, false, err
	case got.code == noPolicy:
		d, err = parseDocument(nil)
		return d, false, err
	case !got.ok():
		return document{}, false, t.s3.refused(what, got)
	}
	if d, err = parseDocument(got.body); err != nil {
		return document{}, false, patchbay.Errorf(patchbay.NotSupported, "%s: the policy of the bucket %s is none that can be read: %w", what, bucket, err).
			WithFix("put it right: aws s3api get-bucket-policy --bucket %s", bucket)
	}
	return d, true, nil
}

// change makes a bucket's policy have the statements in place of those that drop names,
// reads it back, and repeats it where somebody else wrote at the same moment. had says that
// something was dropped.
func (t *target) change(ctx context.Context, what, bucket string, drop func(sid string) bool, want []statement) (had bool, err error) {
	unlock, err := t.lockPolicy(ctx, what, bucket)
	if err != nil {
		return false, err
	}
	defer unlock()
	texts, err := raw(want)
	if err != nil {
		return false, patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
	}
	for range writes {
		now, exists, err := t.policy(ctx, what, bucket)
		if err != nil {
			return had, err
		}
		mine := now.of(drop)
		had = had || len(mine) > 0
		if same(mine, texts) {
			return had, nil
		}
		now.statements = append(now.without(drop), texts...)
		if !exists {
			if err := t.keepOwner(ctx, what, bucket, &now); err != nil {
				return had, err
			}
		}
		if err := t.write(ctx, what, bucket, now); err != nil {
			return had, err
		}
	}
	return had, patchbay.Errorf(patchbay.Conflict, "%s: the policy of the bucket %s is written by somebody else all the time, who takes out what Patchbay puts in", what, bucket).AsTransient()
}

// same reports whether statements are the same, whatever their order and spelling.
func same(a, b []json.RawMessage) bool {
	return slices.Equal(canonical(a), canonical(b))
}

func canonical(all []json.RawMessage) []string {
	var texts []string
	for _, text := range all {
		s, ok := parseStatement(text)
		if !ok {
			texts = append(texts, string(text))
			continue
		}
		slices.Sort(s.Action)
		slices.Sort(s.Resource)
		slices.Sort(s.Principal)
		once, err := asJSON(s)
		if err != nil {
			once = text
		}
		texts = append(texts, string(once))
	}
	slices.Sort(texts)
	return texts
}

// write puts a policy, or removes one that says nothing (any more).
func (t *target) write(ctx context.Context, what, bucket string, d document) error {
	if len(d.without(isKept)) == 0 {
		got, err := t.s3.do(ctx, what, request{method: http.MethodDelete, path: "/" + bucket, query: url.Values{"policy": {""}}})
		if err == nil && !got.ok() && got.code != noPolicy {
			err = t.s3.refused(what, got)
		}
		return err
	}
	for try := 0; ; try++ {
		text, err := d.text()
		if err != nil {
			return patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
		}
		got, err := t.s3.do(ctx, what, request{method: http.MethodPut, path: "/" + bucket, query: url.Values{"policy": {""}}, body: text, header: map[string]string{"Content-Type": "application/json"}})
		switch {
		case err != nil || got.ok():
			return err
		case got.code == badPolicy && try == 0:
			cleaned, gone, err := t.withoutGone(ctx, what, d)
			if err != nil {
				return err
			}
			if len(cleaned.statements) < len(d.statements) {
				d = cleaned
				continue
			}
			e := patchbay.Errorf(patchbay.Conflict, "%s: the gateway does not take the policy of the bucket %s with what is to be added", what, bucket).WithSaid(got.message)
			if len(gone) > 0 {
				e.Message += ": a statement of it names " + strings.Join(gone, ", ") + ", of which there is no user (any more)"
				e = e.WithFix("take the statement out: aws s3api get-bucket-policy --bucket %s, and put-bucket-policy", bucket)
			}
			return e
		case got.status >= 500 && len(text) > largePolicy:
			e := patchbay.AsError(t.s3.refused(what, got))
			return e.WithFix("the policy would be %d bytes: a gateway that keeps it in an attribute of the bucket's directory takes some 4,000 on ext4, and 64,000 on XFS; give the gateway a place for it (--sidecar DIR), or the applications fewer logins in one bucket", len(text))
		}
		return t.s3.refused(what, got)
	}
}

// withoutGone is a policy without the statements of ours whose users somebody has removed:
// the gateway takes no policy that names one whom it does not know, so nobody could write
// this one any more. gone are the other names that it does not know.
func (t *target) withoutGone(ctx context.Context, what string, d document) (cleaned document, gone []string, err error) {
	all, err := t.users(ctx, what)
	if err != nil {
		return d, nil, err
	}
	known := map[string]bool{"*": true, t.s3.keys.id: true}
	for _, one := range all {
		known[one.Access] = true
	}
	cleaned = d
	cleaned.statements = nil
	for _, text := range d.statements {
		s, _ := parseStatement(text)
		_, _, ours := markOfSid(s.Sid)
		absent := slices.DeleteFunc(slices.Clone(s.Principal), func(name string) bool { return known[name] })
		if len(absent) > 0 && (ours || s.Sid == sidOwner) {
			continue
		}
		for _, name := range absent {
			gone = append(gone, driver.Quoted(name))
		}
		cleaned.statements = append(cleaned.statements, text)
	}
	return cleaned, gone, nil
}

// keepOwner adds what the bucket's owner has as long as there is no policy. What others
// have by an ACL, a policy would take from them.
func (t *target) keepOwner(ctx context.Context, what, bucket string, d *document) error {
	got, err := t.s3.do(ctx, what, request{method: http.MethodGet, path: "/" + bucket, query: url.Values{"acl": {""}}})
	if err != nil {
		return err
	}
	var acl struct {
		Owner  struct{ ID string }
		Grants []struct {
			Grantee struct{ ID, URI string }
		} `xml:"AccessControlList>Grant"`
	}
	if !got.ok() {
		return t.s3.refused(what, got)
	}
	if xml.Unmarshal(got.body, &acl) != nil {
		return t.s3.refused(what, answer{status: got.status, server: got.server})
	}
	for _, g := range acl.Grants {
		if g.Grantee.ID == acl.Owner.ID && g.Grantee.URI == "" {
			continue
		}
		enforced, err := t.ownerEnforced(ctx, what, bucket)
		if err != nil {
			return err
		}
		if !enforced {
			return patchbay.Errorf(patchbay.NotSupported, "%s: the bucket %s has no policy, and its ACL lets others in than its owner; with a policy its ACL is not looked at any more", what, bucket).
				WithFix("give those others their rights by a policy first: aws s3api put-bucket-policy --bucket %s", bucket)
		}
		break
	}
	if acl.Owner.ID == "" || acl.Owner.ID == t.s3.keys.id {
		return nil
	}
	text, err := asJSON(statement{Sid: sidOwner, Effect: "Allow", Principal: principals{acl.Owner.ID}, Action: words{"s3:*"}, Resource: words{arn + bucket, arn + bucket + "/*"}})
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
	}
	d.statements = slices.Insert(d.statements, 0, json.RawMessage(text))
	return nil
}

// ownerEnforced reports whether the bucket's ACL is without effect.
func (t *target) ownerEnforced(ctx context.Context, what, bucket string) (bool, error) {
	got, err := t.s3.do(ctx, what, request{method: http.MethodGet, path: "/" + bucket, query: url.Values{"ownershipControls": {""}}})
	if err != nil {
		return false, err
	}
	return got.ok() && bytes.Contains(got.body, []byte("BucketOwnerEnforced")), nil
}

// takeFrom removes a login from the statements of others in a bucket's policy. A statement
// that was about it alone goes.
func (t *target) takeFrom(ctx context.Context, what, bucket string, m mark) error {
	unlock, err := t.lockPolicy(ctx, what, bucket)
	if err != nil {
		return err
	}
	defer unlock()
	for range writes {
		d, _, err := t.policy(ctx, what, bucket)
		if err != nil {
			return err
		}
		next, changed, err := d.withoutPrincipal(m)
		if err != nil {
			return patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
		}
		if !changed {
			return nil
		}
		if err := t.write(ctx, what, bucket, next); err != nil {
			return err
		}
	}
	return patchbay.Errorf(patchbay.Conflict, "%s: the policy of the bucket %s is written by somebody else all the time", what, bucket).AsTransient()
}

// withoutPrincipal is the document without a login in the statements of others.
func (d document) withoutPrincipal(m mark) (next document, changed bool, err error) {
	next = d
	next.statements = nil
	for _, text := range d.statements {
		var s statement
		if json.Unmarshal(text, &s) != nil || m.marks(s.Sid) || !slices.Contains(s.Principal, m.login) {
			next.statements = append(next.statements, text)
			continue
		}
		changed = true
		rest := slices.DeleteFunc(slices.Clone(s.Principal), func(name string) bool { return name == m.login })
		if len(rest) == 0 {
			continue
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(text, &members); err != nil {
			return d, false, fmt.Errorf("read a statement: %w", err)
		}
		if members["Principal"], err = asJSON(rest); err != nil {
			return d, false, err
		}
		edited, err := asJSON(members)
		if err != nil {
			return d, false, err
		}
		next.statements = append(next.statements, edited)
	}
	return next, changed, nil
}

// missing reports whether an error says that there is no such bucket.
func missing(err error) bool {
	e := (*patchbay.Error)(nil)
	return errors.As(err, &e) && e.Code == patchbay.ChildMissing
}
