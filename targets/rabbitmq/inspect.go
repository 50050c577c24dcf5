package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// oldest is the oldest version that the driver is tested with.
var oldest = [2]int{3, 10}

// Inspect implements [driver.Target].
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	const what = "ask RabbitMQ about itself"
	var me struct {
		Tags tags `json:"tags"`
	}
	var about struct {
		Version string `json:"rabbitmq_version"`
	}
	var vhosts []struct {
		Name string `json:"name"`
	}
	if err := t.api.must(ctx, what, "/api/whoami", &me); err != nil {
		return driver.TargetInfo{}, err
	}
	if !slices.Contains(me.Tags, "administrator") {
		return driver.TargetInfo{}, t.api.meaning(what, "", answer{status: http.StatusForbidden}, nil)
	}
	if err := t.api.must(ctx, what, "/api/overview?columns=rabbitmq_version", &about); err != nil {
		return driver.TargetInfo{}, err
	}
	if about.Version == "" {
		return driver.TargetInfo{}, t.api.meaning(what, t.api.urls[t.api.good.Load()], answer{status: http.StatusNotFound}, nil)
	}
	if err := checkVersion(about.Version); err != nil {
		return driver.TargetInfo{}, err
	}
	if err := t.api.must(ctx, what, "/api/vhosts?columns=name", &vhosts); err != nil {
		return driver.TargetInfo{}, err
	}
	info := driver.TargetInfo{Version: about.Version, Values: map[string]string{
		"host": t.servers[0].Host, "port": strconv.Itoa(int(t.servers[0].Port)), "ssl": strconv.FormatBool(t.secure),
	}}
	if len(t.servers) > 1 {
		info.Values["servers"] = t.address()
	}
	for name, value := range map[string]string{"ca": t.tls.CA, "serverName": t.tls.ServerName} {
		if value != "" && t.secure {
			info.Values[name] = value
		}
	}
	for _, v := range vhosts {
		info.Subs = append(info.Subs, driver.SegmentOf(v.Name))
	}
	slices.Sort(info.Subs)
	if sub != "" {
		vhost, err := vhostOf(sub)
		if err != nil {
			return driver.TargetInfo{}, err
		}
		if err := t.api.checkVHost(ctx, vhost); err != nil {
			return driver.TargetInfo{}, err
		}
		info.Values["vhost"] = vhost
	}
	warn := func(format string, args ...any) { info.Warnings = append(info.Warnings, fmt.Sprintf(format, args...)) }
	if !t.secure && !local(t.servers[0].Host) {
		warn("connections of applications are not encrypted: whoever is in between reads their passwords")
	}
	if info.TLS = t.api.protocol.Load().(string); info.TLS == "" && !t.managedLocally() {
		warn("the management API is not encrypted: whoever is in between reads the administrator's password")
	}
	if e := t.unreached(ctx); e != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return driver.TargetInfo{}, e
		}
		warn("the endpoint is not reached from here, and applications speak to it: %s", e.Message)
	}
	return info, nil
}

// endpointLimit is how long a connection to the endpoint may take.
const endpointLimit = 3 * time.Second

// unreached is why no server of the endpoint can be connected to from here; nil when
// one can. Nothing is said there: the server would log it.
func (t *target) unreached(ctx context.Context) *patchbay.Error {
	ctx, cancel := context.WithTimeout(ctx, endpointLimit)
	defer cancel()
	var failed *patchbay.Error
	for _, s := range t.servers {
		conn, err := t.dialer.DialContext(ctx, "tcp", s.Address())
		if err == nil {
			if t.secure {
				var encryption *tls.Config
				if encryption, err = t.encryption(s.Host, driver.Reading{}); err == nil {
					err = tls.Client(driver.NewBudget(s.Address(), maxReceived).Conn(conn), encryption).HandshakeContext(ctx)
				}
			}
			_ = conn.Close()
		}
		if err == nil {
			return nil
		}
		failed = t.tls.DialError(err, s.Address())
	}
	return failed
}

// managedLocally reports whether the management API is on this machine.
func (t *target) managedLocally() bool {
	for _, base := range t.management {
		if u, err := url.Parse(base); err != nil || !local(u.Hostname()) {
			return false
		}
	}
	return true
}

// must reads what every server has.
func (a *api) must(ctx context.Context, what, path string, into any) error {
	found, err := a.get(ctx, what, path, into)
	if err != nil || found {
		return err
	}
	return a.meaning(what, a.urls[a.good.Load()], answer{status: http.StatusNotFound}, nil)
}

// checkVersion is NotSupported for what is older than what is tested.
func checkVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	var have [2]int
	for i := range have {
		if i >= len(parts) {
			break
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return nil //nolint:nilerr // a development build's
		}
		have[i] = n
	}
	if slices.Compare(have[:], oldest[:]) < 0 {
		return patchbay.Errorf(patchbay.NotSupported, "RabbitMQ has version %s, and has to have %d.%d at least", driver.Quoted(version), oldest[0], oldest[1])
	}
	return nil
}

// local reports whether a host is this machine.
func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
