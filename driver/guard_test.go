package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

func TestErrorsOfOpeningShowNoSecret(t *testing.T) {
	secret := "p%a \"ss\n-----BEGIN SEED-----\nSUAIBDPBAUTWCWBKIO6XHQNINK"
	admin := Secrets{"password": patchbay.NewSecret(secret), "username": patchbay.NewSecret("postgres"), "pin": patchbay.NewSecret("ab")}
	cause := fmt.Errorf("parse %q of postgres: about ab: SUAIBDPBAUTWCWBKIO6XHQNINK", secret)
	d := TargetDriver{Open: func(context.Context, Config) (Target, error) { return nil, cause }}
	_, err := Guard{Admin: admin}.OpenTarget(t.Context(), d, Config{})
	const want = "parse \"[redacted]\" of postgres: about [redacted]: [redacted]"
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.Internal || e.Said != want || strings.Contains(e.Message, "parse") {
		t.Errorf("the error is\n%+v, should say\n%s", e, want)
	}
	if errors.Is(err, cause) {
		t.Error("the cause, which has the secret in it, is still there")
	}
	s := SourceDriver{Open: func(context.Context, Config) (Source, error) { return nil, context.DeadlineExceeded }}
	if _, err := (Guard{}).OpenSource(t.Context(), s, Config{}); patchbay.CodeOf(err) != patchbay.Timeout || !patchbay.IsTransient(err) {
		t.Errorf("opening that takes too long is %v", err)
	}
}
