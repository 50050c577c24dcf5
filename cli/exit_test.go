package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// Scripts branch on these: docs/cli.md lists them.
func TestExitStatuses(t *testing.T) {
	coded := func(c patchbay.Code) error { return fmt.Errorf("around: %w", patchbay.Errorf(c, "why")) }
	answered := func(status int) error {
		e := patchbay.Errorf("SomethingNew", "why")
		e.Err = client.AnswerStatus(status)
		return e
	}
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("why"), exitError},
		{coded(patchbay.InvalidArgument), exitError},
		{usageError{coded(patchbay.ResourceNotFound), "patchbay"}, exitUsage},
		{statusError{nil, 42}, 42},
		{coded(patchbay.ResourceNotFound), exitNotFound},
		{coded(patchbay.SourceNotFound), exitNotFound},
		{coded(patchbay.TargetNotFound), exitNotFound},
		{coded(patchbay.PrincipalNotFound), exitNotFound},
		{coded(patchbay.RoleNotFound), exitNotFound},
		{coded(patchbay.Conflict), exitConflict},
		{coded(patchbay.OperationInProgress), exitConflict},
		{coded(patchbay.PreconditionFailed), exitConflict},
		{coded(patchbay.Forbidden), exitNotAllowed},
		{coded(patchbay.Unauthenticated), exitNotAllowed},
		{coded(client.ServerUnreachable), exitNoServer},
		{coded(serverUnknown), exitNoServer},
		{context.DeadlineExceeded, exitTimeout},
		{patchbay.Errorf(client.ServerUnreachable, "why: %w", context.DeadlineExceeded), exitNoServer},
		// Another release's server may have codes that this one does not know.
		{answered(400), exitError},
		{answered(401), exitNotAllowed},
		{answered(403), exitNotAllowed},
		{answered(404), exitNotFound},
		{answered(412), exitConflict},
		{answered(500), exitError},
	} {
		if got := exitStatus(test.err); got != test.want {
			t.Errorf("%v: status %d, want %d", test.err, got, test.want)
		}
	}
}

func TestWhatTheServerSaidItTriedIsKept(t *testing.T) {
	said := patchbay.Errorf(patchbay.Conflict, "why")
	said.Op = "create web/orders"
	if got := during(said, "connect %s", "web"); !errors.Is(got, said) || patchbay.AsError(got).Op != "create web/orders" {
		t.Errorf("%+v", patchbay.AsError(got))
	}
	unsaid := patchbay.Errorf(patchbay.Conflict, "why")
	if got := patchbay.AsError(during(unsaid, "connect %s", "web")); got.Op != "connect web" || unsaid.Op != "" {
		t.Errorf("%+v, and what was given is now %+v", got, unsaid)
	}
}

func TestAWaitEndsWhenWhatItWaitsForHasFailed(t *testing.T) {
	f := newFake(t)
	id := patchbay.ID(webID).Linker("x")
	f.linkers[id.Key()] = map[string]any{"id": string(id), "name": "x", "properties": map[string]any{"provisioningState": "Failed"}}
	status, _, stderr := inProcess(t.Context(), t, f, Deps{}, "connection", "wait", "web/x", "--created", "--timeout", "2", "--interval", "1")
	if status != exitConflict || !strings.Contains(stderr, "web/x is in the state Failed") {
		t.Errorf("status %d, %s", status, stderr)
	}
}
