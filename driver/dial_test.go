package driver

import (
	"net"
	"strings"
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

func TestAnUnknownNameDoesNotTellTheNameServer(t *testing.T) {
	e := DialError(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "db.example", Server: "10.1.2.3:53", IsNotFound: true}}, "db.example:1")
	if e.Code != patchbay.NameNotResolved || strings.Contains(e.Error(), "10.1.2.3") || !strings.Contains(e.Error(), "db.example") {
		t.Errorf("%v", e)
	}
}
