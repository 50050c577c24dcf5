package hosts_test

import (
	"testing"

	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/hoststest"
)

func TestLocalSuite(t *testing.T) {
	hoststest.Host(t, hoststest.Harness{
		New:     func(testing.TB) hosts.Host { return hosts.NewLocal(hosts.DialRules{}) },
		Dir:     func(t testing.TB) string { return t.TempDir() },
		Signals: true, Kills: true, Attributes: true,
	})
}
