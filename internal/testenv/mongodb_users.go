package testenv

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// mongoUser is one of a database.
type mongoUser struct {
	uid          int
	name, db     string
	secret       mongoSecret
	data         bson.D // nil: none
	roles        []mongoRole
	restrictions []bson.D
	mechanisms   []string
}

type mongoRole struct{ role, db string }

func (r mongoRole) doc() bson.D {
	return bson.D{{Key: "role", Value: r.role}, {Key: "db", Value: r.db}}
}

// mongoPrivilege is what a role gives. db "" with a collection "" is every database.
type mongoPrivilege struct {
	db, collection string
	cluster, any   bool
	actions        []string
}

func (p mongoPrivilege) doc() bson.D {
	resource := bson.D{{Key: "db", Value: p.db}, {Key: "collection", Value: p.collection}}
	switch {
	case p.cluster:
		resource = bson.D{{Key: "cluster", Value: true}}
	case p.any:
		resource = bson.D{{Key: "anyResource", Value: true}}
	}
	return bson.D{{Key: "resource", Value: resource}, {Key: "actions", Value: p.actions}}
}

// system reports whether a collection is none of those that a whole database means.
func system(collection string) bool { return strings.HasPrefix(collection, "system.") }

func (p mongoPrivilege) gives(cluster bool, db, collection, action string) bool {
	if !slices.Contains(p.actions, action) && !slices.Contains(p.actions, "anyAction") {
		return false
	}
	switch {
	case p.any:
		return true
	case p.cluster || cluster:
		return p.cluster && cluster
	case p.db == "" && (db == "local" || db == "config"):
		return false
	case p.db != "" && p.db != db:
		return false
	}
	return p.collection == collection || p.collection == "" && !system(collection)
}

var (
	mongoRead  = []string{"changeStream", "collStats", "dbHash", "dbStats", "find", "killCursors", "listCollections", "listIndexes"}
	mongoWrite = append(slices.Clone(mongoRead), "convertToCapped", "createCollection", "createIndex", "dropCollection", "dropIndex", "insert", "remove", "renameCollectionSameDB", "update")
	mongoDBA   = []string{"bypassDocumentValidation", "collMod", "collStats", "compact", "convertToCapped", "createCollection", "createIndex", "dbStats", "dropCollection", "dropDatabase",
		"dropIndex", "enableProfiler", "listCollections", "listIndexes", "planCacheIndexFilter", "planCacheRead", "planCacheWrite", "reIndex", "renameCollectionSameDB", "storageDetails", "validate"}
	mongoUserAdmin = []string{"changeCustomData", "changePassword", "createRole", "createUser", "dropRole", "dropUser", "grantRole", "revokeRole", "setAuthenticationRestriction", "viewRole", "viewUser"}
	mongoMonitor   = []string{"connPoolStats", "getCmdLineOpts", "getLog", "getParameter", "hostInfo", "inprog", "listDatabases", "serverStatus", "top"}
	mongoHosts     = []string{"invalidateUserCache", "killAnySession", "killop", "setParameter", "shutdown"}
)

// privilegesOf is what a role gives; ok is false when there is none of that name.
func (set *MongoSet) privilegesOf(r mongoRole) (all []mongoPrivilege, ok bool) {
	on := func(db string, actions ...[]string) mongoPrivilege {
		return mongoPrivilege{db: db, actions: slices.Concat(actions...)}
	}
	switch r.role {
	case "read":
		return []mongoPrivilege{on(r.db, mongoRead), {db: r.db, collection: "system.js", actions: mongoRead}}, true
	case "readWrite":
		return []mongoPrivilege{on(r.db, mongoWrite), {db: r.db, collection: "system.js", actions: mongoWrite}}, true
	case "dbAdmin":
		return []mongoPrivilege{on(r.db, mongoDBA), {db: r.db, collection: "system.profile", actions: mongoRead}}, true
	case "userAdmin":
		return []mongoPrivilege{on(r.db, mongoUserAdmin)}, true
	case "dbOwner":
		return []mongoPrivilege{on(r.db, mongoWrite, mongoDBA, mongoUserAdmin)}, true
	}
	if made, ok := set.roles[r]; ok {
		return made, true
	}
	if r.db != "admin" {
		return nil, false
	}
	switch r.role {
	case "readAnyDatabase":
		return []mongoPrivilege{on("", mongoRead), {cluster: true, actions: []string{"listDatabases"}}}, true
	case "readWriteAnyDatabase":
		return []mongoPrivilege{on("", mongoWrite), {cluster: true, actions: []string{"listDatabases"}}}, true
	case "userAdminAnyDatabase":
		return []mongoPrivilege{on("", mongoUserAdmin), {cluster: true, actions: []string{"authSchemaUpgrade", "invalidateUserCache", "listDatabases"}}}, true
	case "clusterMonitor":
		return []mongoPrivilege{{cluster: true, actions: mongoMonitor}}, true
	case "hostManager":
		return []mongoPrivilege{{cluster: true, actions: mongoHosts}}, true
	case "root":
		return []mongoPrivilege{on("", mongoWrite, mongoDBA, mongoUserAdmin), {cluster: true, actions: slices.Concat(mongoMonitor, mongoHosts, []string{"viewUser"})},
			{db: "admin", collection: "system.users", actions: mongoRead}}, true
	}
	return nil, false
}

func (set *MongoSet) all(roles []mongoRole) []mongoPrivilege {
	var all []mongoPrivilege
	for _, r := range roles {
		p, _ := set.privilegesOf(r)
		all = append(all, p...)
	}
	return all
}

// put makes a user that nobody looks at; no password is one that a certificate proves.
func (set *MongoSet) put(name, db, password string, roles ...mongoRole) {
	set.mu.Lock()
	defer set.mu.Unlock()
	set.ids++
	u := &mongoUser{uid: set.ids, name: name, db: db, roles: roles, mechanisms: []string{"SCRAM-SHA-256"}}
	if password != "" {
		u.secret = newMongoSecret(password)
	}
	set.users[db+"."+name] = u
}

// lets reports whether the user's restrictions let a client in.
func (u *mongoUser) lets(client net.Addr) bool {
	from, err := netip.ParseAddr(hostOfAddr(client))
	if err != nil || len(u.restrictions) == 0 {
		return len(u.restrictions) == 0
	}
	return slices.ContainsFunc(u.restrictions, func(r bson.D) bool {
		sources, _ := at(r, "clientSource").(bson.A)
		return len(sources) == 0 || slices.ContainsFunc(sources, func(s any) bool {
			text, _ := s.(string)
			p, ok := mongoSource(text)
			return ok && p.Contains(from.Unmap())
		})
	})
}

// mongoSource is an address or a network.
func mongoSource(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// signedIn are those of the connection's users that are still there.
func (c *mongoConn) signedIn() []*mongoUser {
	set := c.server.set
	c.mu.Lock()
	defer c.mu.Unlock()
	set.mu.Lock()
	defer set.mu.Unlock()
	var all []*mongoUser
	var names []string
	var uids []int
	for i, name := range c.users {
		if u := set.users[name]; u != nil && (c.super || u.uid == c.uids[i]) {
			all, names, uids = append(all, u), append(names, name), append(uids, u.uid)
		}
	}
	c.users, c.uids = names, uids
	return all
}

// rights are what the connection may do.
func (c *mongoConn) rights() []mongoPrivilege {
	users := c.signedIn()
	set := c.server.set
	set.mu.Lock()
	defer set.mu.Unlock()
	var all []mongoPrivilege
	for _, u := range users {
		all = append(all, set.all(u.roles)...)
	}
	return all
}

func (c *mongoConn) may(db, collection string, actions ...string) *mongoError {
	return c.allowed(false, db, collection, actions)
}

func (c *mongoConn) mayOnCluster(actions ...string) *mongoError {
	return c.allowed(true, "", "", actions)
}

func (c *mongoConn) allowed(cluster bool, db, collection string, actions []string) *mongoError {
	if c.server.set.options.NoAuth {
		return nil
	}
	rights := c.rights()
	for _, a := range actions {
		if !slices.ContainsFunc(rights, func(p mongoPrivilege) bool { return p.gives(cluster, db, collection, a) }) {
			where := db
			if cluster {
				where = "admin"
			}
			return &mongoError{13, fmt.Sprintf("not authorized on %s to execute command (%s)", where, a)}
		}
	}
	return nil
}

// rolesIn reads the roles of a command: names of the database, or with their own.
func rolesIn(value any, db string) ([]mongoRole, *mongoError) {
	var roles []mongoRole
	all, ok := value.(bson.A)
	if !ok {
		return nil, &mongoError{14, "roles is the wrong type, expected an array"}
	}
	for _, one := range all {
		r := mongoRole{db: db}
		switch v := one.(type) {
		case string:
			r.role = v
		case bson.D:
			r.role, _ = at(v, "role").(string)
			r.db, _ = at(v, "db").(string)
		}
		if r.role == "" || r.db == "" {
			return nil, &mongoError{9, "Missing expected field \"role\" or \"db\""}
		}
		if !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	return roles, nil
}

var mongoGeneric = []string{"$db", "lsid", "$clusterTime", "txnNumber", "$readPreference", "writeConcern", "comment", "maxTimeMS", "apiVersion"}

// known refuses fields that a command has not.
func known(command bson.D, fields ...string) *mongoError {
	for _, e := range command[1:] {
		if !slices.Contains(fields, e.Key) && !slices.Contains(mongoGeneric, e.Key) {
			return &mongoError{40415, fmt.Sprintf("BSON field '%s.%s' is an unknown field.", command[0].Key, e.Key)}
		}
	}
	return nil
}

// setUser does createUser and updateUser.
func (c *mongoConn) setUser(db string, command bson.D, create bool) (bson.D, *mongoError) {
	fields := []string{"pwd", "customData", "roles", "digestPassword", "mechanisms", "authenticationRestrictions"}
	if e := known(command, fields...); e != nil {
		return nil, e
	}
	name, _ := command[0].Value.(string)
	password, hasPassword := at(command, "pwd").(string)
	switch {
	case name == "":
		return nil, &mongoError{2, "User name must be a non-empty string"}
	case db == "local":
		return nil, &mongoError{2, "Cannot create users in the local database"}
	case create && !has(command, "roles"):
		return nil, &mongoError{40414, "BSON field 'createUser.roles' is missing but a required field"}
	case create && !hasPassword && db != "$external":
		return nil, &mongoError{2, "Must provide a 'pwd' field for all user documents, except those with '$external' as the user's source db"}
	case hasPassword && password == "":
		return nil, &mongoError{50, "Password cannot be empty"}
	}
	var roles []mongoRole
	var e *mongoError
	if has(command, "roles") {
		if roles, e = rolesIn(at(command, "roles"), db); e != nil {
			return nil, e
		}
	}
	if e = c.mayUser(db, command, roles, create); e != nil {
		return nil, e
	}
	restrictions, e := restrictionsIn(command)
	if e != nil {
		return nil, e
	}
	mechanisms, _ := at(command, "mechanisms").(bson.A)
	for _, m := range mechanisms {
		if m != "SCRAM-SHA-256" && m != "SCRAM-SHA-1" {
			return nil, &mongoError{2, "Unknown auth mechanism"}
		}
	}
	var data bson.D
	if has(command, "customData") {
		var ok bool
		if data, ok = at(command, "customData").(bson.D); !ok {
			return nil, &mongoError{14, "customData is the wrong type, expected an object"}
		}
	}
	set := c.server.set
	set.mu.Lock()
	defer set.mu.Unlock()
	for _, r := range roles {
		if _, ok := set.privilegesOf(r); !ok {
			return nil, &mongoError{31, fmt.Sprintf("Could not find role: %s@%s", r.role, r.db)}
		}
	}
	u := set.users[db+"."+name]
	switch {
	case create && u != nil:
		return nil, &mongoError{51003, fmt.Sprintf("User %q already exists", name+"@"+db)}
	case !create && u == nil:
		return nil, &mongoError{11, fmt.Sprintf("User %s@%s not found", name, db)}
	case create:
		set.ids++
		u = &mongoUser{uid: set.ids, name: name, db: db, mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-256"}}
		set.users[db+"."+name] = u
	}
	if hasPassword {
		u.secret = newMongoSecret(password)
	}
	if has(command, "roles") {
		u.roles = roles
	}
	if has(command, "customData") {
		u.data = data
	}
	if has(command, "authenticationRestrictions") {
		u.restrictions = restrictions
	}
	if has(command, "mechanisms") {
		u.mechanisms = nil
		for _, m := range mechanisms {
			u.mechanisms = append(u.mechanisms, m.(string))
		}
	}
	return bson.D{}, nil
}

// mayUser is the access that the manual asks for.
func (c *mongoConn) mayUser(db string, command bson.D, roles []mongoRole, create bool) *mongoError {
	if create {
		if e := c.may(db, "", "createUser"); e != nil {
			return e
		}
	} else {
		if e := c.mayUpdate(db, command, roles); e != nil {
			return e
		}
	}
	if has(command, "authenticationRestrictions") {
		if e := c.may(db, "", "setAuthenticationRestriction"); e != nil {
			return e
		}
	}
	for _, r := range roles {
		if e := c.may(r.db, "", "grantRole"); e != nil {
			return e
		}
	}
	return nil
}

func (c *mongoConn) mayUpdate(db string, command bson.D, roles []mongoRole) *mongoError {
	var needs []string
	if has(command, "pwd") {
		needs = append(needs, "changePassword")
	}
	if has(command, "customData") {
		needs = append(needs, "changeCustomData")
	}
	if e := c.may(db, "", needs...); e != nil {
		return e
	}
	// Who sets the roles all at once may be revoking any: he has to have the right on every
	// database.
	if len(roles) > 0 && !c.server.set.options.NoAuth &&
		!slices.ContainsFunc(c.rights(), func(p mongoPrivilege) bool {
			return p.db == "" && !p.cluster && slices.Contains(p.actions, "revokeRole")
		}) {
		return &mongoError{13, "Not authorized to revoke roles on every database"}
	}
	return nil
}

func restrictionsIn(command bson.D) ([]bson.D, *mongoError) {
	all, _ := at(command, "authenticationRestrictions").(bson.A)
	var restrictions []bson.D
	for _, one := range all {
		d, ok := one.(bson.D)
		if !ok || len(d) == 0 {
			return nil, &mongoError{2, "authenticationRestrictions has something that is no restriction"}
		}
		var kept bson.D
		for _, e := range d {
			values, ok := e.Value.(bson.A)
			if !ok || e.Key != "clientSource" && e.Key != "serverAddress" {
				return nil, &mongoError{2, fmt.Sprintf("Unrecognized authentication restriction %q", e.Key)}
			}
			var texts bson.A
			for _, v := range values {
				text, _ := v.(string)
				p, ok := mongoSource(text)
				if !ok {
					return nil, &mongoError{2, fmt.Sprintf("%q is no address or network", text)}
				}
				texts = append(texts, p.String())
			}
			kept = append(kept, bson.E{Key: e.Key, Value: texts})
		}
		restrictions = append(restrictions, kept)
	}
	return restrictions, nil
}

// changeRoles does grantRolesToUser and revokeRolesFromUser.
func (c *mongoConn) changeRoles(db string, command bson.D, grant bool) (bson.D, *mongoError) {
	if e := known(command, "roles"); e != nil {
		return nil, e
	}
	name, _ := command[0].Value.(string)
	roles, e := rolesIn(at(command, "roles"), db)
	if e != nil {
		return nil, e
	}
	action := "revokeRole"
	if grant {
		action = "grantRole"
	}
	for _, r := range roles {
		if e := c.may(r.db, "", action); e != nil {
			return nil, e
		}
	}
	set := c.server.set
	set.mu.Lock()
	defer set.mu.Unlock()
	u := set.users[db+"."+name]
	if u == nil {
		return nil, &mongoError{11, fmt.Sprintf("User %s@%s not found", name, db)}
	}
	for _, r := range roles {
		if _, ok := set.privilegesOf(r); !ok {
			return nil, &mongoError{31, fmt.Sprintf("Could not find role: %s@%s", r.role, r.db)}
		}
		at := slices.Index(u.roles, r)
		switch {
		case grant && at < 0:
			u.roles = append(slices.Clone(u.roles), r)
		case !grant && at >= 0:
			u.roles = slices.Delete(slices.Clone(u.roles), at, at+1)
		}
	}
	return bson.D{}, nil
}

func (c *mongoConn) dropUser(db string, command bson.D) (bson.D, *mongoError) {
	if e := known(command); e != nil {
		return nil, e
	}
	if e := c.may(db, "", "dropUser"); e != nil {
		return nil, e
	}
	name, _ := command[0].Value.(string)
	set := c.server.set
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.users[db+"."+name] == nil {
		return nil, &mongoError{11, fmt.Sprintf("User '%s@%s' not found", name, db)}
	}
	delete(set.users, db+"."+name)
	return bson.D{}, nil
}

func (c *mongoConn) usersInfo(db string, command bson.D) (bson.D, *mongoError) {
	if e := known(command, "showCredentials", "showCustomData", "showPrivileges", "showAuthenticationRestrictions", "filter"); e != nil {
		return nil, e
	}
	privileges, _ := at(command, "showPrivileges").(bool)
	restrictions, _ := at(command, "showAuthenticationRestrictions").(bool)
	filter, _ := at(command, "filter").(bson.D)
	var wanted func(u *mongoUser) bool
	one := func(name, db string) *mongoError {
		wanted = func(u *mongoUser) bool { return u.name == name && u.db == db }
		if slices.ContainsFunc(c.signedIn(), wanted) {
			return nil
		}
		return c.may(db, "", "viewUser")
	}
	var e *mongoError
	exact := false
	switch v := command[0].Value.(type) {
	case string:
		exact, e = true, one(v, db)
	case bson.D:
		if all, _ := at(v, "forAllDBs").(bool); all {
			wanted, e = func(*mongoUser) bool { return true }, c.mayOnCluster("viewUser")
			break
		}
		name, _ := at(v, "user").(string)
		of, _ := at(v, "db").(string)
		exact, e = true, one(name, of)
	default:
		wanted, e = func(u *mongoUser) bool { return u.db == db }, c.may(db, "", "viewUser")
	}
	switch {
	case e != nil:
		return nil, e
	case !exact && (privileges || restrictions):
		return nil, &mongoError{2, "Privilege or restriction details require exact-match usersInfo queries."}
	}
	set := c.server.set
	set.mu.Lock()
	defer set.mu.Unlock()
	users := bson.A{}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range set.users {
			if !yield(name) {
				return
			}
		}
	}) {
		u := set.users[name]
		if !wanted(u) {
			continue
		}
		if doc := set.userDoc(u, privileges, restrictions); matches(doc, filter) {
			users = append(users, doc)
		}
	}
	return bson.D{{Key: "users", Value: users}}, nil
}

func (set *MongoSet) userDoc(u *mongoUser, privileges, restrictions bool) bson.D {
	roles := bson.A{}
	for _, r := range u.roles {
		roles = append(roles, r.doc())
	}
	doc := bson.D{{Key: "_id", Value: u.db + "." + u.name}, {Key: "user", Value: u.name}, {Key: "db", Value: u.db}}
	if u.data != nil {
		doc = append(doc, bson.E{Key: "customData", Value: u.data})
	}
	doc = append(doc, bson.E{Key: "roles", Value: roles}, bson.E{Key: "mechanisms", Value: u.mechanisms})
	if restrictions {
		all := bson.A{}
		for _, r := range u.restrictions {
			all = append(all, r)
		}
		doc = append(doc, bson.E{Key: "authenticationRestrictions", Value: all}, bson.E{Key: "inheritedAuthenticationRestrictions", Value: bson.A{}})
	}
	if privileges {
		all := bson.A{}
		for _, p := range set.all(u.roles) {
			all = append(all, p.doc())
		}
		doc = append(doc, bson.E{Key: "inheritedRoles", Value: roles}, bson.E{Key: "inheritedPrivileges", Value: all})
	}
	return doc
}

// rolesInfo tells of roles by name.
func (c *mongoConn) rolesInfo(db string, command bson.D) (bson.D, *mongoError) {
	if e := known(command, "showPrivileges", "showBuiltinRoles", "showAuthenticationRestrictions"); e != nil {
		return nil, e
	}
	asked := command[0].Value
	if _, isList := asked.(bson.A); !isList {
		asked = bson.A{asked}
	}
	roles, e := rolesIn(asked, db)
	if e != nil {
		return nil, e
	}
	all := bson.A{}
	for _, r := range roles {
		if e := c.may(r.db, "", "viewRole"); e != nil {
			return nil, e
		}
		set := c.server.set
		set.mu.Lock()
		privileges, ok := set.privilegesOf(r)
		_, made := set.roles[r]
		set.mu.Unlock()
		if !ok {
			continue
		}
		given := bson.A{}
		for _, p := range privileges {
			given = append(given, p.doc())
		}
		all = append(all, append(r.doc(), bson.E{Key: "isBuiltin", Value: !made}, bson.E{Key: "roles", Value: bson.A{}}, bson.E{Key: "privileges", Value: given}, bson.E{Key: "inheritedPrivileges", Value: given}))
	}
	return bson.D{{Key: "roles", Value: all}}, nil
}

func (c *mongoConn) createRole(db string, command bson.D) (bson.D, *mongoError) {
	if e := known(command, "privileges", "roles", "authenticationRestrictions"); e != nil {
		return nil, e
	}
	if e := c.may(db, "", "createRole"); e != nil {
		return nil, e
	}
	name, _ := command[0].Value.(string)
	listed, _ := at(command, "privileges").(bson.A)
	all := []mongoPrivilege{}
	for _, one := range listed {
		d, _ := one.(bson.D)
		resource, _ := at(d, "resource").(bson.D)
		var p mongoPrivilege
		p.db, _ = at(resource, "db").(string)
		p.collection, _ = at(resource, "collection").(string)
		p.cluster, _ = at(resource, "cluster").(bool)
		p.any, _ = at(resource, "anyResource").(bool)
		actions, _ := at(d, "actions").(bson.A)
		for _, a := range actions {
			text, _ := a.(string)
			p.actions = append(p.actions, text)
		}
		all = append(all, p)
	}
	set := c.server.set
	set.mu.Lock()
	defer set.mu.Unlock()
	r := mongoRole{name, db}
	if _, there := set.privilegesOf(r); there {
		return nil, &mongoError{51002, fmt.Sprintf("Role %q already exists", name+"@"+db)}
	}
	inherited, _ := at(command, "roles").(bson.A)
	roles, e := rolesIn(inherited, db)
	if e != nil {
		return nil, e
	}
	set.roles[r] = append(all, set.all(roles)...)
	return bson.D{}, nil
}

// authenticate signs in by the certificate of the connection.
func (c *mongoConn) authenticate(db string, command bson.D) (bson.D, *mongoError) {
	failed := &mongoError{18, "Authentication failed."}
	secured, isTLS := c.Conn.(*tls.Conn)
	if at(command, "mechanism") != "MONGODB-X509" || db != "$external" || !isTLS || len(secured.ConnectionState().PeerCertificates) == 0 {
		return nil, failed
	}
	name := "CN=" + secured.ConnectionState().PeerCertificates[0].Subject.CommonName
	set := c.server.set
	set.mu.Lock()
	u := set.users["$external."+name]
	set.mu.Unlock()
	if u == nil {
		return nil, failed
	}
	c.signIn(u)
	return bson.D{{Key: "dbname", Value: "$external"}, {Key: "user", Value: name}}, nil
}
