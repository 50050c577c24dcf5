//go:build failpoints

package failpoint

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"patchbay.dev/patchbay"
)

// plan is PATCHBAY_FAILPOINT: comma-separated name=action, with action kill
// (the default), error, or hang. name#2 is the second time alone that the process comes
// by. PATCHBAY_FAILPOINT_LOG, when set, is a file to which every name that is hit is
// appended, in that form from its second time on, so that coverage can be counted.
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

var (
	mu    sync.Mutex
	times = map[string]int{}
)

// passed counts and logs, and gives the name of this very time.
func passed(name string) string {
	mu.Lock()
	defer mu.Unlock()
	times[name]++
	if n := times[name]; n > 1 {
		name = fmt.Sprintf("%s#%d", name, n)
	}
	if path := os.Getenv("PATCHBAY_FAILPOINT_LOG"); path != "" {
		if f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			_, _ = f.WriteString(name + "\n")
			_ = f.Close()
		}
	}
	return name
}

func hit(ctx context.Context, name string) error {
	this := passed(name)
	action, ok := plan()[name]
	if !ok {
		action, ok = plan()[this]
	}
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
