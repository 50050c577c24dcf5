package pghba_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/networks/pghba"
)

func TestNetwork(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		drivertest.Network(t, drivertest.NetworkHarness{
			Driver: pghba.Driver(), Config: s.guard(), Guarded: s.target(),
			From: from, To: s.endpoints(),
			Allows: s.allows, Content: s.content, Drifts: s.drifts(),
		})
	})
}

// drifts are what somebody does to the files by hand.
func (s *server) drifts() []drivertest.RuleDrift {
	edit := func(name string, gone bool, change func(text string, r driver.Rule) string) drivertest.RuleDrift {
		return drivertest.RuleDrift{Name: name, Gone: gone, Make: func(_ context.Context, r driver.Rule) error {
			path := s.holder()
			text := s.text(path)
			changed := change(text, r)
			if changed == text {
				return fmt.Errorf("nothing changes in\n%s", text)
			}
			s.set(path, changed)
			return nil
		}}
	}
	replace := func(old, new string) func(string, driver.Rule) string {
		return func(text string, r driver.Rule) string {
			return strings.Replace(text, strings.ReplaceAll(old, "LOGIN", `"`+r.Login+`"`), strings.ReplaceAll(new, "LOGIN", `"`+r.Login+`"`), 1)
		}
	}
	drifts := []drivertest.RuleDrift{
		edit("wider", false, replace("LOGIN 10.1.3.7/32", "LOGIN 0.0.0.0/0")),
		edit("narrower", false, func(text string, r driver.Rule) string {
			var kept strings.Builder
			for l := range strings.Lines(text) {
				if !strings.Contains(l, " 10.1.4.0/30 ") {
					kept.WriteString(l)
				}
			}
			return kept.String()
		}),
		edit("every database", false, replace(`"orders" LOGIN`, `all LOGIN`)),
		edit("every login", false, replace(`"orders" LOGIN 10.1.3.7/32`, `"orders" all 10.1.3.7/32`)),
		edit("without a password", false, replace("10.1.3.7/32 scram-sha-256", "10.1.3.7/32 trust")),
		edit("not refused elsewhere", false, replace("host all,replication LOGIN all reject\n", "")),
		edit("unquoted", false, replace(`"orders" LOGIN 10.1.3.7/32`, `orders LOGIN 10.1.3.7/32`)),
		edit("can't be read", false, replace("10.1.3.7/32 scram-sha-256", "10.1.3.7/32 scram")),
		edit("gone", true, func(text string, r driver.Rule) string {
			var kept strings.Builder
			for l := range strings.Lines(text) {
				if !strings.Contains(l, r.Name) {
					kept.WriteString(l)
				}
			}
			return kept.String()
		}),
	}
	if s.own == "" {
		return drifts
	}
	return append(drifts,
		drivertest.RuleDrift{Name: "not included", Make: func(context.Context, driver.Rule) error { s.set(s.conf, theirs); return nil }},
		drivertest.RuleDrift{Name: "the file is gone", Gone: true, Make: func(context.Context, driver.Rule) error {
			defer s.settled()
			return os.Remove(s.own)
		}},
	)
}
