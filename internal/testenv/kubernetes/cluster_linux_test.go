package kubernetes

import (
	"flag"
	"strings"
	"testing"
)

var asked = flag.Bool("cluster", false, "start a Kubernetes cluster, as make test-kubernetes does")

// TestPodsRun: the cluster makes pods, they are reached, and they reach what is
// exposed to them.
func TestPodsRun(t *testing.T) {
	if !*asked {
		t.Skip("a cluster takes its time: make test-kubernetes, or -cluster, starts one")
	}
	c := Start(t, Options{Node: true})
	out, err := c.Kubectl("create", "deployment", "web", "--image="+Image)
	if err != nil {
		t.Fatal(out, err)
	}
	if out, err := c.Kubectl("rollout", "status", "deployment/web", "--timeout=60s"); err != nil {
		pods, _ := c.Kubectl("describe", "pods")
		t.Fatal(out, err, pods)
	}
	ip, err := c.Kubectl("get", "pods", "-o", "jsonpath={.items[0].status.podIP}")
	if err != nil || !strings.HasPrefix(ip, "10.244.") {
		t.Fatal(ip, err)
	}
	if err := get(c.Client(), "http://"+ip+":8080/env", ""); err != nil {
		t.Error(err)
	}
}
