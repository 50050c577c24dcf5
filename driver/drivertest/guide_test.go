package drivertest_test

import (
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the guide to writing a driver shows is copied by whoever writes one: here
// too, into a module of its own, and its test is run.
func TestTheDriverOfTheGuidePasses(t *testing.T) {
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(repository, "docs", "write-a-driver.md"))
	if err != nil {
		t.Fatal(err)
	}
	// The blocks of one file follow each other; a package clause begins the next.
	var files []string
	for _, block := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if begins := regexp.MustCompile(`(?m)^package `).MatchString(block[1]); begins || len(files) == 0 {
			files = append(files, "")
		}
		files[len(files)-1] += block[1] + "\n"
	}
	for i := range files {
		files[i] = strings.TrimSpace(files[i]) + "\n"
	}
	module := regexp.MustCompile(`(?m)^    module (?:.*\n|\n)(?:    .*\n|\n)*`).FindString(string(page))
	if len(files) != 2 || !strings.Contains(module, "=> ../patchbay\n") {
		t.Fatalf("the page has %d Go files, and the module %q", len(files), module)
	}
	sums, err := os.ReadFile(filepath.Join(repository, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":           strings.ReplaceAll(strings.ReplaceAll(module, "    ", ""), "=> ../patchbay\n", "=> "+repository+"\n"),
		"go.sum":           string(sums),
		"jsonfile.go":      files[0],
		"jsonfile_test.go": files[1],
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// All that it needs is here already, because this test needs it: nothing is
	// fetched.
	cmd := exec.Command("go", "test", "-count=1", "-mod=mod", "./...")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, file := range files {
		if clean, err := format.Source([]byte(file)); err != nil || string(clean) != file {
			t.Errorf("not as gofmt has it (%v):\n%s", err, file)
		}
	}
}
