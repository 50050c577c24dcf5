package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	program = "patchbay.dev/patchbay/cmd/patchbay"
	least   = "patchbay.dev/patchbay/internal/bench/least"
)

// benchBuild is what it takes to compile the program with nothing compiled yet,
// as the README's first command does it, beside the least program that could
// serve; and what each direct dependency has in that.
func benchBuild(ctx context.Context, out io.Writer, dir string) error {
	base, err := buildFromNothing(ctx, filepath.Join(dir, "least"), least)
	if err != nil {
		return err
	}
	whole, err := buildFromNothing(ctx, filepath.Join(dir, "patchbay"), program)
	if err != nil {
		return err
	}
	t := newTable(out, "built from nothing", "processor time", "ratio", "program")
	for _, b := range []built{base, whole} {
		t.row(filepath.Base(b.pkg), fmt.Sprintf("%.0f s", b.took.Seconds()), fmt.Sprintf("%.1f", b.took.Seconds()/base.took.Seconds()), mb(b.size))
	}
	if err := t.flush(); err != nil {
		return err
	}
	weights, err := whole.weigh(ctx)
	if err != nil {
		return err
	}
	t = newTable(out, "what would go with a dependency", "compiling", "share of it", "code and data")
	for _, w := range weights {
		t.row(w.module, fmt.Sprintf("%.1f s", w.took.Seconds()), fmt.Sprintf("%.1f %%", 100*w.share), fmt.Sprintf("%.2f MB", float64(w.size)/1e6))
	}
	return t.flush()
}

func mb(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// built is a program that was built with an empty cache.
type built struct {
	pkg, dir string
	took     time.Duration // of all processors, linking included
	size     int64         // of the program as go run links it, in bytes
}

func buildFromNothing(ctx context.Context, dir, pkg string) (built, error) {
	b := built{pkg: pkg, dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return b, err
	}
	if _, err := b.command(ctx, "mod", "download"); err != nil {
		return b, err
	}
	// As go run links: without what a debugger reads.
	state, err := b.command(ctx, "build", "-ldflags", "-s -w", "-debug-actiongraph", filepath.Join(dir, "actions"), "-o", filepath.Join(dir, "program"), pkg)
	if err != nil {
		return b, err
	}
	b.took = state.UserTime() + state.SystemTime()
	info, err := os.Stat(filepath.Join(dir, "program"))
	if err != nil {
		return b, err
	}
	b.size = info.Size()
	return b, nil
}

// command runs go with b's cache.
func (b built) command(ctx context.Context, args ...string) (*os.ProcessState, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOCACHE="+filepath.Join(b.dir, "cache"))
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, text)
	}
	return cmd.ProcessState, nil
}

// weight is what would not be compiled and linked if nothing of ours imported a
// module.
type weight struct {
	module string
	took   time.Duration
	share  float64 // of what compiling all packages takes
	size   int64   // in bytes
}

// listed is a package as go list describes it.
type listed struct {
	ImportPath string
	Imports    []string
	Module     *module
}

// module is where a package comes from; the standard library has none.
type module struct {
	Path string
	Main bool
}

// weigh is the weight of each module that ours imports, the heaviest first.
func (b built) weigh(ctx context.Context) ([]weight, error) {
	packages, err := packagesOf(ctx, b.pkg)
	if err != nil {
		return nil, err
	}
	took, err := b.compiled()
	if err != nil {
		return nil, err
	}
	size, err := b.linked(ctx)
	if err != nil {
		return nil, err
	}
	direct := map[string]bool{}
	var whole time.Duration
	for _, p := range packages {
		whole += took[p.ImportPath]
		for _, i := range p.Imports {
			if m := packages[i].Module; p.Module != nil && p.Module.Main && m != nil && !m.Main {
				direct[m.Path] = true
			}
		}
	}
	var all []weight
	for path := range direct {
		w := weight{module: path}
		kept := map[string]bool{}
		keep(packages, b.pkg, path, kept)
		for path := range packages {
			if !kept[path] {
				w.took += took[path]
				w.size += size[path]
			}
		}
		w.share = w.took.Seconds() / max(whole.Seconds(), 1e-9)
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b weight) int {
		return cmp.Or(-cmp.Compare(a.size, b.size), cmp.Compare(a.module, b.module))
	})
	return all, nil
}

// keep marks what a package needs when ours import nothing of a module.
func keep(packages map[string]listed, path, without string, kept map[string]bool) {
	if kept[path] {
		return
	}
	kept[path] = true
	ours := packages[path].Module != nil && packages[path].Module.Main
	for _, i := range packages[path].Imports {
		if m := packages[i].Module; !ours || m == nil || m.Path != without {
			keep(packages, i, without, kept)
		}
	}
}

func packagesOf(ctx context.Context, pkg string) (map[string]listed, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=ImportPath,Imports,Module", pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	packages := map[string]listed{}
	for list := json.NewDecoder(bytes.NewReader(text)); ; {
		var p listed
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages[p.ImportPath] = p
	}
}

// compiled is the processor time of each package.
func (b built) compiled() (map[string]time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(b.dir, "actions"))
	if err != nil {
		return nil, err
	}
	var actions []struct {
		Mode, Package   string
		CmdUser, CmdSys time.Duration
	}
	if err := json.Unmarshal(text, &actions); err != nil {
		return nil, fmt.Errorf("the actions of go build: %w", err)
	}
	took := map[string]time.Duration{}
	for _, a := range actions {
		if a.Mode == "build" {
			took[a.Package] += a.CmdUser + a.CmdSys
		}
	}
	return took, nil
}

// linked is how many bytes of code and data each package has in the program.
func (b built) linked(ctx context.Context) (map[string]int64, error) {
	whole := filepath.Join(b.dir, "symbols")
	if _, err := b.command(ctx, "build", "-o", whole, b.pkg); err != nil {
		return nil, err
	}
	text, err := exec.CommandContext(ctx, "go", "tool", "nm", "-size", whole).Output()
	if err != nil {
		return nil, fmt.Errorf("go tool nm: %w", err)
	}
	size := map[string]int64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.Fields(lines.Text()) // address, size, kind, symbol
		if len(f) < 4 || strings.ContainsAny(f[2], "bB") {
			continue // what is zero at first is not in the file
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue // a symbol without a size
		}
		size[packageOf(f[3])] += n
	}
	if len(size) == 0 {
		return nil, errors.New("go tool nm lists no symbols")
	}
	return size, nil
}

// packageOf is the package of a symbol: net/http of net/http.(*Server).Serve.
// Dots in a path's last part are written as %2e.
func packageOf(symbol string) string {
	for _, made := range []string{"type:.eq.", "type:.hash.", "type:", "go:itab.", "*"} {
		symbol = strings.TrimPrefix(symbol, made)
	}
	named, _, _ := strings.Cut(symbol, "[") // of a generic's arguments
	last := strings.LastIndexByte(named, '/') + 1
	path, _, _ := strings.Cut(named[last:], ".")
	return strings.ReplaceAll(named[:last]+path, "%2e", ".")
}
