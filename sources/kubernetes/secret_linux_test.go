package kubernetes

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
)

// TestSecretSuite: somebody else's settings are in a Secret of theirs that is called
// as Azure calls them, and edits are made in a connection's own.
func TestSecretSuite(t *testing.T) {
	drivertest.Source(t, drivertest.SourceHarness{
		Driver: SecretDriver(), Watches: true,
		New: func(t testing.TB) drivertest.SourcePlace {
			e := newEyes(t)
			return drivertest.SourcePlace{
				Config: e.secretConfig(object{}),
				Read: func() (map[string]string, error) {
					all := map[string]string{}
					_, found, err := e.do("GET", e.core("secrets"), "", nil)
					for _, ours := range []bool{false, true} {
						for _, one := range list(found, "items") {
							if labeled := text(one, "metadata", "labels", connectionLabel) != ""; labeled != ours {
								continue
							}
							data, _ := at(one, "data").(object)
							for key, value := range data {
								b, _ := base64.StdEncoding.DecodeString(value.(string))
								all[key] = string(b)
							}
						}
					}
					return all, err
				},
				Content: e.content,
				Set: func(name, value string) error {
					data := object{"data": object{name: base64.StdEncoding.EncodeToString([]byte(value))}}
					_, found, err := e.do("GET", e.core("secrets"), "", nil)
					if err != nil {
						return err
					}
					edited := false
					for _, one := range list(found, "items") { // wherever it is
						if at(one, "data", name) == nil {
							continue
						}
						edited = true
						if _, _, err := e.do("PATCH", e.core("secrets")+"/"+text(one, "metadata", "name")+"?fieldManager=kubectl-edit", merging, data); err != nil {
							return err
						}
					}
					if edited {
						return nil
					}
					data["metadata"] = object{"name": "sc-theirs-secret"}
					if _, _, err = e.do("POST", e.core("secrets"), "", data); err != nil {
						_, _, err = e.do("PATCH", e.core("secrets")+"/sc-theirs-secret", merging, data)
					}
					return err
				},
				Leftovers: func() ([]string, error) { return nil, nil },
			}
		},
		Values:  []string{"one\ntwo\n", "\x01\x7f", strings.Repeat("x", 100_000)},
		Refused: map[string]patchbay.Setting{"not a Secret": {Name: "B", Value: patchbay.NewSecret(strings.Repeat("canary", 200_000))}},
	})
}

func (e *eyes) secretID() patchbay.ID {
	return patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/aks-" + e.namespace)
}

func (e *eyes) secretConfig(properties object) driver.Config {
	c := e.config(nil)
	c.ID = e.secretID()
	properties["namespace"] = e.namespace
	properties["tls"] = object{"ca": string(e.cluster.CA)}
	c.Properties = marshal(properties)
	return c
}

func (e *eyes) openSecret(t testing.TB, c driver.Config) driver.Source {
	t.Helper()
	s, err := SecretDriver().Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestSecretsAreCalledAsAzureCallsThem, and two connections never share one.
func TestSecretsAreCalledAsAzureCallsThem(t *testing.T) {
	e := newEyes(t)
	s := e.openSecret(t, e.secretConfig(object{}))
	ctx := bounded(t)
	write := func(uid, name string) error {
		now, err := s.ReadSettings(ctx)
		if err != nil {
			return err
		}
		_, err = s.WriteSettings(ctx, settingsOf(e.secretID(), uid, 1, name, "AZURE_POSTGRESQL_HOST", "h"), now.Version)
		return err
	}
	if err := write("aaaa", "My_orders-1"); err != nil {
		t.Fatal(err)
	}
	if data, err := e.data("secrets", "sc-myorders1-secret"); err != nil || data["AZURE_POSTGRESQL_HOST"] != "h" {
		t.Errorf("the Secret holds %v, %v", data, err)
	}
	before, _ := e.content()
	for name, check := range map[string]func() error{
		"CheckChange": func() error {
			return s.CheckChange(ctx, settingsOf(e.secretID(), "bbbb", 1, "my-orders1", "A", "canary-b"))
		},
		"WriteSettings": func() error { return write("bbbb", "myorders1") },
	} {
		err := check()
		if patchbay.CodeOf(err) != patchbay.NotOurs || !strings.Contains(err.Error(), "My_orders-1") {
			t.Errorf("%s of a connection whose name differs in its dashes: %v", name, err)
		}
	}
	e.must("POST", e.core("secrets"), "", object{"metadata": object{"name": "sc-taken-secret"}})
	if err := s.CheckChange(ctx, settingsOf(e.secretID(), "bbbb", 1, "taken", "A", "b")); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("a Secret that is nobody's: %v", err)
	}
	e.must("DELETE", e.core("secrets")+"/sc-taken-secret", "", nil)
	if now, _ := e.content(); now != before {
		t.Errorf("after what was refused there is\n%s\nwant\n%s", now, before)
	}
}

// TestAScopeIsANamespace: and the marks of all of them are found without one.
func TestAScopeIsANamespace(t *testing.T) {
	a, b := newEyes(t), newEyes(t)
	ctx := bounded(t)
	for uid, e := range map[string]*eyes{"aaaa": a, "bbbb": b} {
		c := a.secretConfig(object{})
		c.Scope = e.namespace
		s := e.openSecret(t, c)
		now, err := s.ReadSettings(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.WriteSettings(ctx, settingsOf(a.secretID(), uid, 1, "orders", "HOST", uid), now.Version); err != nil {
			t.Fatal(err)
		}
		if data, err := e.data("secrets", "sc-orders-secret"); err != nil || data["HOST"] != uid {
			t.Errorf("the Secret in the namespace of the scope holds %v, %v", data, err)
		}
	}
	owned, err := a.openSecret(t, a.secretConfig(object{})).Owned(ctx)
	if err != nil || len(owned) != 2 {
		t.Errorf("Owned without a scope = %v, %v", owned, err)
	}
}
