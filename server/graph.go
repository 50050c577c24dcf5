package server

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// az asks Microsoft Graph for the names behind ids, and for the ids behind
// names, so this much of it is answered: over the principals of the caller's
// tenant, for who may read them. A service principal that is named by its id or its
// client id is answered to anybody who is signed in: az asks for it whenever a
// connection is made with one, and only who was told such an id can name it.

// maxGraphIDs is how many ids one request may name, as in Graph.
const maxGraphIDs = 1000

// graphObject is a principal in Graph's words.
func graphObject(p patchbay.Principal) map[string]any {
	o := map[string]any{"id": p.ID, "displayName": p.Name, "accountEnabled": !p.Disabled}
	switch p.Kind {
	case patchbay.GroupPrincipal:
		o["@odata.type"] = "#microsoft.graph.group"
	case patchbay.UserPrincipal:
		o["@odata.type"], o["userPrincipalName"] = "#microsoft.graph.user", p.Name
	default:
		id := p.AppID
		if id == "" {
			id = p.ID
		}
		o["@odata.type"], o["appId"], o["servicePrincipalNames"] = "#microsoft.graph.servicePrincipal", id, []string{id}
	}
	return o
}

// graphList answers the principals that fit.
func (x *exchange) graphList(fits func(patchbay.Principal) bool) error {
	people, err := x.server.people()
	if err != nil {
		return err
	}
	items := []any{}
	for after := ""; ; {
		page, next, err := people.List(x.ctx, x.tenant(), after, store.MaxPage)
		if err != nil {
			return err
		}
		x.records += len(page)
		for _, p := range page {
			if fits(p) && len(items) < maxGraphIDs {
				items = append(items, graphObject(p))
			}
		}
		if after = next; next == "" {
			return x.json(http.StatusOK, map[string]any{"value": items})
		}
	}
}

// quoted is a value in a filter: 'it”s'.
var quoted = regexp.MustCompile(`'((?:[^']|'')*)'`)

// searchGraph answers those of a kind that a value of the filter names by an
// id, a client id or a name. az's filters all ask for that, in several words.
func searchGraph(kind patchbay.PrincipalKind) func(*Server, *exchange) error {
	return func(_ *Server, x *exchange) error {
		filter := x.query("$filter")
		if len(filter) > patchbay.MaxIDLength {
			return patchbay.Errorf(patchbay.InvalidArgument, "the query parameter $filter is too long")
		}
		var values []string
		for _, m := range quoted.FindAllStringSubmatch(filter, -1) {
			values = append(values, strings.ReplaceAll(m[1], "''", "'"))
		}
		if filter != "" && len(values) == 0 {
			return patchbay.Errorf(patchbay.InvalidArgument, "the query parameter $filter has to name an id or a name in single quotes")
		}
		if !x.may(x.caller.subject, x.action, patchbay.RootScope) {
			return x.graphList(func(p patchbay.Principal) bool { return p.Kind == kind && hasID(p, values) })
		}
		return x.graphList(func(p patchbay.Principal) bool { return p.Kind == kind && (len(values) == 0 || isNamed(p, values)) })
	}
}

func isUUID(s string) bool { return uuid.Validate(s) == nil && len(s) == 36 }

// hasID reports whether one of the values is an id of the principal: a name may be
// guessed.
func hasID(p patchbay.Principal, values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool {
		return isUUID(v) && (strings.EqualFold(v, p.ID) || strings.EqualFold(v, p.AppID))
	})
}

func isNamed(p patchbay.Principal, values []string) bool {
	for _, v := range values {
		if v != "" && (strings.EqualFold(v, p.ID) || strings.EqualFold(v, p.AppID) || strings.EqualFold(v, p.Name)) {
			return true
		}
	}
	return false
}

func (s *Server) oneOfGraph(x *exchange) error {
	people, err := s.people()
	if err != nil {
		return err
	}
	id := strings.ToLower(x.path.Name)
	p, err := people.Get(x.ctx, x.tenant(), id)
	if err != nil {
		return err
	}
	if p.Kind != patchbay.ServicePrincipal {
		return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: id, Message: "there is no such service principal"}
	}
	return x.json(http.StatusOK, graphObject(p))
}

func (s *Server) graphByIDs(x *exchange) error {
	people, err := s.people()
	if err != nil {
		return err
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	var asked struct {
		IDs []string `json:"ids"`
	}
	if err := json.Unmarshal(body, &asked); err != nil || len(asked.IDs) > maxGraphIDs {
		return patchbay.Errorf(patchbay.InvalidRequestContent, "the body has to be an object with ids, a list of at most %d strings", maxGraphIDs)
	}
	items := []any{}
	for _, id := range asked.IDs {
		p, err := people.Get(x.ctx, x.tenant(), id)
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			continue
		}
		if err != nil {
			return err
		}
		items = append(items, graphObject(p))
	}
	return x.json(http.StatusOK, map[string]any{"value": items})
}
