package server

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// az asks Microsoft Graph for the names behind ids, and for the ids behind
// names, so this much of it is answered: over the principals of the caller's
// tenant, for who may read them.

// maxGraphIDs is how many ids one request may name, as in Graph.
const maxGraphIDs = 1000

// graphRoute finds what of Graph a path is; words are in lower case.
func (s *Server) graphRoute(words []string) (open, bool) {
	switch {
	case len(words) == 2 && words[1] == "serviceprincipals":
		return open{http.MethodGet, s.graph(searchGraph(patchbay.ServicePrincipal))}, true
	case len(words) == 2 && words[1] == "users":
		return open{http.MethodGet, s.graph(searchGraph(patchbay.UserPrincipal))}, true
	case len(words) == 2 && words[1] == "groups":
		return open{http.MethodGet, s.graph(searchGraph(patchbay.GroupPrincipal))}, true
	case len(words) == 3 && words[1] == "serviceprincipals":
		return open{http.MethodGet, s.graph(oneOfGraph(words[2]))}, true
	case len(words) == 3 && words[1] == "directoryobjects" && words[2] == "getbyids":
		return open{http.MethodPost, s.graph(graphByIDs)}, true
	}
	return open{}, false
}

// graph signs the caller in and asks whether it may read principals, as the
// routes of ARM do.
func (s *Server) graph(answer func(*exchange) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		who, err := s.admit(w, r)
		if err != nil {
			return err
		}
		visitOf(r.Context()).caller = who.Name
		x := &exchange{server: s, w: w, r: r, ctx: r.Context(), caller: who, rule: rule{action: own + "principals/read"}}
		x.reads = x.action
		if err := s.limit(w, r, who.subject); err != nil {
			s.limitedCaller(x, err)
			return err
		}
		x.ctx = patchbay.WithAct(x.ctx, x.act(patchbay.RootScope))
		defer x.leave()
		defer func() { s.charge(who.subject, x.records) }()
		err = x.allowed(patchbay.RootScope)
		if err == nil {
			err = x.enter(lists)
		}
		if err == nil {
			err = answer(x)
		}
		if wasRefused(x, err) {
			s.refusedCaller(x, err)
		}
		return err
	}
}

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
	items := []any{}
	for after := ""; ; {
		page, next, err := x.server.opts.Issuer.List(x.ctx, x.tenant(), after, store.MaxPage)
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
func searchGraph(kind patchbay.PrincipalKind) func(*exchange) error {
	return func(x *exchange) error {
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
		return x.graphList(func(p patchbay.Principal) bool { return p.Kind == kind && (len(values) == 0 || isNamed(p, values)) })
	}
}

func isNamed(p patchbay.Principal, values []string) bool {
	for _, v := range values {
		if v != "" && (strings.EqualFold(v, p.ID) || strings.EqualFold(v, p.AppID) || strings.EqualFold(v, p.Name)) {
			return true
		}
	}
	return false
}

func oneOfGraph(id string) func(*exchange) error {
	return func(x *exchange) error {
		p, err := x.server.opts.Issuer.Get(x.ctx, x.tenant(), id)
		if err != nil {
			return err
		}
		if p.Kind != patchbay.ServicePrincipal {
			return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: id, Message: "there is no such service principal"}
		}
		return x.json(http.StatusOK, graphObject(p))
	}
}

func graphByIDs(x *exchange) error {
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
		p, err := x.server.opts.Issuer.Get(x.ctx, x.tenant(), id)
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
