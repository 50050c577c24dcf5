package cli

import (
	"encoding/json"
	"net/http"
	"strings"

	"patchbay.dev/patchbay"
)

// discover answers a search: an engine with a shop in it, seen by two drivers, and one
// that does not answer.
func (f *fake) discover(w http.ResponseWriter, r *http.Request, body []byte) {
	var asked struct {
		Properties map[string]any `json:"properties"`
		Name, As   string
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		f.fail(w, 400, "InvalidRequestContent", "the body is not JSON", "")
		return
	}
	app := func(name, typ, driver, endpoint string) patchbay.Discovered {
		return patchbay.Discovered{
			Name: name, Instance: name, What: "container of the image shop/" + name + ":1", State: "running",
			ID: patchbay.ID(fakeGroup + "/providers/" + typ + "/" + name), Driver: driver, Endpoint: endpoint,
		}
	}
	const apps = "Microsoft.App/containerApps"
	var found []patchbay.Discovered
	switch driver := asked.Properties["driver"].(string); driver {
	case "docker":
		web := app("web", apps, driver, "web")
		if engine, ok := asked.Properties["engine"]; ok {
			web.Properties, _ = json.Marshal(map[string]any{"engine": engine})
		}
		front := app("front", apps, driver, "front")
		front.Registered, front.Connections = webID, []patchbay.DiscoveredConnection{{ID: webID + "/x", Name: "main", Source: webID, Target: ordersID}}
		bound := app("bound", apps, driver, "bound")
		bound.Refused, bound.Fix = "it shares another container's namespace", "start it with a namespace of its own"
		worker := app("worker", apps, driver, "shop-worker-1")
		worker.Refused, worker.Fix = "it is Compose's", "register it with the driver compose"
		db := app("db", "Microsoft.DBforPostgreSQL/flexibleServers", "postgres", "172.18.0.1:5432")
		db.Service = &patchbay.DiscoveredService{Kind: "postgresql", Title: "PostgreSQL", By: "image postgres", Addresses: []string{"172.18.0.1:5432"}, Credential: []string{"POSTGRES_PASSWORD"}, Needed: true}
		cache := app("cache", "Microsoft.Cache/redis", "external", "redis://172.18.0.3:6379")
		cache.Service = &patchbay.DiscoveredService{Kind: "redis", Title: "Redis", By: "image redis"}
		cache.Notes = []string{"172.18.0.3 may be another address after a restart"}
		orders := app("orders", "Microsoft.DBforPostgreSQL/flexibleServers", "postgres", "172.18.0.4:5432")
		orders.Service, orders.Taken = &patchbay.DiscoveredService{Kind: "postgresql", Title: "PostgreSQL", Needed: true, Credential: []string{"POSTGRES_PASSWORD_FILE"}}, true
		found = []patchbay.Discovered{bound, front, web, worker, cache, db, orders}
	case "compose":
		worker := app("worker", apps, driver, "/srv/shop")
		worker.What, worker.Properties = "service worker of the Compose project shop", json.RawMessage(`{"service":"worker"}`)
		found = []patchbay.Discovered{worker}
	default:
		f.fail(w, 409, "SettingsUnreadable", "systemd does not answer", "systemctl is-system-running")
		return
	}
	if strings.HasSuffix(r.URL.Path, "/discover") {
		f.ok(w, 200, list(found))
		return
	}
	for _, d := range found {
		if d.Name != asked.Name {
			continue
		}
		name := first(asked.As, d.Name)
		id := fakeGroup + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/" + name
		f.resources[patchbay.ID(id).Key()] = map[string]any{
			"id": id, "name": name, "type": d.ID.Type(), "location": "local", "tags": nil,
			"properties": map[string]any{"driver": d.Driver, "endpoint": d.Endpoint, "provisioningState": "Succeeded"},
		}
		f.ok(w, 201, f.resources[patchbay.ID(id).Key()])
		return
	}
	f.fail(w, 404, "ResourceNotFound", "nothing that was found is called "+asked.Name, "")
}
