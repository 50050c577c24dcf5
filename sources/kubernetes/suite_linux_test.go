package kubernetes

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver/drivertest"
)

// TestSourceSuite: what cannot be held is refused beforehand; everything else is in
// the template that pods are made of, and goes from there.
func TestSourceSuite(t *testing.T) {
	for _, deliver := range []string{deliverEnv, deliverFiles} {
		t.Run(deliver, func(t *testing.T) {
			drivertest.Source(t, drivertest.SourceHarness{
				Driver:  Driver(),
				New:     func(t testing.TB) drivertest.SourcePlace { return place(t, deliver) },
				Values:  []string{"one\ntwo\n", "\n", "cr\rlf\r\n", "$(PB_BEFORE)", "$$(PB_BEFORE)", "\x01\x7f", strings.Repeat("x", 100_000)},
				Refused: refusedSettings, Watches: true,
			})
		})
	}
}

var refusedSettings = map[string]patchbay.Setting{
	"digit first":   {Name: "1A", Value: patchbay.NewSecret("canary-1")},
	"two dots":      {Name: "..A", Value: patchbay.NewSecret("canary-2")},
	"no UTF-8":      {Name: "A", Value: patchbay.NewSecret("canary\xff")},
	"very long":     {Name: "A", Value: patchbay.NewSecret(strings.Repeat("canary", 25_000))},
	"not a Secret":  {Name: "B", Value: patchbay.NewSecret(strings.Repeat("canary", 200_000))},
	"a lone letter": {Name: "ä", Value: patchbay.NewSecret("canary-3")},
}

func place(t testing.TB, deliver string) drivertest.SourcePlace {
	e := newEyes(t)
	replicas := 0 // what starts is looked at elsewhere
	if strings.HasSuffix(t.Name(), "/Restart") {
		replicas = 1
	}
	e.must("POST", e.core("configmaps"), "", object{"metadata": object{"name": "theirs"}})
	apply := func() error {
		_, _, err := e.do("POST", e.apps("deployments")+"?fieldManager=kubectl-client-side-apply", "", deployment(replicas, object{
			"envFrom": []any{object{"configMapRef": object{"name": "theirs"}}},
		}))
		return err
	}
	if err := apply(); err != nil {
		t.Fatal(err)
	}
	p := drivertest.SourcePlace{
		Config: e.config(object{"deliver": deliver}),
		Read:   e.read, Content: e.content, Set: e.set, Leftovers: e.ours,
		Remove: func() error {
			_, _, err := e.do("DELETE", e.apps("deployments")+"/web", "", nil)
			return err
		},
		Make: apply,
		Bounce: func() error {
			out, err := e.cluster.Kubectl("-n", e.namespace, "rollout", "restart", "deployment/web")
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		},
		Restarts: func() (int, error) {
			n, err := e.revision()
			return n - 1, err
		},
	}
	if deliver == deliverFiles {
		p.ReadFiles = func(connection string) (map[string]string, error) {
			_, o, err := e.do("GET", e.apps("deployments")+"/web", "", nil)
			if err != nil {
				return nil, err
			}
			files := map[string]string{}
			spec := at(o, "spec", "template", "spec")
			for _, mount := range list(spec, "containers", 0, "volumeMounts") {
				if path.Clean(text(mount, "mountPath")) != "/bindings/"+connection {
					continue
				}
				for _, volume := range list(spec, "volumes") {
					if text(volume, "name") == text(mount, "name") {
						if files, err = e.data("secrets", text(volume, "secret", "secretName")); err == nil && files == nil {
							err = fmt.Errorf("the Secret of the volume is not there")
						}
					}
				}
			}
			return files, err
		}
	}
	return p
}
