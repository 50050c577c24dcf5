// Package failpoint marks the instants at which a test may kill the process
// or make an effect fail. In a normal build every mark is empty; the build tag
// failpoints gives them their work.
package failpoint

import "context"

// Hit is called at a named instant, for example "create/principal/before-do".
// With the tag failpoints and PATCHBAY_FAILPOINT naming it, it ends the process
// without a word, as a power cut would, or returns an error.
func Hit(ctx context.Context, name string) error { return hit(ctx, name) }
