package clienttest

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"os"
)

// javaScript is @azure/arm-servicelinker, in node.
type javaScript struct{ c *lineClient }

func newJavaScript(cp *controlPlane, who credential) azureClient {
	cp.t.Helper()
	node := needNode(cp.t)
	env := append(who.environment(cp), "NODE_EXTRA_CA_CERTS="+cp.ca)
	return javaScript{cp.spawn(env, node, filepath.Join("npm", "client.mjs"))}
}

// needNode is where node is. Without it or the packages the test is skipped,
// or fails when PATCHBAY_TESTENV is "required".
func needNode(t *testing.T) string {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("PATCHBAY_TESTENV") == "required" {
		skip = t.Fatalf
	}
	node, err := exec.LookPath("node")
	if err != nil {
		skip("node is not installed: `make deps` installs it")
	}
	if _, err := os.Stat(filepath.Join("npm", "node_modules", "@azure", "arm-servicelinker")); err != nil {
		skip("the packages of internal/clienttest/npm are not installed: `make deps` installs them")
	}
	return node
}

func (j javaScript) create(ctx context.Context, source, name string, body map[string]any) (map[string]any, error) {
	var made map[string]any
	err := j.c.ask(ctx, &made, "linker.beginCreateOrUpdateAndWait", source, name, body["properties"])
	return wired(made), err
}

func (j javaScript) get(ctx context.Context, source, name string) (map[string]any, error) {
	var linker map[string]any
	err := j.c.ask(ctx, &linker, "linker.get", source, name)
	return wired(linker), err
}

func (j javaScript) list(ctx context.Context, source string) ([]any, error) {
	var all []any
	return all, j.c.ask(ctx, &all, "linker.list", source)
}

func (j javaScript) update(ctx context.Context, source, name, clientType string) (map[string]any, error) {
	var linker map[string]any
	err := j.c.ask(ctx, &linker, "linker.beginUpdateAndWait", source, name, map[string]any{"clientType": clientType})
	return wired(linker), err
}

func (j javaScript) validate(ctx context.Context, source, name string) (map[string]any, error) {
	var result map[string]any
	err := j.c.ask(ctx, &result, "linker.beginValidateAndWait", source, name)
	return map[string]any{"properties": result}, err
}

func (j javaScript) configurations(ctx context.Context, source, name string) (map[string]string, error) {
	var result struct {
		Configurations []struct{ Name, Value string }
	}
	err := j.c.ask(ctx, &result, "linker.listConfigurations", source, name)
	values := map[string]string{}
	for _, c := range result.Configurations {
		values[c.Name] = c.Value
	}
	return values, err
}

func (j javaScript) delete(ctx context.Context, source, name string) error {
	return j.c.ask(ctx, nil, "linker.beginDeleteAndWait", source, name)
}

// wired puts a linker back into the shape that it has on the wire: the SDK
// lifts the members of properties up.
func wired(linker map[string]any) map[string]any {
	if linker == nil {
		return nil
	}
	properties := map[string]any{}
	for _, name := range []string{"targetService", "authInfo", "clientType", "provisioningState"} {
		properties[name] = linker[name]
	}
	linker["properties"] = properties
	return linker
}
