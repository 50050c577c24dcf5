package etcd

import (
	"context"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// rootRole is the one that may make users.
const rootRole = "root"

// Inspect implements [driver.Target].
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	if sub != "" {
		return driver.TargetInfo{}, patchbay.Errorf(patchbay.ChildMissing, "an etcd cluster has no %.60q: name the cluster itself, and the keys with --option %s", sub, optionPrefixes)
	}
	var info driver.TargetInfo
	err := t.admin.use(ctx, "look at the etcd cluster", func(ctx context.Context, s session) error {
		// Who has not the role may still look at itself.
		self, err := ask(ctx, s.link, s.auth.UserGet, &pb.AuthUserGetRequest{Name: t.admin.user.Username})
		if err != nil {
			return err
		}
		if !slices.Contains(self.GetRoles(), rootRole) {
			return patchbay.Errorf(patchbay.AdminRights, "the administrator %q has not the role root, and only that may make users", t.admin.user.Username).
				WithFix("etcdctl user grant-role %s root", quoted(t.admin.user.Username))
		}
		state, err := s.status(ctx)
		if err != nil {
			return err
		}
		info = driver.TargetInfo{Version: state.GetVersion(), TLS: s.version(), Values: map[string]string{"endpoints": urls(t.advertised)}}
		if secured(t.advertised) {
			if t.clientTLS.CA != "" {
				info.Values["ca"] = t.clientTLS.CA
			}
			if t.clientTLS.ServerName != "" {
				info.Values["serverName"] = t.clientTLS.ServerName
			}
		}
		if s.state == nil && !loopback(s.server) {
			info.Warnings = append(info.Warnings, "connections to the cluster are not encrypted: whoever is in between reads the passwords")
		}
		for _, alarm := range state.GetErrors() {
			switch {
			case strings.Contains(alarm, "NOSPACE"):
				info.Warnings = append(info.Warnings, "the cluster takes no writes, for the space of its database is used up: "+freeSpace)
			case strings.Contains(alarm, "CORRUPT"):
				info.Warnings = append(info.Warnings, "a member of the cluster says that its data is corrupt: etcdctl alarm list")
			}
		}
		return nil
	})
	return info, err
}
