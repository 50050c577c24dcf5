package s3

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// document is a bucket's policy, which everybody writes. What is not ours keeps every
// member that it has, also those that we don't know, and its order.
type document struct {
	members    map[string]json.RawMessage // but Statement
	statements []json.RawMessage
}

var errDocument = errors.New("the policy is no JSON object with statements")

// parseDocument reads a policy; nothing is one without statements.
func parseDocument(text []byte) (document, error) {
	d := document{members: map[string]json.RawMessage{}}
	if len(bytes.TrimSpace(text)) == 0 {
		return d, nil
	}
	if err := json.Unmarshal(text, &d.members); err != nil || d.members == nil {
		return document{}, errDocument
	}
	all := d.members["Statement"]
	delete(d.members, "Statement")
	if len(all) > 0 && all[0] == '{' { // one, without a list around it
		all = slices.Concat(json.RawMessage("["), all, json.RawMessage("]"))
	}
	if err := json.Unmarshal(all, &d.statements); err != nil {
		return document{}, errDocument
	}
	return d, nil
}

// text is the policy for the server.
func (d document) text() ([]byte, error) {
	members := map[string]any{"Version": "2012-10-17"}
	for name, value := range d.members {
		members[name] = value
	}
	members["Statement"] = d.statements
	return asJSON(members)
}

// asJSON leaves < and & as they are: somebody else's text stays what it is.
func asJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// without are the statements but for those of some names.
func (d document) without(sid func(string) bool) []json.RawMessage {
	return slices.DeleteFunc(slices.Clone(d.statements), func(text json.RawMessage) bool { return sid(sidOf(text)) })
}

// of are the statements of some names.
func (d document) of(sid func(string) bool) []json.RawMessage {
	return slices.DeleteFunc(slices.Clone(d.statements), func(text json.RawMessage) bool { return !sid(sidOf(text)) })
}

func sidOf(text json.RawMessage) string {
	var s struct{ Sid string }
	if json.Unmarshal(text, &s) != nil {
		return ""
	}
	return s.Sid
}

// words are a text, or several in a list: policies have both for the same.
type words []string

func (w *words) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(w))
}

// principals are who a statement is about: words, or words below AWS.
type principals []string

func (p *principals) UnmarshalJSON(text []byte) error {
	var all words
	if json.Unmarshal(text, &all) == nil {
		*p = principals(all)
		return nil
	}
	var below struct{ AWS words }
	err := json.Unmarshal(text, &below)
	*p = principals(below.AWS)
	return err
}

func (p principals) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string][]string{"AWS": p})
}

// statement is one of ours, or one that is compared with ours.
type statement struct {
	Sid       string                      `json:"Sid,omitempty"`
	Effect    string                      `json:"Effect"`
	Principal principals                  `json:"Principal,omitempty"`
	Action    words                       `json:"Action"`
	Resource  words                       `json:"Resource"`
	Condition map[string]map[string]words `json:"Condition,omitempty"`
}

// known are the members that a statement can have and be compared.
var known = []string{"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}

// parseStatement reads a statement; ok is false where it says what we can't compare.
func parseStatement(text json.RawMessage) (s statement, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil || json.Unmarshal(text, &s) != nil {
		return s, false
	}
	for name := range members {
		if !slices.Contains(known, name) {
			return s, false
		}
	}
	return s, true
}

// rights are what the statement says, a sentence for each action, resource and principal.
func (s statement) rights() map[string]bool {
	condition := ""
	if len(s.Condition) > 0 {
		ordered := map[string]map[string]words{}
		for operator, keys := range s.Condition {
			ordered[operator] = map[string]words{}
			for key, values := range keys {
				ordered[operator][key] = slices.Sorted(slices.Values(values))
			}
		}
		text, err := asJSON(ordered) // whose members are in order
		if err == nil {
			condition = " if " + string(text)
		}
	}
	all := map[string]bool{}
	about := s.Principal
	if len(about) == 0 { // of a policy that is a user's own
		about = principals{""}
	}
	for _, who := range about {
		if who != "" {
			who = asPrincipal + who
		}
		for _, action := range s.Action {
			for _, resource := range s.Resource {
				if !applies(action, resource) {
					continue
				}
				verb := ""
				if s.Effect != "Allow" {
					verb = "no "
				}
				all[verb+action+" on "+strings.TrimPrefix(resource, arn)+condition+who] = true
			}
		}
	}
	return all
}

// applies reports whether an action of ours may be done to such a resource at all.
func applies(action, resource string) bool {
	object := strings.Contains(resource, "/")
	switch {
	case slices.Contains(objectActions, action):
		return object
	case slices.Contains(bucketActions, action):
		return !object
	}
	return true
}

var (
	objectActions = slices.Concat(readObjects, writeObjects, ownObjects)
	bucketActions = slices.Concat(readBucket, writeBucket, ownBucket)
)

// asPrincipal stands between a right and who has it.
const asPrincipal = " as "

const arn = "arn:aws:s3:::"
