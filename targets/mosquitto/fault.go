package mosquitto

import (
	"context"
	"errors"
	"net"

	"github.com/eclipse/paho.golang/packets"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/mqttconnect"
)

// fault says what err means, in our words. refusal is the code of a sign-in that the
// broker refuses.
func (c config) fault(ctx context.Context, what string, err error, budget *driver.Budget, refusal patchbay.Code) error {
	if err == nil {
		return nil
	}
	e := *c.meaning(ctx, err, budget, refusal)
	e.Message = what + ": " + e.Message
	return &e
}

func (c config) meaning(ctx context.Context, err error, budget *driver.Budget, refusal patchbay.Code) *patchbay.Error {
	var known *patchbay.Error
	var no *mqttconnect.Refusal
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	case budget.Fault() != nil:
		return budget.Fault()
	case errors.As(err, &known):
		return known
	case errors.As(err, &no):
		return c.refused(no, refusal)
	case errors.Is(err, mqttconnect.ErrOlder):
		return patchbay.Errorf(patchbay.NotSupported, "%s speaks an older MQTT than 5, and Mosquitto %s is needed", c.address(), oldest)
	case errors.Is(err, mqttconnect.ErrProtocol):
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s answers, but not as a broker would", c.address()).AsTransient()
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return patchbay.Errorf(patchbay.Timeout, "the broker does not answer").AsTransient()
	}
	return c.dialError(err)
}

func (c config) refused(no *mqttconnect.Refusal, refusal patchbay.Code) *patchbay.Error {
	switch {
	case no.OfLogin() && refusal == patchbay.AdminRefused:
		return patchbay.Errorf(refusal, "the broker refuses %s, or its password", driver.Quoted(c.admin.Username)).
			WithFix("register it again with the password that the client has; to set one: mosquitto_ctrl -h %s -p %d -u ANOTHER_ADMINISTRATOR dynsec setClientPassword %s", c.host, c.port, quoteShell(c.admin.Username))
	case no.OfLogin():
		return patchbay.Errorf(refusal, "the broker refuses the login")
	case no.Busy():
		return patchbay.Errorf(patchbay.TargetUnreachable, "the broker takes no more at the moment (reason code %d)", no.Code).AsTransient()
	case no.Answer == "DISCONNECT" && no.Code == packets.DisconnectNotAuthorized:
		return patchbay.Errorf(refusal, "the broker does not let it go on")
	case no.Answer == "DISCONNECT": // somebody changed its role, say
		return patchbay.Errorf(patchbay.TargetUnreachable, "the broker ended the session (reason code %d)", no.Code).AsTransient()
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "the broker does not take the connection (reason code %d)", no.Code)
}

// dialError is what a connection's failure means.
func (c config) dialError(err error) *patchbay.Error {
	e := c.tls.DialError(err, c.address())
	switch hop := driver.HopOf(e); {
	case (hop == driver.HopTLS || hop == driver.HopEnd) && c.secure():
		e.Fix = "see whether that is its port with TLS (8883 mostly); one that has none is registered with mqtt:// and --property tls.mode=disable"
	case e.Code == patchbay.CertificateInvalid:
		e.Fix = driver.CertificateFix(e, "the property tls.serverName", "the property tls.ca")
	case e.Code == patchbay.NameNotResolved:
		e.Transient = true // it was registered, so it will have one again
	}
	return e
}
