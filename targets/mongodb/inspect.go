package mongodb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// rights are the administrator's.
type rights []privilege

// rights asks the server.
func (l *link) rights(ctx context.Context) (rights, error) {
	var told struct {
		Info struct {
			Privileges []privilege `bson:"authenticatedUserPrivileges"`
		} `bson:"authInfo"`
	}
	err := l.run(ctx, adminDatabase, bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}}, &told)
	return told.Info.Privileges, err
}

// lacks are those of the actions that are not given on a database.
func (all rights) lacks(database string, actions ...string) []string {
	var lacking []string
	for _, a := range actions {
		if !slices.ContainsFunc(all, func(p privilege) bool { return p.covers(database, a) }) {
			lacking = append(lacking, a)
		}
	}
	return lacking
}

// onCluster are those of the actions that are not given on the cluster.
func (all rights) onCluster(actions ...string) []string {
	var lacking []string
	for _, a := range actions {
		if !slices.ContainsFunc(all, func(p privilege) bool {
			return (p.Resource.Cluster || p.Resource.Any) && (slices.Contains(p.Actions, a) || slices.Contains(p.Actions, "anyAction"))
		}) {
			lacking = append(lacking, a)
		}
	}
	return lacking
}

// databases are those on which an action is given by name; everywhere reports that it is
// given on all.
func (all rights) databases(action string) (names []string, everywhere bool) {
	for _, p := range all {
		switch {
		case !slices.Contains(p.Actions, action) && !slices.Contains(p.Actions, "anyAction"):
		case p.Resource.Any, p.Resource.DB != nil && *p.Resource.DB == "" && p.covers("", action):
			everywhere = true
		case p.Resource.DB != nil && p.covers(*p.Resource.DB, action):
			names = append(names, *p.Resource.DB)
		}
	}
	return names, everywhere
}

// needed are the actions on a database without which no login can be made and removed
// there: those of the role userAdmin.
var needed = []string{"createUser", "dropUser", "viewUser", "changePassword", "grantRole", "revokeRole", "setAuthenticationRestriction"}

// databases lists the names of those that the administrator may see, without the
// server's own.
func (l *link) databases(ctx context.Context) ([]string, error) {
	var told struct {
		Databases []struct {
			Name string `bson:"name"`
		} `bson:"databases"`
	}
	err := l.run(ctx, adminDatabase, bson.D{{Key: "listDatabases", Value: 1}, {Key: "nameOnly", Value: true}}, &told)
	if err != nil && !is(err, codeUnauthorized) {
		return nil, err
	}
	var names []string
	for _, d := range told.Databases {
		if checkDatabase(d.Name) == nil {
			names = append(names, d.Name)
		}
	}
	return names, nil
}

// Inspect implements [driver.Target].
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	if sub != "" {
		if err := checkDatabase(sub); err != nil {
			return driver.TargetInfo{}, err
		}
	}
	ctx, cancel := within(ctx)
	defer cancel()
	l, err := t.administer(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	defer l.close()
	info, err := t.look(ctx, l, sub)
	if err != nil {
		return driver.TargetInfo{}, l.fault("look at the server", err)
	}
	return info, nil
}

func (t *target) look(ctx context.Context, l *link, sub string) (driver.TargetInfo, error) {
	var build struct {
		Version string   `bson:"version"`
		Ferret  bson.Raw `bson:"ferretdb"`
		Older   string   `bson:"ferretdbVersion"`
	}
	if err := l.run(ctx, adminDatabase, bson.D{{Key: "buildInfo", Value: 1}}, &build); err != nil {
		return driver.TargetInfo{}, err
	}
	if build.Ferret != nil || build.Older != "" {
		return driver.TargetInfo{}, patchbay.Errorf(patchbay.NotSupported, "%s is FerretDB, whose users have no roles that bind them", l.at).
			WithFix("register it as external")
	}
	info := driver.TargetInfo{Version: build.Version, TLS: l.protocol, Values: t.values(l.hello.Set)}
	warn := func(format string, args ...any) { info.Warnings = append(info.Warnings, fmt.Sprintf(format, args...)) }
	names, err := l.databases(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	info.Subs = names
	have, err := l.rights(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	if sub != "" {
		info.Values["database"] = sub
		if lacking := have.lacks(sub, needed...); len(lacking) > 0 {
			return driver.TargetInfo{}, patchbay.Errorf(patchbay.AdminRights, "%s may not administer users of the database %s: it lacks %s", l.name(), driver.Quoted(sub), strings.Join(lacking, ", ")).
				WithFix("db.getSiblingDB(%q).grantRolesToUser(NAME, [{role: \"userAdmin\", db: %q}])", l.who.database, sub)
		}
		if !slices.Contains(names, sub) && len(have.onCluster("listDatabases")) == 0 {
			warn("there is no database %s yet: MongoDB makes it with the first document that is written; see that its name is meant so", driver.Quoted(sub))
		}
	}
	if lacking := have.onCluster("inprog", "killAnySession", "killop"); len(lacking) > 0 {
		warn("the administrator lacks %s on the cluster: open sessions are not counted, and what a removed login has under way ends by itself alone", strings.Join(lacking, ", "))
	}
	for _, w := range t.concerns(l) {
		warn("%s", w)
	}
	return info, nil
}

// loopback reports whether an address is of this machine. Of a connection that goes
// another way than by an address, nothing is known.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// concerns are what applications will meet.
func (t *target) concerns(l *link) []string {
	var all []string
	if remote, _, _ := net.SplitHostPort(l.conn.RemoteAddr().String()); l.protocol == "" && !loopback(remote) {
		all = append(all, "connections to the server are not encrypted: whoever is in between reads what is written, and new passwords")
	}
	if l.protocol != "" && !t.tls.Verified() {
		all = append(all, "it is not checked who answers: whoever is in between can read what is written, and new passwords")
	}
	members := slices.Concat(l.hello.Hosts, l.hello.Passives)
	known := slices.ContainsFunc(t.servers, func(at string) bool { return slices.Contains(members, at) })
	if !t.direct && l.hello.Set != "" && !known && len(members) > 0 {
		all = append(all, "applications find the members of the replica set by the names that they have in it, "+few(members)+
			": where those are not resolved, register one server with directConnection")
	}
	if l.hello.router() {
		all = append(all, "a mongos keeps what a user may do for userCacheInvalidationIntervalSecs, 30 seconds unless somebody changed it: a removed login may go on for so long on others than "+l.at)
	}
	return all
}

// reachable are those that a probe may talk to: those of the endpoint, and the
// members of their set, by the names that a library finds them under.
func (t *target) reachable(ctx context.Context) ([]string, error) {
	if t.direct {
		return t.servers, nil
	}
	all := slices.Clone(t.servers)
	var first error
	for _, at := range t.servers {
		l, err := connect(ctx, &t.config, t.dialer, at, login{}, patchbay.AdminRefused)
		if err != nil {
			if first == nil {
				first = err
			}
			if ctx.Err() != nil {
				break
			}
			continue
		}
		for _, member := range slices.Concat(l.hello.Hosts, l.hello.Passives) {
			if len(all) < maxServers+maxMembers && dialable(member) && !slices.Contains(all, member) {
				all = append(all, member)
			}
		}
		l.close()
		return all, nil
	}
	if first == nil {
		first = errors.New("no server")
	}
	return nil, first
}
