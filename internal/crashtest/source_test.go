package crashtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/joho/godotenv"
)

// source is a real place of an application's settings with what the checker asks of
// it. What it answers does not come from the driver.
type source interface {
	// resource is its type and name below the group, and the body that registers it.
	resource() (path string, body map[string]any)
	// settings are what the application has of its connections; nothing else.
	settings() (map[string]string, error)
	// content is all that it holds, field by field: two that are equal are the same.
	content() string
	// kept says what of others' things is not as it was in the beginning.
	kept() error
	// untouched says what is not as it was in the beginning, once nothing is connected.
	untouched() error
	// beside says what is there that neither is the application nor was in the
	// beginning.
	beside() error
	// holds reports whether that file is where its secrets are meant to be.
	holds(path string) bool
}

// original is a file with things that must not change.
const original = "# kept\nexport A='1 # 2'\nB=\"x y\"   \n\nLAST=no newline"

// envFile is a settings file.
type envFile struct{ path string }

func newEnvFile(t *testing.T, dir string) *envFile {
	f := &envFile{filepath.Join(dir, "app", "web.env")}
	if err := os.Mkdir(filepath.Dir(f.path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path, []byte(original), 0o640); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *envFile) resource() (string, map[string]any) {
	return "Microsoft.Web/sites/web", map[string]any{"properties": map[string]any{
		"driver": "envfile", "endpoint": f.path, "dialect": "dotenv", "reload": map[string]any{"command": []string{"true"}},
	}}
}

func (f *envFile) settings() (map[string]string, error) {
	all, err := godotenv.Read(f.path)
	for _, name := range []string{"A", "B", "LAST"} {
		delete(all, name)
	}
	return all, err
}

func (f *envFile) content() string {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (f *envFile) kept() error {
	if text := f.content(); !bytes.HasPrefix([]byte(text), []byte(original)) {
		return fmt.Errorf("what was in the file is not any more:\n%s", text)
	}
	info, err := os.Stat(f.path)
	if err == nil && info.Mode().Perm() != 0o640 {
		err = fmt.Errorf("the file's mode is %v", info.Mode())
	}
	return err
}

func (f *envFile) untouched() error {
	if text := f.content(); text != original {
		return fmt.Errorf("the file is\n%q, was\n%q", text, original)
	}
	return nil
}

func (f *envFile) beside() error {
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err == nil && len(entries) != 1 {
		err = fmt.Errorf("beside the settings file there are %v", entries)
	}
	return err
}

func (f *envFile) holds(path string) bool {
	a, err := os.Stat(path)
	b, err2 := os.Stat(f.path)
	return err == nil && err2 == nil && os.SameFile(a, b)
}
