//go:build failpoints

package failpoint

import (
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"patchbay.dev/patchbay"
)

// plan is PATCHBAY_FAILPOINT: comma-separated name=action, with action kill
// (the default), error, or hang. PATCHBAY_FAILPOINT_LOG, when set, is a file
// to which every name that is hit is appended, so that coverage can be
// counted.
var plan = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for item := range strings.SplitSeq(os.Getenv("PATCHBAY_FAILPOINT"), ",") {
		name, action, _ := strings.Cut(item, "=")
		if name != "" {
			m[name] = action
		}
	}
	return m
})

var logMu sync.Mutex

func hit(ctx context.Context, name string) error {
	if path := os.Getenv("PATCHBAY_FAILPOINT_LOG"); path != "" {
		logMu.Lock()
		if f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			_, _ = f.WriteString(name + "\n")
			_ = f.Close()
		}
		logMu.Unlock()
	}
	action, ok := plan()[name]
	if !ok {
		return nil
	}
	switch action {
	case "error":
		return patchbay.Errorf(patchbay.Internal, "failpoint %s", name)
	case "transient":
		return patchbay.Errorf(patchbay.Timeout, "failpoint %s", name).AsTransient()
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	default:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Hour) // the signal is on its way
		return nil
	}
}
