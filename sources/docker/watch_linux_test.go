package docker

import (
	"context"
	"testing"

	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// watches has a source watched, and waits until nothing is missed any more; stop ends it.
func watches(t *testing.T, s *source) (ticks chan struct{}, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ticks, ended := make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, func() { ticks <- struct{}{} })
	}()
	select {
	case <-ticks:
	case err := <-ended:
		cancel()
		t.Fatalf("Watch = %v", err)
	}
	return ticks, func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch = %v", err)
		}
	}
}

// TestANetworkIsToldAndAnotherContainerIsNot: a container that is connected to another
// network speaks from another address. What another one does, whatever it is called, is
// told to nobody: the last word is of a change that comes behind it.
func TestANetworkIsToldAndAnotherContainerIsNot(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	image := w.Image(t, testdocker.App)
	watch := func(name string) (chan struct{}, func()) { return watches(t, w.open(t, name)) }
	w.Must(t, "run", "--detach", "--name", "web", image)
	w.Must(t, "network", "create", "besides")
	ticks, stop := watch("web")
	w.Must(t, "network", "connect", "besides", "web")
	<-ticks
	stop()
	ticks, stop = watch("web")
	defer stop()
	for len(ticks) > 0 { // of the network still
		<-ticks
	}
	last, done := watch("web-2")
	defer done()
	w.Must(t, "run", "--detach", "--name", "webber", image)
	w.Must(t, "rm", "--force", "webber")
	w.Must(t, "run", "--detach", "--name", "web-2", image)
	<-last
	if len(ticks) > 0 {
		t.Error("another container's life is told")
	}
	w.Must(t, "rename", "web", "webber")
	<-ticks
}
