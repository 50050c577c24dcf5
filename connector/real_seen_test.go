package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/controlplane"
	"patchbay.dev/patchbay/internal/testenv"
)

// hall lets in whoever it is asked for, and says where the target is found there.
type hall struct {
	driver.Network
	found string
}

func (h *hall) Knows(context.Context, driver.Peer) (bool, error) { return true, nil }
func (h *hall) Reach(_ context.Context, r driver.Rule) (map[string]string, error) {
	return map[string]string{r.Servers[0]: h.found}, nil
}
func (h *hall) EnsureRule(context.Context, driver.Rule) error { return nil }
func (h *hall) RemoveRule(context.Context, driver.Rule) error { return nil }
func (h *hall) InspectRule(context.Context, driver.Rule) (driver.RuleState, error) {
	return driver.RuleState{Exists: true, Ours: true, Exact: true}, nil
}
func (h *hall) Close() error { return nil }

// guest is an application there.
type guest struct {
	driver.Source
	driver.Vantage
}

func (guest) Peer(context.Context) (*driver.Peer, error) {
	return &driver.Peer{Platform: "hall", Name: "web"}, nil
}

// TestARealTargetIsFoundElsewhere: a PostgreSQL that is registered with its address and found
// by a name has that in the settings, and signs in by it; a name that its certificate is not
// for is refused before anything has happened.
func TestARealTargetIsFoundElsewhere(t *testing.T) {
	server := testenv.Postgres(t, testenv.PostgresOptions{TLS: true})
	super := fmt.Sprintf("host=%s port=%d user=%s password=%s sslmode=disable dbname=postgres", server.Host, server.Port, server.User, server.Password)
	exec(t, super, "CREATE DATABASE shop")
	h := &hall{found: fmt.Sprintf("localhost:%d", server.Port)}
	catalog := controlplane.Catalog()
	catalog.Networks["hall"] = driver.NetworkDriver{
		Driver: patchbay.Driver{Name: "hall", Noun: "hall", Types: []string{"Patchbay.Services/guards"}},
		Open:   func(context.Context, driver.Config, driver.Config) (driver.Network, error) { return h, nil },
	}
	source := catalog.Sources["envfile"]
	open := source.Open
	source.Open = func(ctx context.Context, c driver.Config) (driver.Source, error) {
		opened, err := open(ctx, c)
		if err != nil {
			return nil, err
		}
		return guest{opened, opened.(driver.Vantage)}, nil
	}
	catalog.Sources["envfile"] = source
	p := newPlaceOf(t, connector.Options{Catalog: catalog})
	guard := p.register(patchbay.Resource{ID: p.group.Child("providers/Patchbay.Services/guards", "hall"), Driver: "hall"}, nil)
	properties, err := json.Marshal(map[string]string{"sslmode": "verify-full", "ca": string(server.CA)})
	if err != nil {
		t.Fatal(err)
	}
	id := p.register(patchbay.Resource{
		ID: p.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Driver: "postgres", Endpoint: fmt.Sprintf("%s:%d", server.Host, server.Port),
		Properties: properties, Guards: []patchbay.ID{guard},
	}, map[string]string{"username": server.User, "password": server.Password})
	spec := patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "shop")}, Auth: secretAuth("", ""), Client: "go"}
	p.done(p.put(spec))
	if held := p.held(connectionString); !strings.Contains(held, "localhost") || strings.Contains(held, server.Host) {
		t.Errorf("the settings are %q", held)
	}
	if results := p.validated(); results[patchbay.CheckNetwork] != patchbay.Success || results[patchbay.CheckAuthentication] != patchbay.Success {
		t.Errorf("%v", results)
	}
	p.done(p.ends(p.Rotate(t.Context(), connector.RotateRequest{ID: p.linker, Caller: p.caller})))
	if held := p.held(connectionString); !strings.Contains(held, "localhost") {
		t.Errorf("after a rotation, the settings are %q", held)
	}
	h.found = "orders-db:5432"
	op := p.put(spec)
	if op.State != patchbay.Undone || patchbay.CodeOf(op.Error) != patchbay.CertificateInvalid || !strings.Contains(op.Error.Message, "orders-db:5432") {
		t.Errorf("with a certificate for another name, the update is %s: %v", op.State, op.Error)
	}
	h.found = fmt.Sprintf("localhost:%d", server.Port)
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
}
