package docker

import (
	"context"
	"testing"

	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// TestANetworkIsToldAndAnotherContainerIsNot: a container that is connected to another
// network speaks from another address. What another one does, whatever it is called, is
// told to nobody: the last word is of a change that comes behind it.
func TestANetworkIsToldAndAnotherContainerIsNot(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	image := w.Image(t, testdocker.App)
	watch := func(name string) (chan struct{}, func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ticks, ended := make(chan struct{}, 100), make(chan error, 1)
		s := w.open(t, name)
		go func() {
			ended <- s.Watch(ctx, func() { ticks <- struct{}{} })
		}()
		<-ticks
		return ticks, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Watch = %v", err)
			}
		}
	}
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
