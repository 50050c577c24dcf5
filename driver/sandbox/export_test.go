package sandbox

import (
	"testing"
	"time"
)

// SetFresh sets for how long a connection may wait for its probe, until the test
// ends.
func SetFresh(t *testing.T, d time.Duration) {
	old := fresh
	fresh = d
	t.Cleanup(func() { fresh = old })
}
