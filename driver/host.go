package driver

import (
	"context"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/hosts"
)

// HostDriver makes a machine of a registered resource.
type HostDriver struct {
	patchbay.Driver
	// Open checks the configuration strictly. It need not reach the machine; Check
	// does.
	Open func(ctx context.Context, c Config) (hosts.Remote, error)
}
