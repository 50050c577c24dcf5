package server

import (
	"net/http"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/settings"
)

// settingsTable answers what the settings table has: every kind of target, or
// with ?kind= the names that one has for a client type, an auth type and a
// naming.
func (s *Server) settingsTable(x *exchange) error {
	want := x.query("kind")
	kinds := settings.Kinds()
	if want == "" {
		items := make([]any, len(kinds))
		for i, k := range kinds {
			items[i] = kindBody(k)
		}
		return x.list(items, "")
	}
	client := patchbay.ClientType(or(x.query("client"), "none"))
	auth := patchbay.AuthType(or(x.query("auth"), string(patchbay.AuthSecret)))
	naming := patchbay.Naming(or(x.query("naming"), string(settings.DefaultNaming(want))))
	names, err := settings.Names(want, client, auth, naming)
	if err != nil {
		return err
	}
	list := make([]map[string]any, len(names))
	for i, n := range names {
		list[i] = map[string]any{
			"name": n.Name, "description": n.Description, "secret": n.Secret, "optional": n.Optional, "file": n.File,
		}
	}
	return x.json(http.StatusOK, map[string]any{
		"kind": want, "client": client, "auth": auth, "naming": naming, "settings": list,
	})
}

// catalog answers what this server can connect. Clients make their commands and
// forms of it, whatever release they are of.
func (s *Server) catalog(x *exchange) error { return x.json(http.StatusOK, s.opts.Catalog) }

func kindBody(k patchbay.TargetKind) any {
	return map[string]any{
		"name": k.Name, "title": k.Title, "types": k.Types(), "cli": k.Words,
		"naming": k.Namings[0], "namings": k.Namings, "clients": k.Clients, "auths": k.Auths,
	}
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
