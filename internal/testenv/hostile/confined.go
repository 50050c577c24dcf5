package hostile

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

const confinedIn = "PATCHBAY_CONFINED"

// Confined runs the calling test once more in a process of its own that may
// have that much memory, in bytes, and fails as that does. It reports whether
// this is that process:
//
//	if !hostile.Confined(t, 512<<20) {
//		return
//	}
//
// A client that an attack ends, or that takes all memory, ends nothing else.
func Confined(t *testing.T, memory int64) bool {
	t.Helper()
	if os.Getenv(confinedIn) == t.Name() {
		if err := confine(memory); err != nil {
			t.Skipf("memory can't be bounded here: %v", err)
		}
		return true
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if over, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, over.Add(-time.Second)) // to say what the other one said
		defer cancel()
	}
	var name []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		name = append(name, "^"+regexp.QuoteMeta(part)+"$")
	}
	args := []string{"-test.run=" + strings.Join(name, "/"), "-test.count=1", "-test.v", "-test.timeout=0"}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), confinedIn+"="+t.Name())
	out, err := c.CombinedOutput()
	switch {
	case err != nil:
		const most = 16 << 10
		if len(out) > most {
			out = append(out[:most/2:most/2], out[len(out)-most/2:]...)
		}
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skip("memory can't be bounded here")
	default:
		t.Logf("%s", out)
	}
	return false
}
