package driver

import (
	"net"
	"testing"

	"patchbay.dev/patchbay"
)

func TestWhatADialerRefusedIsNotTriedAgain(t *testing.T) {
	no := patchbay.Errorf(patchbay.InvalidArgument, "not there")
	e := DialError(&net.OpError{Op: "dial", Net: "tcp", Err: no}, "10.0.0.1:1")
	if e.Code != patchbay.InvalidArgument || e.Transient {
		t.Errorf("%+v", e)
	}
}
