package redis

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/gomodule/redigo/redis"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// maxDatabases bounds how many databases are listed.
const maxDatabases = 1024

// Inspect implements [driver.Target].
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	if sub != "" {
		if err := databaseOf(sub); err != nil {
			return driver.TargetInfo{}, err
		}
	}
	nodes, missing, err := t.survey(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	defer closeAll(nodes)
	first := nodes[0]
	info := driver.TargetInfo{Version: first.version, TLS: first.protocol, Values: t.values()}
	if sub != "" {
		if err := first.hasDatabase(ctx, sub); err != nil {
			return driver.TargetInfo{}, err
		}
		info.Values["database"] = sub
	}
	warnings := make([][]string, len(nodes))
	err = onEach(nodes, func(i int, n *node) (err error) {
		warnings[i], err = n.concerns(ctx, t.admin.Username)
		return err
	})
	if err != nil {
		return driver.TargetInfo{}, err
	}
	if info.Subs, err = first.databases(ctx); err != nil {
		return driver.TargetInfo{}, err
	}
	warn := func(format string, args ...any) { info.Warnings = append(info.Warnings, fmt.Sprintf(format, args...)) }
	for i, n := range nodes {
		for _, w := range warnings[i] {
			warn("%s %s", n.at, w)
		}
	}
	for _, m := range missing {
		e := patchbay.AsError(m.error())
		warn("%s; no login can be made or removed meanwhile: %s", e.Message, e.Fix)
	}
	if first.replica {
		warn("%s is a replica, which nobody can write to: register its primary", first.at)
	}
	switch {
	case t.secured == nil && !slices.ContainsFunc(t.servers, func(at string) bool { return !loopback(at) }):
	case t.secured == nil:
		warn("connections are not encrypted: passwords, the administrator's too, can be read on the way")
	case !t.tls.Verified():
		warn("nobody checks who answers (tls.mode %s): whoever is in between learns the administrator's password", t.tls.Mode)
	}
	return info, nil
}

// loopback reports whether an address is this machine's own.
func loopback(at string) bool {
	host, _, _ := net.SplitHostPort(at)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// concerns are what whoever registers the node should know of it; that the
// administrator lacks a right is an error.
func (n *node) concerns(ctx context.Context, admin string) ([]string, error) {
	var all []string
	how, err := n.mayAdminister(ctx, admin)
	if err != nil {
		return nil, err
	}
	switch how {
	case notKept:
		all = append(all, "has neither an ACL file nor a configuration file: its users are gone when it restarts, until patchbay connection validate --fix makes them anew; start it with an aclfile")
	case unknownKept:
		all = append(all, "does not say whether it keeps its users over a restart (CONFIG GET aclfile)")
	case inConfigFile:
		all = append(all, "keeps its users in its configuration file, so each login made or removed rewrites that (CONFIG REWRITE), with whatever else was set meanwhile; with an aclfile it does not")
	}
	u, err := n.user(ctx, defaultUser)
	if err != nil {
		return nil, err
	}
	if u != nil && u.has("on") && u.has("nopass") && u.root.commands != nothing {
		all = append(all, "lets everybody in without a password, as its default user: ACL SETUSER default off")
	}
	return all, nil
}

// hasDatabase fails when there is no such database.
func (n *node) hasDatabase(ctx context.Context, sub string) error {
	told, err := n.ask(ctx, command{"SELECT", sub})
	if err != nil {
		return err
	}
	switch err := told[0].err; {
	case err == nil:
		return nil
	case says(err, "out of range", "not allowed in cluster mode"):
		return patchbay.Errorf(patchbay.ChildMissing, "%s has no database %s", n.at, sub).
			WithFix("see how many there are, counted from 0: CONFIG GET databases")
	default:
		return n.fault(ctx, "look at the database", err)
	}
}

// databases are the numbers of those that there are.
func (n *node) databases(ctx context.Context) ([]string, error) {
	count := 1
	if !n.cluster {
		told, err := n.ask(ctx, command{"CONFIG", "GET", "databases"})
		if err != nil {
			return nil, err
		}
		if pair, err := redis.Strings(told[0].value, told[0].err); err == nil && len(pair) == 2 {
			if count, err = strconv.Atoi(pair[1]); err != nil {
				return nil, n.strange("its databases")
			}
		}
	}
	var all []string
	for i := range min(count, maxDatabases) {
		all = append(all, strconv.Itoa(i))
	}
	return all, nil
}
