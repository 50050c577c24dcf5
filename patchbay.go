// Package patchbay is the domain: connections between a source and a target,
// the resources that they link, the operations that change them, and what is
// found when one is checked. It imports the standard library only.
package patchbay

import "time"

// Clock tells the time. Production uses [time.Now]; tests bend it.
type Clock func() time.Time
