package azurestorage

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// maxPolicies is how many a container, queue, table or share may have.
const maxPolicies = 5

// Policies of ours begin long ago, and never expire. A signature says neither then; an
// emulator takes no policy of a table's that lacks one.
const (
	begin   = "2020-01-01T00:00:00.0000000Z"
	forever = "9999-12-31T23:59:59.0000000Z"
)

// policy is one of a list, as the service has told it.
type policy struct {
	ID         string `xml:"Id"`
	Start      string `xml:"AccessPolicy>Start"`
	Expiry     string `xml:"AccessPolicy>Expiry"`
	Permission string `xml:"AccessPolicy>Permission"`
	raw        []byte // the element, byte for byte
}

// ours is a policy as we make them. It is text that needs no escaping.
func ours(id, permissions string) policy {
	p := policy{ID: id, Start: begin, Expiry: forever, Permission: permissions}
	p.raw = []byte("<SignedIdentifier><Id>" + p.ID + "</Id><AccessPolicy><Start>" + p.Start + "</Start><Expiry>" + p.Expiry + "</Expiry><Permission>" + p.Permission + "</Permission></AccessPolicy></SignedIdentifier>")
	return p
}

// parsePolicies reads a list. What can't be kept as it is, is an error: the list would
// be written without it.
func parsePolicies(text []byte) ([]policy, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	d := xml.NewDecoder(bytes.NewReader(text))
	var list []policy
	rooted := false
	for {
		at := d.InputOffset()
		token, err := d.Token()
		if err != nil {
			return nil, unreadable()
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch {
			case !rooted && t.Name.Local == "SignedIdentifiers":
				rooted = true
			case rooted && t.Name.Local == "SignedIdentifier":
				var p policy
				if err := d.DecodeElement(&p, &t); err != nil || p.ID == "" {
					return nil, unreadable()
				}
				p.raw = slices.Clone(text[at:d.InputOffset()])
				list = append(list, p)
			default:
				return nil, unreadable()
			}
		case xml.EndElement:
			if rooted && t.Name.Local == "SignedIdentifiers" {
				return list, nil
			}
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return nil, unreadable()
			}
		case xml.Directive:
			return nil, unreadable()
		}
	}
}

func unreadable() error {
	return patchbay.Errorf(patchbay.TargetMisbehaved, "the list of stored access policies is none that Patchbay can read, and so none that it would write").
		WithFix("see what it is: az storage container policy list")
}

// policiesText is a list as it is written.
func policiesText(list []policy) []byte {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?><SignedIdentifiers>`)
	for _, p := range list {
		b.Write(p.raw)
	}
	b.WriteString("</SignedIdentifiers>")
	return b.Bytes()
}

// of are those that go by the name of a login, and others those that do not.
func of(list []policy, login string) (named, others []policy) {
	for _, p := range list {
		if isOf(p.ID, login) {
			named = append(named, p)
		} else {
			others = append(others, p)
		}
	}
	return named, others
}

// exact reports whether the policies that go by a login's name are the one that it
// should have.
func exact(named []policy, id, permissions string) bool {
	missing, excess := compare(named, id, permissions)
	return len(missing)+len(excess) == 0
}

// compare says what the policies that go by a login's name lack, and what they have
// beyond.
func compare(named []policy, id, permissions string) (missing, excess []string) {
	var has policy
	for _, p := range named {
		if p.ID == id {
			has = p
		} else {
			excess = append(excess, "the policy "+driver.Quoted(p.ID))
		}
	}
	if has.ID == "" {
		return append(missing, "the policy of its credential"), excess
	}
	m, e := has.differs(permissions)
	return m, append(excess, e...)
}

// when reads a time as the services write it.
func when(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// moment reports whether two texts are the same time.
func moment(a, b string) bool {
	x, ok := when(a)
	y, ok2 := when(b)
	return a == b || ok && ok2 && x.Equal(y)
}

// differs says what a policy lacks of the permissions, and what it has beyond.
func (p policy) differs(permissions string) (missing, excess []string) {
	for _, letter := range permissions {
		if !strings.ContainsRune(p.Permission, letter) {
			missing = append(missing, words(letter))
		}
	}
	for _, letter := range p.Permission {
		if !strings.ContainsRune(permissions, letter) {
			excess = append(excess, words(letter))
		}
	}
	if !moment(p.Start, begin) {
		missing = append(missing, "what is before the policy's start, "+driver.Quoted(p.Start))
	}
	if !moment(p.Expiry, forever) {
		missing = append(missing, "what is after the policy's expiry, "+driver.Quoted(p.Expiry))
	}
	return missing, excess
}

var letters = map[rune]string{
	'r': "read", 'a': "add", 'c': "create", 'w': "write", 'd': "delete", 'x': "delete versions", 'y': "delete for good", 'l': "list", 't': "tags",
	'f': "find by tags", 'm': "move", 'e': "execute", 'o': "own", 'p': "process", 'i': "immutability", 'u': "update",
}

// words are a letter of a policy's in a message.
func words(letter rune) string {
	if w := letters[letter]; w != "" {
		return w
	}
	return "the permission " + driver.Quoted(string(letter))
}
