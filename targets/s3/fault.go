package s3

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// The codes of S3's errors, and of the admin API's, that mean something to us.
const (
	unknownKey     = "InvalidAccessKeyId"
	wrongSignature = "SignatureDoesNotMatch"
	wrongRegion    = "AuthorizationHeaderMalformed"
	skewed         = "RequestTimeTooSkewed"
	denied         = "AccessDenied"
	notAdmin       = "XAdminAccessDenied"
	noUsers        = "XAdminMethodNotSupported"
	userExists     = "XAdminUserExists"
	noUser         = "XAdminUserNotFound"
	noBucket       = "NoSuchBucket"
	noPolicy       = "NoSuchBucketPolicy"
	badPolicy      = "MalformedPolicy"
)

// over is why a call ends whose context has; nil when that has not.
func over(ctx context.Context) *patchbay.Error {
	switch err := ctx.Err(); {
	case errors.Is(err, context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	case err != nil:
		return patchbay.Errorf(patchbay.Timeout, "no answer came in time").AsTransient()
	}
	return nil
}

// unreachable says what a request means that had no answer.
func (c *client) unreachable(ctx context.Context, what string, err error) error {
	e := over(ctx)
	if e == nil {
		e = c.tls.DialError(err, c.asked)
		e.Transient = e.Transient || e.Code == patchbay.NameNotResolved // it was registered, so it will have one again
		switch {
		case driver.HopOf(e) == driver.HopTLS, driver.HopOf(e) == driver.HopEnd && secured(c.server):
			e = e.WithFix("where it has no TLS, and whoever is in between may read the objects, register it with http://")
		case e.Code == patchbay.CertificateInvalid:
			e = e.WithFix("%s", driver.CertificateFix(e, "the host of the endpoint", "the property tls.ca"))
		}
	}
	copied := *e
	copied.Message = what + ": " + copied.Message
	return &copied
}

// refused says what it means that the administrator was not answered as he should be.
func (c *client) refused(what string, got answer) error {
	e := c.meaning(got)
	e.Message = what + ": " + e.Message
	if got.code != "" {
		e = e.WithSaid(got.code + ": " + got.message)
	}
	return e
}

func (c *client) meaning(got answer) *patchbay.Error {
	switch got.code {
	case unknownKey, wrongSignature:
		return patchbay.Errorf(patchbay.AdminRefused, "%s refuses the administrator's access key", c.asked).
			WithFix("register the server again with the access key of its root, or of a user that may administer it")
	case denied, notAdmin:
		if c.api == apiMinIO {
			return patchbay.Errorf(patchbay.AdminRights, "the administrator may not do that on %s: no policy lets it", c.asked).
				WithFix("mc admin policy attach ALIAS consoleAdmin --user %s", c.keys.id)
		}
		return patchbay.Errorf(patchbay.AdminRights, "the administrator may not do that on %s: he has not the role admin, or the gateway is read-only", c.asked).
			WithFix("versitygw admin update-user --access %s --role admin, with the root's own key", c.keys.id)
	case wrongRegion:
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is of another region than %s", c.asked, c.region).
			WithFix("register it with the region that it was started with (--region) as the property region")
	case skewed:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s has another time than the machine of Patchbay, and refuses what is signed at this one's", c.asked).
			WithFix("set both clocks right")
	case noUsers:
		return patchbay.Errorf(patchbay.NotSupported, "the gateway at %s has no users but its root", c.asked).
			WithFix("start versitygw with a place for them: --iam-dir DIR")
	case noBucket:
		return patchbay.Errorf(patchbay.ChildMissing, "there is no such bucket on %s", c.asked)
	case noUser:
		return patchbay.Errorf(patchbay.Conflict, "the user went away meanwhile").AsTransient()
	}
	switch {
	case got.status == http.StatusTooManyRequests, got.status >= 500 && got.status != http.StatusNotImplemented:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s can't at the moment (HTTP %d)", c.asked, got.status).AsTransient()
	case got.status >= 300 && got.status < 400:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s sends its clients elsewhere (HTTP %d)", c.asked, got.status).
			WithFix("register the address that it sends them to")
	}
	name, other := "the Versity S3 Gateway", apiMinIO
	if c.api == apiMinIO {
		name, other = "MinIO", apiVersity
	}
	e := patchbay.Errorf(patchbay.NotSupported, "%s answers, and not as %s would (HTTP %d)", c.asked, name, got.status)
	if strings.EqualFold(got.server, other) { // which each of them says
		return e.WithFix("it says that it is another product: register it with the property api as %s", other)
	}
	return e.WithFix("see what listens there; where the admin API has a port of its own, give its URL as the property admin; a server of another product is registered with the driver external")
}
