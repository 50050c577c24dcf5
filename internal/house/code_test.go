package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEveryPackageSaysWhatItIs: go doc's list of packages is the map of the
// house.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	docs := map[string][]source{} // package -> files with a package comment
	code := map[string]string{}   // package -> its name
	for _, s := range mustSources(t) {
		if s.test {
			continue
		}
		code[s.pkg] = s.ast.Name.Name
		if s.ast.Doc != nil && strings.TrimSpace(s.ast.Doc.Text()) != "" {
			docs[s.pkg] = append(docs[s.pkg], s)
		}
	}
	for pkg, name := range code {
		switch len(docs[pkg]) {
		case 0:
			t.Errorf("package %s has no comment: nobody learns from go doc what it is", called(pkg))
		case 1:
			if why := badDoc(name, path.Base(pkg), docs[pkg][0].ast.Doc.Text()); why != "" {
				t.Errorf("%s: %s", docs[pkg][0].path, why)
			}
		default:
			t.Errorf("package %s has comments in %s and %s: go doc glues them together", called(pkg), docs[pkg][0].path, docs[pkg][1].path)
		}
	}
}

// badDoc is what is wrong with the first sentence of a package comment, "" for
// nothing.
func badDoc(name, dir, doc string) string {
	sentence, _, ended := strings.Cut(strings.Join(strings.Fields(doc), " ")+" ", ". ")
	opening := "Package " + name + " "
	if name == "main" {
		opening = "Command " + dir + " "
	}
	rest, ok := strings.CutPrefix(sentence, opening)
	switch {
	case !ok:
		return "the package comment does not begin with " + strconv.Quote(opening)
	case !ended && !strings.Contains(rest, ": "):
		return "the first sentence of the package comment does not end"
	case len(strings.Fields(rest)) < 3:
		return "the first sentence of the package comment says too little"
	}
	return ""
}

func TestTheCheckOfPackageCommentsFindsBadOnes(t *testing.T) {
	tests := []struct {
		name, dir, doc string
		good           bool
	}{
		{"saga", "saga", "Package saga runs plans durably.\n", true},
		{"saga", "saga", "Package saga runs plans\ndurably: one by one. More.\n", true},
		{"saga", "saga", "This package runs plans durably.\n", false},
		{"saga", "saga", "Package sagas runs plans durably.\n", false},
		{"saga", "saga", "Package saga runs plans durably\n", false},
		{"saga", "saga", "Package saga does sagas.\n", false},
		{"main", "patchbay", "Command patchbay is a Service Connector.\n", true},
		{"main", "patchbay", "Package main is a Service Connector.\n", false},
	}
	for _, tt := range tests {
		if why := badDoc(tt.name, tt.dir, tt.doc); (why == "") != tt.good {
			t.Errorf("badDoc(%q, %q) = %q, want good = %t", tt.name, tt.doc, why, tt.good)
		}
	}
}

// vague are names that say nothing of what is inside, so that everything ends
// up there.
var vague = []string{"util", "utils", "helper", "helpers", "type", "types", "common", "misc", "base", "shared", "stuff", "lib"}

func TestFilesAreNamedForTheThingInside(t *testing.T) {
	for _, name := range mustFiles(t) {
		if path.Ext(name) != ".go" {
			continue
		}
		for _, part := range strings.Split(strings.TrimSuffix(name, ".go"), "/") {
			for _, word := range strings.Split(strings.TrimSuffix(part, "_test"), "_") {
				if slices.Contains(vague, word) {
					t.Errorf("%s: %q is a name for anything; name the file for the thing inside", name, word)
				}
			}
		}
	}
}

func TestNothingHappensOnImport(t *testing.T) {
	for _, s := range mustSources(t) {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: an init function runs whether wanted or not, in an order that nobody sees; let the command wire it", s.at(f))
			}
		}
	}
}

func TestNobodySleeps(t *testing.T) {
	for _, s := range mustSources(t) {
		if s.pkg == "internal/failpoint" {
			continue // it waits for its own death
		}
		for _, n := range sleeps(s.ast) {
			if s.test || s.scaffold() {
				t.Errorf("%s: a test that sleeps is slow on a good day and red on a bad one; wait for the event", s.at(n))
			} else {
				t.Errorf("%s: this sleep does not end with the context; wait on a timer and on ctx.Done", s.at(n))
			}
		}
	}
}

// sleeps are the calls of time.Sleep, and its disguise: a statement that waits
// for time.After or time.Tick and for nothing else.
func sleeps(file *ast.File) []ast.Node {
	var list []ast.Node
	called := func(e ast.Expr, names ...string) bool {
		call, ok := e.(*ast.CallExpr)
		if !ok {
			return false
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		on, ok := sel.X.(*ast.Ident)
		return ok && on.Name == "time" && slices.Contains(names, sel.Sel.Name)
	}
	limits := map[ast.Node]bool{} // a case of a select, which waits for the others too
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CommClause:
			if stmt, ok := n.Comm.(*ast.ExprStmt); ok {
				limits[stmt.X] = true
			}
		case *ast.CallExpr:
			if called(n, "Sleep") {
				list = append(list, n)
			}
		case *ast.UnaryExpr:
			if n.Op == token.ARROW && called(n.X, "After", "Tick") && !limits[n] {
				list = append(list, n)
			}
		}
		return true
	})
	return list
}

func TestSleepsAreFoundInTheirDisguise(t *testing.T) {
	const code = `package p
func f() {
	time.Sleep(1)            // 1
	<-time.After(1)          // 2
	select {
	case <-time.After(1):    // a limit
		time.Sleep(2)        // 3
	case <-done:
	}
	timer := time.NewTimer(1)
	<-timer.C
}`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", code, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(sleeps(file)); got != 3 {
		t.Errorf("%d sleeps found, want 3", got)
	}
}

func TestWhoeverSkipsSaysWhy(t *testing.T) {
	for _, s := range mustSources(t) {
		if !s.test && !s.scaffold() {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
					if sel.Sel.Name == "Fuzz" {
						return false // there it is one input that is skipped
					}
					if why := badSkip(sel.Sel.Name, call.Args); why != "" {
						t.Errorf("%s: %s", s.at(call), why)
					}
				}
			}
			return true
		})
	}
}

// badSkip is what is wrong with a call of that name, "" for nothing: a test
// that did not run must say why.
func badSkip(name string, args []ast.Expr) string {
	switch name {
	case "SkipNow":
		return "SkipNow gives no reason; use Skip or Skipf"
	case "Skip", "Skipf":
		if len(args) == 0 {
			return name + " without a reason"
		}
		if lit, ok := args[0].(*ast.BasicLit); ok {
			if reason, err := strconv.Unquote(lit.Value); err == nil && !strings.Contains(reason, "%") && len(strings.Fields(reason)) < 3 {
				return name + " with a reason that says too little"
			}
		}
	}
	return ""
}

var unfinished = regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"}, "|") + `)\b`)

func TestNothingIsLeftForLater(t *testing.T) {
	for _, s := range mustSources(t) {
		for _, group := range s.ast.Comments {
			for _, c := range group.List {
				if unfinished.MatchString(c.Text) {
					t.Errorf("%s: do it, or open an issue; a note in the code is read by nobody who could: %s", s.at(c), c.Text)
				}
			}
		}
	}
}

// TestNobodySilencesALinterWithoutAReason: the reason is what a reviewer
// judges.
func TestNobodySilencesALinterWithoutAReason(t *testing.T) {
	reasoned := regexp.MustCompile(`^//nolint:[a-z0-9,]+ // \S+ \S+`)
	for _, s := range mustSources(t) {
		for _, group := range s.ast.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//nolint") && !reasoned.MatchString(c.Text) {
					t.Errorf("%s: write //nolint:name // and the reason", s.at(c))
				}
			}
		}
	}
}

// A program that runs a control plane is started again to probe: one that does
// not ask whether it was would run everything again, and start more.
func TestWhoRunsAControlPlaneAsksWhetherItIsAChild(t *testing.T) {
	const pkg = module + "/internal/controlplane"
	runs, asks := map[string]string{}, map[string]bool{}
	for _, s := range mustSources(t) {
		here := s.pkg == "internal/controlplane"
		if here && !s.test || !here && !slices.Contains(s.imports(), pkg) {
			continue
		}
		program := s.pkg // a package and its tests are two programs
		if s.test {
			program += "_test"
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				if x, ok := f.X.(*ast.Ident); ok && x.Name == "controlplane" {
					name = f.Sel.Name
				}
			case *ast.Ident:
				if here {
					name = f.Name
				}
			}
			switch name {
			case "Run":
				runs[program] = s.path
			case "IfChild":
				asks[program] = true
			}
			return true
		})
	}
	if len(runs) < 3 {
		t.Errorf("only %v are found to run a control plane", runs)
	}
	for program, path := range runs {
		if !asks[program] {
			t.Errorf("%s runs a control plane, and the program that it is in does not call controlplane.IfChild first of all", path)
		}
	}
}

// Whoever keeps records asks for the methods that it calls: then another store is
// one line where it is opened.
func TestNobodyNamesTheTypeOfAStore(t *testing.T) {
	for _, s := range mustSources(t) {
		if strings.HasPrefix(s.pkg, "store/") {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Store" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "sqlite" {
					t.Errorf("%s names *sqlite.Store: ask for a small interface instead", s.path)
				}
			}
			return true
		})
	}
}
