package controlplane

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestDocumentedMetricsAreThere: an alert on a metric that is called otherwise is silent for
// ever.
func TestDocumentedMetricsAreThere(t *testing.T) {
	registry := prometheus.NewRegistry()
	newMetrics(registry)
	descriptions := make(chan *prometheus.Desc, 100)
	registry.Describe(descriptions)
	close(descriptions)
	there := map[string]bool{}
	for d := range descriptions {
		there[regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]] = true
	}
	// Those of the server, and of what waits for a receiver, are made where they are counted.
	for _, file := range []string{"../../server/observe.go", "events.go", "metrics.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Name: +"(patchbay_\w+)"`).FindAllSubmatch(source, -1) {
			there[string(m[1])] = true
		}
	}
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\bpatchbay_[a-z_]+`).FindAllString(string(page), -1)
	if len(named) < 20 {
		t.Fatalf("the page names %d metrics", len(named))
	}
	for _, name := range named {
		if base := strings.TrimSuffix(strings.TrimSuffix(name, "_count"), "_sum"); !there[name] && !there[base] {
			t.Errorf("docs/operate.md names %s, which is none", name)
		}
	}
	for name := range there {
		if !strings.Contains(string(page), name) {
			t.Errorf("docs/operate.md does not say what %s is", name)
		}
	}
}
