// Command alone relays, and is nothing else: small enough to be built and sent to an
// engine by a test.
package main

import (
	"os"

	"patchbay.dev/patchbay/internal/relay"
)

func main() {
	if relay.Main() != nil {
		os.Exit(1)
	}
}
