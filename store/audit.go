package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"patchbay.dev/patchbay"
)

// maxDetail bounds an audit line's detail, in bytes.
const maxDetail = 200

// Lines are the audit lines of something that act did: e with who, from where
// and by which request, once for each tenant that sees it. What e says of the
// action holds only where the act says nothing: the server's own work.
func Lines(act patchbay.Act, e patchbay.AuditEntry) []patchbay.AuditEntry {
	if act.Action != "" {
		e.Action = act.Action
	}
	e.Caller, e.CallerID, e.Kind, e.Address, e.Request = act.Caller, act.ID, act.Kind, act.Address, act.Request
	tenants := act.Tenants
	if len(tenants) == 0 {
		tenants = []string{""}
	}
	lines := make([]patchbay.AuditEntry, len(tenants))
	for i, tenant := range tenants {
		lines[i] = e
		lines[i].Tenant = tenant
		if !strings.EqualFold(tenant, act.Tenant) {
			lines[i].From = act.Tenant
		}
	}
	return lines
}

// Append makes e the line behind head, and gives the new head without its seal.
func Append(c Chain, head AuditHead, e *patchbay.AuditEntry) AuditHead {
	e.Time = e.Time.UTC().Round(0)
	if len(e.Detail) > maxDetail {
		e.Detail = strings.TrimRightFunc(e.Detail[:maxDetail], func(r rune) bool { return r == utf8.RuneError }) + "…"
	}
	e.Seq, e.Previous = head.Seq+1, head.Hash
	e.Hash = c.Line(*e)
	return AuditHead{Seq: e.Seq, Hash: e.Hash}
}

// NewChain chains lines by a sum: a MAC, whose key the store doesn't have.
// With nil it is plain SHA-256, which whoever can write the database can
// compute as well.
func NewChain(sum func([]byte) []byte) Chain {
	if sum == nil {
		sum = func(b []byte) []byte {
			h := sha256.Sum256(b)
			return h[:]
		}
	}
	return chain{sum}
}

type chain struct{ sum func([]byte) []byte }

// Line implements [Chain]. Every field goes in with its length before it, so
// that no two lines have one encoding.
func (c chain) Line(e patchbay.AuditEntry) string {
	b := make([]byte, 0, 768)
	for _, field := range [...]string{
		"patchbay audit line 1", strconv.FormatInt(e.Seq, 10), e.Time.UTC().Format(time.RFC3339Nano),
		e.Tenant, e.Action, string(e.Resource), string(e.Result), string(e.Code), e.Operation,
		e.Caller, e.CallerID, string(e.Kind), e.From, e.Address, e.Request, e.Detail, e.Previous,
	} {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	return hex.EncodeToString(c.sum(b))
}

// Head implements [Chain].
func (c chain) Head(seq int64, hash string) string {
	return hex.EncodeToString(c.sum([]byte("patchbay audit head 1\x00" + strconv.FormatInt(seq, 10) + "\x00" + hash)))
}

// Match reports whether the line is one that the filter asks for.
func (f AuditFilter) Match(e patchbay.AuditEntry) bool {
	switch {
	case f.Tenant != nil && !strings.EqualFold(*f.Tenant, e.Tenant),
		f.Caller != "" && f.Caller != e.Caller && !strings.EqualFold(f.Caller, e.CallerID),
		f.Action != "" && !strings.EqualFold(f.Action, e.Action),
		f.Result != "" && f.Result != e.Result,
		!f.Since.IsZero() && e.Time.Before(f.Since),
		!f.Until.IsZero() && !e.Time.Before(f.Until):
		return false
	case f.Resource == "":
		return true
	}
	key, scope := e.Resource.Key(), strings.TrimSuffix(f.Resource.Key(), "/")
	return key == scope || strings.HasPrefix(key, scope+"/")
}

// The ids of what has none of ARM's, in the audit log: where the wire has it.

// PrincipalID is a principal's.
func PrincipalID(id string) patchbay.ID {
	return patchbay.ID("/providers/Patchbay.Connector/principals/" + id)
}

// TenantID is a tenant's.
func TenantID(id string) patchbay.ID {
	return patchbay.ID("/providers/Patchbay.Connector/tenants/" + id)
}

// SigningKeyID is a signing key's.
func SigningKeyID(id string) patchbay.ID {
	return patchbay.ID("/providers/Patchbay.Connector/signingKeys/" + id)
}

// SubscriptionID is a subscription's.
func SubscriptionID(id string) patchbay.ID { return patchbay.ID("/subscriptions/" + id) }

// RoleDefinitionID is a role definition's.
func RoleDefinitionID(id string) patchbay.ID {
	return patchbay.ID("/providers/Microsoft.Authorization/roleDefinitions/" + id)
}

// RoleAssignmentID is a role assignment's, at its scope.
func RoleAssignmentID(scope patchbay.ID, id string) patchbay.ID {
	return patchbay.ID(strings.TrimSuffix(string(scope), "/") + "/providers/Microsoft.Authorization/roleAssignments/" + id)
}

// LeftoverGone is the line of a leftover that is removed or forgotten: at the
// connection that left it.
func LeftoverGone(l patchbay.Leftover) patchbay.AuditEntry {
	return patchbay.AuditEntry{Action: "Patchbay.Connector/leftovers/delete", Resource: l.Connection, Detail: "leftover " + l.ID + ": " + l.What}
}
