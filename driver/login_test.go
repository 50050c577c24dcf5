package driver_test

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func TestLogins(t *testing.T) {
	s := driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("canary")}
	if l, err := s.UserPassword(); err != nil || l.Username != "admin" || l.Password.Reveal() != "canary" {
		t.Errorf("%v, %v", l, err)
	}
	for name, s := range map[string]driver.Secrets{
		"nothing": nil, "no name": {"password": patchbay.NewSecret("canary")},
		"zero byte": {"username": patchbay.NewSecret("a\x00b")}, "another": {"username": patchbay.NewSecret("a"), "password": patchbay.NewSecret("canary\x00")},
	} {
		if _, err := s.UserPassword(); patchbay.CodeOf(err) != patchbay.InvalidArgument || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
