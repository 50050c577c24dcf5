package driver_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// talkative is a target that tells more than anybody can keep.
type talkative struct {
	driver.Administrator
	owned []driver.Owned
}

var much = strings.Repeat("ä", 1<<20)

func many() []string {
	lines := make([]string, 100_000)
	for i := range lines {
		lines[i] = "line"
	}
	lines[0] = much
	return lines
}

func (talkative) Inspect(context.Context, string) (driver.TargetInfo, error) {
	return driver.TargetInfo{Version: much, Subs: many(), Warnings: many(), Values: map[string]string{"url": "nats://a"}}, nil
}

func (talkative) InspectLogin(context.Context, driver.LoginRequest) (driver.LoginState, error) {
	return driver.LoginState{Missing: many(), Excess: many()}, nil
}

func (talkative) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	return r, nil
}

func (t talkative) Owned(context.Context) ([]driver.Owned, error) { return t.owned, nil }

func (talkative) RemoveLogin(context.Context, driver.LoginRequest) error {
	return patchbay.Errorf(patchbay.Internal, "%s hunter2", much)
}

func TestWhatATargetTellsIsBounded(t *testing.T) {
	const most = 1 << 20
	size := func(lines ...string) int { return len(strings.Join(lines, "")) }
	target := driver.Guard{Name: "talkative"}.Target(driver.TargetDriver{}, driver.Config{}, talkative{})
	info, err := target.Inspect(t.Context(), "")
	if n := size(info.Subs...) + size(info.Warnings...) + len(info.Version); err != nil || n > most || info.Values["url"] == "" {
		t.Errorf("Inspect tells %d bytes: %v, %v", n, info.Values, err)
	}
	if len(info.Subs) > 10_000 {
		t.Errorf("Inspect tells of %d children", len(info.Subs))
	}
	state, err := target.InspectLogin(t.Context(), driver.LoginRequest{})
	if n := size(state.Missing...) + size(state.Excess...); err != nil || n > most {
		t.Errorf("InspectLogin tells %d bytes: %v", n, err)
	}
	if last := state.Missing[len(state.Missing)-1]; last != "99900 more" {
		t.Errorf("the last line is %q", last)
	}
	probing := driver.Guard{}.Target(driver.TargetDriver{Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		return driver.ProbeResult{Allowed: many(), Refused: many(), NotChecked: many(), TLS: much}, nil
	}}, driver.Config{}, talkative{})
	result, err := probing.Probe(t.Context(), driver.ProbeRequest{Dialer: &net.Dialer{}})
	if n := size(result.Allowed...) + size(result.Refused...) + size(result.NotChecked...) + len(result.TLS); err != nil || n > most {
		t.Errorf("Probe tells %d bytes: %v", n, err)
	}
	err = target.RemoveLogin(t.Context(), driver.LoginRequest{})
	if e := patchbay.AsError(err); len(e.Message) > most || !strings.HasSuffix(e.Message, "ä…") {
		t.Errorf("an error has %d bytes", len(e.Message))
	}
	for _, owned := range [][]driver.Owned{make([]driver.Owned, 1_000_000), {{Name: much}}, {{Mark: driver.Mark{UID: much}}}} {
		if _, err := (driver.Guard{}).Target(driver.TargetDriver{}, driver.Config{}, talkative{owned: owned}).Owned(t.Context()); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
			t.Errorf("%d owned: %v", len(owned), err)
		}
	}
	if owned, err := (driver.Guard{}).Target(driver.TargetDriver{}, driver.Config{}, talkative{owned: make([]driver.Owned, 10_000)}).Owned(t.Context()); err != nil || len(owned) != 10_000 {
		t.Errorf("%d owned, %v", len(owned), err)
	}
}

// moving is a target whose words move the cursor of who reads them.
type moving struct{ driver.Administrator }

func (moving) Inspect(context.Context, string) (driver.TargetInfo, error) {
	return driver.TargetInfo{Version: "16\x1b[2J"}, nil
}

func (moving) InspectLogin(context.Context, driver.LoginRequest) (driver.LoginState, error) {
	return driver.LoginState{Missing: []string{"a\n"}, Excess: []string{"\u202eb"}}, nil
}

func TestWhatATargetTellsIsHarmless(t *testing.T) {
	target := driver.Guard{}.Target(driver.TargetDriver{}, driver.Config{}, moving{})
	info, err := target.Inspect(t.Context(), "")
	state, stateErr := target.InspectLogin(t.Context(), driver.LoginRequest{})
	if err != nil || stateErr != nil || info.Version != `16\x1b[2J` || state.Missing[0] != `a\n` || state.Excess[0] != `\u202eb` {
		t.Errorf("%q, %q, %q, %v, %v", info.Version, state.Missing, state.Excess, err, stateErr)
	}
}
