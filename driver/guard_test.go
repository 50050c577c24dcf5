package driver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
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

// redacted is what is left of a message by a guard with that admin credential.
func redacted(t *testing.T, admin Secrets, message string) *patchbay.Error {
	t.Helper()
	d := TargetDriver{Open: func(context.Context, Config) (Target, error) {
		return nil, patchbay.Errorf(patchbay.TargetUnreachable, "%s", message).WithSaid(message)
	}}
	_, err := Guard{Admin: admin}.OpenTarget(t.Context(), d, Config{})
	return patchbay.AsError(err)
}

func TestASecretIsFoundInEveryForm(t *testing.T) {
	const secret = "s3cr/et \"+\\%\n"
	admin := Secrets{"password": patchbay.NewSecret(secret)}
	for _, form := range []string{secret, strconv.Quote(secret), "?p=" + url.QueryEscape(secret) + "&", "/" + url.PathEscape(secret) + "/"} {
		if got := redacted(t, admin, "about "+form).Message; strings.Contains(got, "s3cr") || !strings.Contains(got, "[redacted]") {
			t.Errorf("%q is %q", form, got)
		}
	}
}

// One secret may begin another: a password of a pair that was set in a hurry.
func TestNoSecretLeavesTheEndOfAnother(t *testing.T) {
	admin := Secrets{}
	for i := range 8 { // one by one in some order or other
		admin[strconv.Itoa(i)] = patchbay.NewSecret("geheim" + strings.Repeat("x", i))
	}
	if got := redacted(t, admin, "about geheimxxxxxxx").Message; got != "about [redacted]" {
		t.Errorf("it is %q", got)
	}
}

func TestASecretIsTakenOutBeforeAnythingIsCut(t *testing.T) {
	admin := Secrets{"password": patchbay.NewSecret("geheimnis")}
	if got := redacted(t, admin, strings.Repeat("x", maxText-4)+"geheimnis").Message; strings.Contains(got, "gehe") {
		t.Errorf("it ends with %q", got[maxText-10:])
	}
}

func TestWhatWasSaidIsOneLine(t *testing.T) {
	if got := redacted(t, nil, "one\r\ntwo\x1b[31m").Said; got != `one\r\ntwo\x1b[31m` {
		t.Errorf("it is %q", got)
	}
}

// What is in every message would take its sense away.
func TestWhatIsNoSecretStays(t *testing.T) {
	admin := Secrets{"username": patchbay.NewSecret("postgres"), "key": patchbay.NewSecret("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\nshort\n-----END PRIVATE KEY-----\n")}
	const message = "postgres has no -----BEGIN PRIVATE KEY----- in short"
	if got := redacted(t, admin, message).Message; got != message {
		t.Errorf("it is %q", got)
	}
	s := Guard{}.Source(bothSource{both{func(context.Context) error { return patchbay.Errorf(patchbay.Internal, "web is gone") }}})
	err := s.RestoreSettings(t.Context(), Change{}, Snapshot{Settings: map[string]patchbay.Secret{"A": patchbay.NewSecret("web")}})
	if e := patchbay.AsError(err); e.Message != "web is gone" {
		t.Errorf("it is %q", e.Message)
	}
}
