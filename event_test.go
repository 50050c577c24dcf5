package patchbay_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"patchbay.dev/patchbay"
)

func TestAHealthEventHasWhatFailed(t *testing.T) {
	at := time.Date(2026, 11, 30, 13, 0, 0, 0, time.FixedZone("there", 3600))
	local := patchbay.ID("/subscriptions/s/resourceGroups/g").Location("here").Local("mine")
	c := patchbay.Connection{ID: local, Name: "mine", Spec: patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.SelfHostedServer, Endpoint: "redis://cache.example:6379"}}}
	check := func(n int, result patchbay.CheckResult) patchbay.Check {
		return patchbay.Check{Group: patchbay.CheckNetwork, Name: fmt.Sprint(n), Result: result, Code: patchbay.PortClosed}
	}
	read := func(checks []patchbay.Check) (patchbay.Event, patchbay.HealthEvent) {
		t.Helper()
		e, err := patchbay.NewHealthEvent("id", c, checks, at.Add(-time.Hour), at)
		if err != nil {
			t.Fatal(err)
		}
		var h patchbay.HealthEvent
		if err := json.Unmarshal(e.Data, &h); err != nil {
			t.Fatal(err)
		}
		if e.ID != "id" || e.Subject != local || h.Connection != local || h.Target != "redis://cache.example:6379" || h.Checks == nil ||
			e.Time.Format(time.RFC3339) != "2026-11-30T12:00:00Z" || h.Since.Format(time.RFC3339) != "2026-11-30T11:00:00Z" {
			t.Errorf("%+v %s", e, e.Data)
		}
		return e, h
	}

	good := []patchbay.Check{check(1, patchbay.Success), check(2, patchbay.Warning), check(3, patchbay.NotChecked)}
	if e, h := read(good); e.Type != patchbay.EventHealthy || h.Health != "healthy" || len(h.Checks) != 0 {
		t.Errorf("%s %+v", e.Type, h)
	}
	if e, h := read(append(good, check(4, patchbay.Failure))); e.Type != patchbay.EventUnhealthy || h.Health != "unhealthy" || len(h.Checks) != 1 || h.Checks[0].Name != "4" {
		t.Errorf("%s %+v", e.Type, h)
	}

	// However much failed, and however much there is to say of it, a receiver that
	// takes 64 KiB takes it.
	var all []patchbay.Check
	for n := range 500 {
		one := check(n, patchbay.Failure)
		one.Name, one.Message, one.Fix = strings.Repeat("ä", 600), strings.Repeat("x", 2000), strings.Repeat("x€", 600)
		all = append(all, one)
	}
	e, h := read(all)
	if len(h.Checks) != patchbay.MaxEventChecks || h.MoreChecks != 500-patchbay.MaxEventChecks || len(e.Data) > 64<<10-4096 || !utf8.Valid(e.Data) {
		t.Errorf("%d checks, %d more, %d bytes", len(h.Checks), h.MoreChecks, len(e.Data))
	}
	if first := h.Checks[0]; !strings.HasPrefix(all[0].Fix, strings.TrimSuffix(first.Fix, "…")) || strings.ContainsRune(first.Fix, utf8.RuneError) || !strings.HasSuffix(first.Name, "…") {
		t.Errorf("%q", first.Fix)
	}
}

// TestARepairEventHasNames of what was put back, or what is left, as far as there is room.
func TestARepairEventHasNames(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	c := patchbay.Connection{ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/orders", Name: "orders", Source: "/web"}
	read := func(e patchbay.Event, err error) patchbay.RepairEvent {
		t.Helper()
		var r patchbay.RepairEvent
		if err == nil {
			err = json.Unmarshal(e.Data, &r)
		}
		if err != nil || e.Subject != c.ID || !e.Time.Equal(at) || len(e.Data) > 64<<10-4096 || !utf8.Valid(e.Data) {
			t.Fatalf("%+v, %v", e, err)
		}
		return r
	}
	v := patchbay.Verdict{Health: patchbay.Healthy, Operation: "op", Last: at}
	for range 100 {
		v.PutBack = append(v.PutBack, strings.Repeat("Ä", 2000))
	}
	if r := read(patchbay.NewRepairedEvent("id", c, v)); len(r.Settings) != patchbay.MaxEventSettings || r.MoreSettings != 100-patchbay.MaxEventSettings || r.Operation != "op" {
		t.Errorf("%d settings, %d more", len(r.Settings), r.MoreSettings)
	}
	v = patchbay.Verdict{Health: patchbay.Unhealthy, Last: at, Stopped: patchbay.StopFailed, Kept: strings.Repeat("x", 5000)}
	for range 100 {
		v.Checks = append(v.Checks, patchbay.Check{Group: patchbay.CheckConfiguration, Result: patchbay.Failure, Code: patchbay.SettingMissing, Message: strings.Repeat("y", 5000)})
	}
	v.Checks = append(v.Checks, patchbay.Check{Group: patchbay.CheckNetwork, Result: patchbay.Failure, Code: patchbay.PortClosed})
	if r := read(patchbay.NewRepairStoppedEvent("id", c, v)); len(r.Checks) != patchbay.MaxEventChecks || r.MoreChecks != 100-patchbay.MaxEventChecks || r.Reason != patchbay.StopFailed {
		t.Errorf("%d checks, %d more: %+v", len(r.Checks), r.MoreChecks, r)
	}
}

// TestAStopIsToldOnce, until something is put back or nothing drifts.
func TestAStopIsToldOnce(t *testing.T) {
	drift := []patchbay.Check{{Group: patchbay.CheckConfiguration, Result: patchbay.Failure, Code: patchbay.SettingMissing}}
	stopped := patchbay.Verdict{Health: patchbay.Unhealthy, Checks: drift, Kept: "no", Stopped: patchbay.StopFailed}
	other := stopped
	other.Stopped = patchbay.StopTooOften
	tries := patchbay.Verdict{Health: patchbay.Unhealthy, Checks: drift, Repair: "op"}
	var last *patchbay.Verdict
	for i, step := range []struct {
		v    patchbay.Verdict
		news bool
	}{
		{tries, false}, {stopped, true}, {stopped, false}, {tries, false}, {stopped, false},
		{patchbay.Verdict{Health: patchbay.Unsure}, false}, {stopped, false}, {other, true}, {other, false},
		{patchbay.Verdict{Health: patchbay.Healthy}, false}, {stopped, true},
		{patchbay.Verdict{Health: patchbay.Unhealthy, Checks: drift, PutBack: []string{"A"}}, false}, {stopped, true},
		{patchbay.Verdict{Health: patchbay.Unhealthy, Checks: []patchbay.Check{{Group: patchbay.CheckNetwork, Result: patchbay.Failure}}}, false}, {stopped, true},
	} {
		if news := step.v.GivesUp(last); news != step.news {
			t.Errorf("step %d: %t", i, news)
		}
		next, _ := step.v.Behind(last)
		last = &next
	}
}
