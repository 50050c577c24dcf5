package kubernetes

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func TestWorkloadsAreFound(t *testing.T) {
	e := newEyes(t)
	named := func(name string, d object, container object) object {
		d["metadata"].(object)["name"] = name
		spec := d["spec"].(object)
		spec["replicas"] = 0
		spec["selector"] = object{"matchLabels": object{"app": name}}
		spec["template"] = object{"metadata": object{"labels": object{"app": name, "tier": "x"}}, "spec": podSpec(container)}
		return d
	}
	secret := func(name string, data map[string]string) {
		encoded := object{}
		for key, value := range data {
			encoded[key] = base64.StdEncoding.EncodeToString([]byte(value))
		}
		e.must("POST", e.core("secrets"), "", object{"metadata": object{"name": name}, "data": encoded})
	}
	secret("admin", map[string]string{"password": "c4n4ry"})
	secret("all", map[string]string{"MYSQL_PASSWORD": "c4n4ry", "MYSQL_USER": "app"})
	secret("files", map[string]string{"key": "c4n4ry\n"})
	e.must("POST", e.apps("deployments"), "", named("web", deployment(0, nil), object{"ports": []any{object{"containerPort": 8080}}}))
	e.must("POST", e.apps("statefulsets"), "", named("db", of("StatefulSet", nil), object{
		"image": "postgres:16", "ports": []any{object{"containerPort": 5432, "name": "sql"}},
		"env": []any{object{"name": "POSTGRES_PASSWORD", "valueFrom": object{"secretKeyRef": object{"name": "admin", "key": "password"}}}},
	}))
	with := named("shop", deployment(0, nil), object{
		"image": "mariadb:11", "envFrom": []any{object{"secretRef": object{"name": "all"}}},
		"env":          []any{object{"name": "MARIADB_ROOT_PASSWORD_FILE", "value": "/secrets/root"}},
		"volumeMounts": []any{object{"name": "files", "mountPath": "/secrets"}},
	})
	at(with, "spec", "template", "spec").(object)["volumes"] = []any{object{"name": "files", "secret": object{"secretName": "files", "items": []any{object{"key": "key", "path": "root"}}}}}
	e.must("POST", e.apps("deployments"), "", with)
	e.must("POST", "/apis/batch/v1/namespaces/"+e.namespace+"/cronjobs", "", of("CronJob", nil))
	e.must("POST", e.core("services"), "", object{"metadata": object{"name": "main"}, "spec": object{
		"selector": object{"app": "db"}, "ports": []any{object{"port": 15432, "targetPort": "sql"}},
	}})

	c := e.config(nil)
	c.Properties = marshal(object{"namespace": e.namespace, "tls": object{"ca": string(e.cluster.CA)}})
	c.ID = ""
	find := func(reveal func(driver.Found) driver.Reveal) map[string]driver.Found {
		t.Helper()
		list, err := Driver().Discover(bounded(t), c, reveal)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]driver.Found{}
		for _, f := range list {
			if f.Within == e.namespace {
				all[f.Properties["kind"].(string)+"/"+f.Name] = f
			}
		}
		if text, _ := json.Marshal(list); reveal == nil && strings.Contains(string(text), "c4n4ry") {
			t.Errorf("a value leaves the driver: %s", text)
		}
		return all
	}
	all := find(nil)
	if len(all) != 4 {
		t.Errorf("found are %v", all)
	}
	if f := all["Deployment/web"]; f.Plumbing || f.Refused != "" || f.Running || f.State != "0 of 0 ready" || !slices.Equal(f.Ports, []uint16{8080}) {
		t.Errorf("%+v", f)
	}
	if f := all["CronJob/web"]; f.State != "scheduled" {
		t.Errorf("%+v", f)
	}
	f := all["StatefulSet/db"]
	if f.Image != "postgres:16" || !slices.Equal(f.Variables, []string{"POSTGRES_PASSWORD"}) || len(f.Reach) != 1 || f.Reach[0].Port != 5432 || f.Reach[0].Address != "main."+e.namespace+".svc:15432" || f.Reach[0].Note == "" {
		t.Errorf("%+v", f)
	}
	if f := all["Deployment/shop"]; !slices.Equal(f.Variables, []string{"MARIADB_ROOT_PASSWORD_FILE", "MYSQL_PASSWORD", "MYSQL_USER"}) {
		t.Errorf("%+v", f)
	}
	// Without a namespace all are looked at that may be listed.
	c.Properties = marshal(object{"tls": object{"ca": string(e.cluster.CA)}})
	got := find(func(f driver.Found) driver.Reveal {
		switch f.Name {
		case "db":
			return driver.Reveal{Variables: []string{"POSTGRES_PASSWORD"}}
		case "shop":
			return driver.Reveal{Variables: []string{"MYSQL_PASSWORD"}, Files: []string{"MARIADB_ROOT_PASSWORD_FILE"}}
		}
		return driver.Reveal{}
	})
	if s := got["StatefulSet/db"].Revealed; s["POSTGRES_PASSWORD"].Reveal() != "c4n4ry" || len(s) != 1 {
		t.Errorf("db reveals %d values", len(s))
	}
	if s := got["Deployment/shop"].Revealed; s["MYSQL_PASSWORD"].Reveal() != "c4n4ry" || s["MARIADB_ROOT_PASSWORD_FILE"].Reveal() != "c4n4ry" || len(s) != 2 {
		t.Errorf("shop reveals %d values", len(s))
	}
	if s := got["Deployment/web"].Revealed; len(s) != 0 {
		t.Errorf("web reveals %d values", len(s))
	}
	// Who may list nothing is told so.
	c.Admin = driver.Secrets{"token": patchbay.NewSecret(e.cluster.UserToken(9))}
	if _, err := Driver().Discover(bounded(t), c, nil); patchbay.CodeOf(err) != patchbay.AdminRights || patchbay.AsError(err).Fix == "" {
		t.Errorf("without a right: %v", err)
	}
}
