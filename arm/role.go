package arm

import (
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

const (
	definitionType = AuthorizationProvider + "/roleDefinitions"
	assignmentType = AuthorizationProvider + "/roleAssignments"
)

// RoleFilter is what a list of roles or of role assignments is narrowed to, as
// az and the SDKs ask.
type RoleFilter struct {
	AtScope    bool   // atScope()
	Below      bool   // atScopeAndBelow()
	AssignedTo string // assignedTo('…')
	Principal  string // principalId eq '…'
	RoleName   string // roleName eq '…'
	RoleType   string // type eq '…'
}

// ParseRoleFilter reads $filter: conditions joined by and. Words are taken in
// any case; two single quotes in a value are one. "" is no filter.
func ParseRoleFilter(text string) (RoleFilter, error) {
	var f RoleFilter
	if len(text) > maxFilter {
		return f, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter $filter is longer than %d bytes", maxFilter)
	}
	p := filtering{text: text, rest: text}
	if p.space(); p.rest == "" {
		return f, nil
	}
	for range maxComparisons {
		if !p.roleTerm(&f) {
			return RoleFilter{}, p.wrongRole()
		}
		if p.space(); p.rest == "" {
			return f, nil
		}
		if !is(p.word(), "and") {
			return RoleFilter{}, p.wrongRole()
		}
	}
	return RoleFilter{}, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter $filter has more than %d conditions", maxComparisons)
}

func (p *filtering) wrongRole() error {
	return patchbay.Errorf(patchbay.InvalidArgument,
		"the query parameter $filter is not understood near byte %d; it is atScope(), atScopeAndBelow(), assignedTo('ID'), principalId eq 'ID', roleName eq 'NAME' and type eq 'TYPE', joined by and",
		len(p.text)-len(p.rest))
}

// roleTerm reads one condition.
func (p *filtering) roleTerm(f *RoleFilter) bool {
	p.space()
	word := strings.ToLower(p.word())
	switch word {
	case "atscope", "atscopeandbelow":
		f.AtScope, f.Below = f.AtScope || word == "atscope", f.Below || word == "atscopeandbelow"
		return p.take("(") && p.take(")")
	case "assignedto":
		return p.take("(") && p.value(&f.AssignedTo) && p.take(")")
	}
	at := map[string]*string{"principalid": &f.Principal, "rolename": &f.RoleName, "type": &f.RoleType}[word]
	if at == nil {
		return false
	}
	p.space()
	return is(p.word(), "eq") && p.value(at)
}

// take takes what comes next when it is s.
func (p *filtering) take(s string) (ok bool) {
	p.space()
	p.rest, ok = strings.CutPrefix(p.rest, s)
	return ok
}

// value reads a value that is there once, and not empty: an empty one would
// narrow nothing.
func (p *filtering) value(at *string) bool {
	p.space()
	s, ok := p.quoted()
	if !ok || s == "" || *at != "" {
		return false
	}
	*at = s
	return true
}

// DecodeRoleAssignment reads the body of a PUT of a role assignment.
func DecodeRoleAssignment(scope patchbay.ID, id string, body []byte) (patchbay.RoleAssignment, error) {
	a := patchbay.RoleAssignment{ID: id, Scope: scope}
	var role, kind string
	err := decodeBody(body, func(o *object) {
		o.ignore("id", "name", "type")
		o.child("", "properties", func(p *object) {
			p.ignore("scope", "createdOn", "updatedOn", "createdBy", "updatedBy", "principalName", "roleDefinitionName")
			p.str("", "roleDefinitionId", &role)
			p.str("", "principalId", &a.Principal)
			p.str("", "principalType", &kind)
			p.str("", "description", &a.Description)
			for _, name := range []string{"condition", "conditionVersion", "delegatedManagedIdentityResourceId"} {
				if v := p.value("", name); v != nil && v != "" {
					p.fail(invalid("properties.%s is not supported: an assignment holds without conditions", name))
				}
			}
			if v := p.value("", "canDelegate"); v != nil && v != false {
				p.fail(invalid("properties.canDelegate is not supported"))
			}
		})
	})
	if err != nil {
		return a, err
	}
	a.PrincipalKind = patchbay.PrincipalKind(kind)
	if a.Role = RoleID(role); a.Role == "" {
		return a, invalid("properties.roleDefinitionId has to be the id of a role definition")
	}
	if a.Principal == "" {
		return a, invalid("properties.principalId is required")
	}
	return a, nil
}

// RoleID is the GUID in a role definition's id, whatever the scope in front of
// it; a GUID alone is taken too.
func RoleID(s string) string {
	const mark = "/providers/" + AuthorizationProvider + "/roleDefinitions/"
	if at := strings.LastIndex(strings.ToLower(s), strings.ToLower(mark)); at >= 0 {
		s = s[at+len(mark):]
	}
	if strings.Contains(s, "/") {
		return ""
	}
	return s
}

// DecodeRoleDefinition reads the body of a PUT of a custom role.
func DecodeRoleDefinition(id string, body []byte) (patchbay.RoleDefinition, error) {
	d := patchbay.RoleDefinition{ID: id}
	var scopes []string
	err := decodeBody(body, func(o *object) {
		o.ignore("id", "name", "type")
		o.child("", "properties", func(p *object) {
			p.ignore("createdOn", "updatedOn", "createdBy", "updatedBy")
			p.str("", "roleName", &d.Name)
			p.str("", "description", &d.Description)
			var kind string
			if p.str("", "type", &kind); kind != "" && !is(kind, "CustomRole") {
				p.fail(invalid("properties.type has to be CustomRole"))
			}
			p.strings("", "assignableScopes", &scopes)
			p.permissions(&d)
		})
	})
	if err != nil {
		return d, err
	}
	for _, s := range scopes {
		scope := patchbay.RootScope
		if s != string(patchbay.RootScope) {
			if scope, err = patchbay.ParseID(s); err != nil {
				return d, err
			}
		}
		d.Scopes = append(d.Scopes, scope)
	}
	return d, nil
}

// permissions reads the one set of actions that a role has here.
func (o *object) permissions(d *patchbay.RoleDefinition) {
	list, ok := o.value("", "permissions").([]any)
	if !ok || len(list) != 1 {
		o.fail(invalid("properties.permissions has to be an array of one object"))
		return
	}
	p := newObject(o.decoding, join(o.path, "permissions[0]"), list[0])
	if o.err != nil {
		return
	}
	p.strings("", "actions", &d.Actions)
	p.strings("", "notActions", &d.NotActions)
	for _, name := range []string{"dataActions", "notDataActions"} {
		var none []string
		if p.strings("", name, &none); len(none) > 0 {
			p.fail(invalid("%s is not supported: here secrets are read by an action, Microsoft.ServiceLinker/linkers/listConfigurations/action", join(p.path, name)))
		}
	}
	for _, name := range []string{"condition", "conditionVersion"} {
		if p.value("", name) != nil {
			p.fail(invalid("%s is not supported", join(p.path, name)))
		}
	}
	p.end()
}

// roleDefinitionID is a role's id as it is seen from a scope: clients compare
// the ids in assignments with those of the definitions that they list at the
// same scope.
func roleDefinitionID(scope patchbay.ID, id string) string {
	prefix := ""
	if sub := scope.Subscription(); sub != "" {
		prefix = "/subscriptions/" + sub
	}
	return prefix + "/providers/" + definitionType + "/" + id
}

// RoleDefinition is the answer to a GET or PUT of a role at a scope.
func RoleDefinition(scope patchbay.ID, d patchbay.RoleDefinition) any {
	kind := "CustomRole"
	if d.Tenant == "" {
		kind = "BuiltInRole"
	}
	scopes := make([]string, len(d.Scopes))
	for i, s := range d.Scopes {
		scopes[i] = string(s)
	}
	p := &members{}
	p.add("", "roleName", d.Name)
	p.add("", "type", kind)
	p.add("", "description", d.Description)
	p.add("", "assignableScopes", scopes)
	p.add("", "permissions", []any{Permission(d)})
	addStamps(p, d.Created, d.CreatedBy, d.Modified, d.ModifiedBy)
	return roleBody(roleDefinitionID(scope, d.ID), d.ID, definitionType, p)
}

// RoleDefinitionRequest is the body of a PUT of a custom role.
func RoleDefinitionRequest(d patchbay.RoleDefinition) any {
	permission := &members{}
	permission.add("", "actions", orEmpty(d.Actions))
	permission.add("", "notActions", orEmpty(d.NotActions))
	p := &members{}
	p.add("", "roleName", d.Name)
	p.add("", "type", "CustomRole")
	p.add("", "description", d.Description)
	p.add("", "assignableScopes", d.Scopes)
	p.add("", "permissions", []any{permission})
	return &members{list: []member{{"properties", p}}}
}

// RoleAssignmentRequest is the body of a PUT of an assignment.
func RoleAssignmentRequest(a patchbay.RoleAssignment) any {
	p := &members{request: true}
	p.add("", "roleDefinitionId", roleDefinitionID(a.Scope, a.Role))
	p.add("", "principalId", a.Principal)
	p.add("", "description", orNull(a.Description))
	return &members{list: []member{{"properties", p}}}
}

// Permission is a role's actions.
func Permission(d patchbay.RoleDefinition) any {
	m := &members{}
	m.add("", "actions", orEmpty(d.Actions))
	m.add("", "notActions", orEmpty(d.NotActions))
	m.add("", "dataActions", []string{})
	m.add("", "notDataActions", []string{})
	return m
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// RoleAssignment is the answer to a GET, PUT or DELETE of an assignment, as it
// is seen from a scope.
func RoleAssignment(seenFrom patchbay.ID, a patchbay.RoleAssignment) any {
	p := &members{}
	p.add("", "roleDefinitionId", roleDefinitionID(seenFrom, a.Role))
	p.add("", "principalId", a.Principal)
	p.add("", "principalType", string(a.PrincipalKind))
	p.add("", "scope", string(a.Scope))
	p.add("", "description", orNull(a.Description))
	p.add("", "condition", nil)
	p.add("", "conditionVersion", nil)
	addStamps(p, a.Created, a.CreatedBy, a.Created, a.CreatedBy)
	id := strings.TrimSuffix(string(a.Scope), "/") + "/providers/" + assignmentType + "/" + a.ID
	return roleBody(id, a.ID, assignmentType, p)
}

func addStamps(p *members, created time.Time, createdBy string, modified time.Time, modifiedBy string) {
	p.add("", "createdOn", orNullTime(created))
	p.add("", "updatedOn", orNullTime(modified))
	p.add("", "createdBy", orNull(createdBy))
	p.add("", "updatedBy", orNull(modifiedBy))
}

func roleBody(id, name, typ string, properties *members) any {
	m := &members{}
	m.add("", "id", id)
	m.add("", "type", typ)
	m.add("", "name", name)
	m.add("", "properties", properties)
	return m
}
