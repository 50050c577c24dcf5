package connector

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// Where nobody can speak from, nothing is tried from there, and nothing that was
// not tried is a success.
func TestASourceThatNobodyCanSpeakFrom(t *testing.T) {
	w := newWorld(t)
	w.app.mute = true
	w.broker.failProbe = patchbay.Errorf(patchbay.PortClosed, "somebody tried it from here")
	w.want(w.put(w.spec()), patchbay.Done, "")
	if len(w.app.read()) == 0 || w.app.restarts == 0 || len(w.broker.names()) != 1 {
		t.Errorf("the application has %v and was told %d times; logins: %v", w.app.read(), w.app.restarts, w.broker.names())
	}
	report := w.validated(false)
	for _, c := range report.Checks {
		want := patchbay.Success
		if c.Group == patchbay.CheckNetwork || c.Group == patchbay.CheckAuthentication {
			want = patchbay.NotChecked
		}
		if c.Result != want || want == patchbay.NotChecked && !strings.Contains(c.Message, "no way to speak from there") {
			t.Errorf("%+v", c)
		}
	}
	if len(report.Checks) != 4 {
		t.Errorf("%d checks", len(report.Checks))
	}
}
