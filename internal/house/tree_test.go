package house

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// module is the path of the product's module; a package is called by what
// follows it, the domain by "".
const module = "patchbay.dev/patchbay"

// root is the repository, seen from this package.
const root = "../.."

// source is one parsed Go file.
type source struct {
	path string // from the repository's root, with slashes
	pkg  string // path of its package below the module
	test bool   // _test.go
	set  *token.FileSet
	ast  *ast.File
}

// at is where a node stands, for an error.
func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.set.Position(n.Pos()).Line)
}

// imports are the import paths of the file, in order.
func (s source) imports() []string {
	var list []string
	for _, spec := range s.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// files are the repository's files, with slashes, without those that git
// ignores. The directories are read rather than git asked for the list: go test
// then sees that a file was added, and does not answer from its cache.
var files = sync.OnceValues(func() ([]string, error) {
	ignored, err := ignored()
	if err != nil {
		return nil, err
	}
	var list []string
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case d.Name() == ".git":
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir() && ignored[name+"/"]:
			return fs.SkipDir
		case d.Type().IsRegular() && !ignored[name]:
			list = append(list, name)
		}
		return nil
	})
	return list, err
})

// ignored are the files and directories (with a slash behind) that .gitignore
// names; none where there is no git, as in an unpacked archive.
func ignored() (map[string]bool, error) {
	m := map[string]bool{}
	if _, err := os.Stat(filepath.Join(root, ".git")); errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	// The checkout may belong to somebody else, as in a container.
	cmd := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	for name := range bytes.SplitSeq(out, []byte{0}) {
		m[string(name)] = true
	}
	return m, nil
}

// sources are all Go files of the product's module, whatever their build tags
// and platform: a rule also holds where this machine doesn't build. Tools and
// testdata are not the product's.
var sources = sync.OnceValues(func() ([]source, error) {
	names, err := files()
	if err != nil {
		return nil, err
	}
	var list []source
	for _, name := range names {
		if path.Ext(name) != ".go" || strings.HasPrefix(name, "tools/") ||
			slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		pkg := path.Dir(name)
		if pkg == "." {
			pkg = ""
		}
		list = append(list, source{name, pkg, strings.HasSuffix(name, "_test.go"), set, file})
	}
	return list, nil
})

func mustFiles(t *testing.T) []string {
	t.Helper()
	list, err := files()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Fatalf("only %d files found: the rules would hold for nothing", len(list))
	}
	return list
}

func mustSources(t *testing.T) []source {
	t.Helper()
	list, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Fatalf("only %d Go files found: the rules would hold for nothing", len(list))
	}
	return list
}

// under reports whether pkg is base or below it.
func under(pkg, base string) bool {
	return pkg == base || strings.HasPrefix(pkg, base+"/")
}

// text is a file of the repository.
func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
