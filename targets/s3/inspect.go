package s3

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Inspect implements [driver.Target]. The gateway does not say its version to anybody.
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	const what = "look at the S3 server"
	if sub != "" {
		if _, err := bucketOf(sub); err != nil {
			return driver.TargetInfo{}, err
		}
	}
	all, err := t.buckets(ctx, what)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	if err := t.hasUsers(ctx, what); err != nil {
		return driver.TargetInfo{}, err
	}
	// The endpoint may be another server than the admin API.
	got, err := t.s3.do(ctx, what, request{method: http.MethodGet, path: "/"})
	switch {
	case err != nil:
		return driver.TargetInfo{}, err
	case !got.ok():
		return driver.TargetInfo{}, t.s3.refused(what, got)
	}
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Name
	}
	return t.info(sub, apiVersity, names)
}

// info is what is said of a server with these buckets.
func (t *target) info(sub, version string, buckets []string) (driver.TargetInfo, error) {
	info := driver.TargetInfo{Version: version, TLS: t.s3.protocol.Load().(string), Values: map[string]string{"endpoint": t.endpoint.URL(), "region": t.region}}
	if secured(t.endpoint) && t.tls.CA != "" {
		info.Values["ca"] = t.tls.CA
	}
	for _, name := range buckets {
		if bucketForm.MatchString(name) {
			info.Subs = append(info.Subs, name)
		}
	}
	slices.Sort(info.Subs)
	if sub != "" {
		if !slices.Contains(info.Subs, sub) {
			return driver.TargetInfo{}, patchbay.Errorf(patchbay.ChildMissing, "there is no bucket %s on %s", sub, t.endpoint.Address()).
				WithFix("aws s3api create-bucket --bucket %s", sub)
		}
		info.Values["bucket"] = sub
		if strings.Contains(sub, ".") && secured(t.endpoint) {
			info.Warnings = append(info.Warnings, "the bucket's name has a dot: libraries that begin the host's name with it find no certificate for that")
		}
	}
	if info.TLS == "" && !loopback(t.endpoint) {
		info.Warnings = append(info.Warnings, "connections to the server are not encrypted: whoever is in between reads the objects, though not the keys")
	}
	if !secured(t.admin.server) && !loopback(t.admin.server) {
		info.Warnings = append(info.Warnings, "the admin API is not encrypted: whoever is in between reads the secret keys of new logins")
	}
	return info, nil
}
