package clienttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// javaScript is @azure/arm-servicelinker, in node.
type javaScript struct{ c *lineClient }

func newJavaScript(cp *controlPlane, who credential) azureClient {
	cp.t.Helper()
	node := needNode(cp.t)
	env := append(who.environment(cp), "NODE_EXTRA_CA_CERTS="+cp.ca)
	return javaScript{cp.spawn(env, node[0], append(node[1:], filepath.Join("npm", "client.mjs"))...)}
}

// needNode is the command that runs a script with Azure's packages. Without Node
// or the packages the test is skipped, or fails when PATCHBAY_TESTENV is "required".
func needNode(t *testing.T) []string {
	t.Helper()
	node, err := findNode(filepath.Join("npm", "node_modules"))
	if err == nil {
		return node
	}
	if os.Getenv("PATCHBAY_TESTENV") == "required" {
		t.Fatal(err)
	}
	t.Skip(err)
	return nil
}

// Azure's packages take crypto for a global. It is one from Node 20 on; Debian
// 12's, 18, has to be told.
const (
	oldestNode       = 18
	cryptoIsGlobal   = 20
	makeCryptoGlobal = "--experimental-global-webcrypto"
)

func findNode(modules string) ([]string, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, errors.New("node is not installed: `make deps` installs it")
	}
	if _, err := os.Stat(filepath.Join(modules, "@azure", "arm-servicelinker")); err != nil {
		return nil, errors.New("the packages of internal/clienttest/npm are not installed: `make deps` installs them")
	}
	said, err := exec.Command(node, "--version").Output() // v22.23.5
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", node, err)
	}
	var version int
	if _, err := fmt.Sscanf(string(said), "v%d.", &version); err != nil || version < oldestNode {
		return nil, fmt.Errorf("%s is %s: Azure's packages want Node %d or later", node, strings.TrimSpace(string(said)), oldestNode)
	}
	if version < cryptoIsGlobal {
		return []string{node, makeCryptoGlobal}, nil
	}
	return []string{node}, nil
}

func TestAnOldNodeIsToldWhatAzuresPackagesWant(t *testing.T) {
	modules, path := t.TempDir(), t.TempDir()
	t.Setenv("PATH", path)
	node := filepath.Join(path, "node")
	found := func(want []string, wrong string) {
		t.Helper()
		got, err := findNode(modules)
		if !slices.Equal(got, want) || (err != nil) != (wrong != "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("found %q, %v; want %q, and an error with %q", got, err, want, wrong)
		}
	}
	version := func(version string) {
		t.Helper()
		if err := os.WriteFile(node, []byte("#!/bin/sh\necho "+version+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	found(nil, "node is not installed")
	version("v18.20.4")
	found(nil, "packages of internal/clienttest/npm are not installed")
	if err := os.MkdirAll(filepath.Join(modules, "@azure", "arm-servicelinker"), 0o700); err != nil {
		t.Fatal(err)
	}
	found([]string{node, makeCryptoGlobal}, "")
	version("v20.20.2")
	found([]string{node}, "")
	version("v16.20.2")
	found(nil, "is v16.20.2: Azure's packages want Node 18 or later")
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
