package testenv

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// writes are the commands that only a primary takes.
var mongoWrites = []string{"createUser", "updateUser", "dropUser", "grantRolesToUser", "revokeRolesFromUser", "createRole", "insert", "update", "delete", "create", "drop", "dropDatabase", "createIndexes", "collMod"}

// do does a command, and gives the answer without its ok.
func (c *mongoConn) do(db string, command bson.D) (bson.D, *mongoError) {
	if len(command) == 0 {
		return nil, &mongoError{9, "no command"}
	}
	set := c.server.set
	name := command[0].Key
	set.mu.Lock()
	primary := set.primary == c.server.index || c.super
	set.mu.Unlock()
	if !primary && slices.Contains(mongoWrites, name) {
		return nil, &mongoError{10107, "not primary"}
	}
	collection, _ := command[0].Value.(string)
	switch name {
	case "hello", "isMaster", "ismaster":
		return c.hello(command), nil
	case "ping", "endSessions", "killCursors":
		return bson.D{}, nil
	case "buildInfo", "buildinfo":
		return bson.D{{Key: "version", Value: cmp.Or(set.options.Version, "7.0.0")}, {Key: "versionArray", Value: bson.A{7, 0, 0, 0}}}, nil
	case "saslStart":
		return c.saslStart(db, command)
	case "saslContinue":
		return c.saslContinue(command)
	case "authenticate":
		return c.authenticate(db, command)
	case "logout":
		c.mu.Lock()
		c.users, c.uids = nil, nil
		c.mu.Unlock()
		return bson.D{}, nil
	case "connectionStatus":
		return c.connectionStatus(command), nil
	case "createUser":
		return c.setUser(db, command, true)
	case "updateUser":
		return c.setUser(db, command, false)
	case "dropUser":
		return c.dropUser(db, command)
	case "grantRolesToUser":
		return c.changeRoles(db, command, true)
	case "revokeRolesFromUser":
		return c.changeRoles(db, command, false)
	case "usersInfo":
		return c.usersInfo(db, command)
	case "rolesInfo":
		return c.rolesInfo(db, command)
	case "createRole":
		return c.createRole(db, command)
	case "listDatabases":
		return c.listDatabases(), nil
	case "killAllSessions":
		if e := c.mayOnCluster("killAnySession"); e != nil {
			return nil, e
		}
		listed, _ := command[0].Value.(bson.A)
		return bson.D{}, c.killSessions(listed)
	case "killOp":
		if e := c.mayOnCluster("killop"); e != nil {
			return nil, e
		}
		c.kill(at(command, "op"))
		return bson.D{{Key: "info", Value: "attempting to kill op"}}, nil
	case "getParameter":
		return bson.D{{Key: "logLevel", Value: 0}}, c.mayOnCluster("getParameter")
	case "serverStatus":
		return bson.D{{Key: "host", Value: c.server.name()}}, c.mayOnCluster("serverStatus")
	case "explain":
		inner, _ := command[0].Value.(bson.D)
		if len(inner) == 0 {
			return nil, &mongoError{14, "explain is the wrong type"}
		}
		collection, _ := inner[0].Value.(string)
		return bson.D{{Key: "queryPlanner", Value: bson.D{}}}, c.mayData(db, collection, inner)
	case "find", "count", "aggregate", "insert", "update", "delete", "create", "drop", "dropDatabase", "createIndexes", "listCollections", "listIndexes", "collMod", "collStats", "dbStats", "validate":
		if name == "aggregate" {
			if pipeline, ok := at(command, "pipeline").(bson.A); ok && len(pipeline) > 0 {
				if stage, ok := pipeline[0].(bson.D); ok && len(stage) == 1 && stage[0].Key == "$currentOp" {
					return c.currentOp(pipeline)
				}
			}
		}
		if e := c.mayData(db, collection, command); e != nil {
			return nil, e
		}
		return c.doData(db, collection, command)
	}
	return nil, &mongoError{59, fmt.Sprintf("no such command: '%s'", name)}
}

func (c *mongoConn) hello(command bson.D) bson.D {
	set := c.server.set
	reply := bson.D{{Key: "helloOk", Value: true}, {Key: "maxBsonObjectSize", Value: int32(16 << 20)}, {Key: "maxMessageSizeBytes", Value: int32(48_000_000)}, {Key: "maxWriteBatchSize", Value: int32(100_000)},
		{Key: "localTime", Value: time.Now()}, {Key: "logicalSessionTimeoutMinutes", Value: int32(30)}, {Key: "connectionId", Value: int32(c.id)}, // #nosec G115 -- of a test
		{Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: int32(21)}, {Key: "readOnly", Value: false}}
	set.mu.Lock()
	defer set.mu.Unlock()
	primary := set.primary == c.server.index
	reply = append(reply, bson.E{Key: "isWritablePrimary", Value: primary}, bson.E{Key: "ismaster", Value: primary})
	if set.options.Members > 0 {
		hosts := bson.A{}
		for _, s := range set.Servers {
			hosts = append(hosts, s.name())
		}
		reply = append(reply, bson.E{Key: "setName", Value: "rs0"}, bson.E{Key: "hosts", Value: hosts}, bson.E{Key: "me", Value: c.server.name()}, bson.E{Key: "secondary", Value: !primary}, bson.E{Key: "setVersion", Value: int32(1)})
		if set.primary >= 0 {
			reply = append(reply, bson.E{Key: "primary", Value: set.Servers[set.primary].name()})
		}
	}
	if set.options.Router {
		reply = append(reply, bson.E{Key: "msg", Value: "isdbgrid"})
	}
	if asked, ok := at(command, "saslSupportedMechs").(string); ok {
		if u := set.users[asked]; u != nil {
			reply = append(reply, bson.E{Key: "saslSupportedMechs", Value: u.mechanisms})
		}
	}
	return reply
}

func (c *mongoConn) connectionStatus(command bson.D) bson.D {
	users := bson.A{}
	for _, u := range c.signedIn() {
		users = append(users, bson.D{{Key: "user", Value: u.name}, {Key: "db", Value: u.db}})
	}
	info := bson.D{{Key: "authenticatedUsers", Value: users}, {Key: "authenticatedUserRoles", Value: bson.A{}}}
	if show, _ := at(command, "showPrivileges").(bool); show {
		all := bson.A{}
		for _, p := range c.rights() {
			all = append(all, p.doc())
		}
		info = append(info, bson.E{Key: "authenticatedUserPrivileges", Value: all})
	}
	return bson.D{{Key: "authInfo", Value: info}}
}

// listDatabases lists all to who may see all, else those whose data he may read.
func (c *mongoConn) listDatabases() bson.D {
	everything := c.mayOnCluster("listDatabases") == nil
	all := bson.A{}
	set := c.server.set
	set.mu.Lock()
	names := []string{"admin", "config", "local"}
	for name := range set.data {
		names = append(names, name)
	}
	set.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		if everything || c.may(name, "", "find") == nil {
			all = append(all, bson.D{{Key: "name", Value: name}})
		}
	}
	return bson.D{{Key: "databases", Value: all}}
}

// currentOp lists connections that do something, or all of them.
func (c *mongoConn) currentOp(pipeline bson.A) (bson.D, *mongoError) {
	if e := c.mayOnCluster("inprog"); e != nil {
		return nil, e
	}
	first, _ := pipeline[0].(bson.D)
	asked, _ := first[0].Value.(bson.D)
	idle, _ := at(asked, "idleConnections").(bool)
	var filter bson.D
	for _, stage := range pipeline[1:] {
		if d, ok := stage.(bson.D); ok && d[0].Key == "$match" {
			filter, _ = d[0].Value.(bson.D)
		}
	}
	all := bson.A{}
	for _, other := range c.server.connections() {
		other.mu.Lock()
		active, users := other.active, slices.Clone(other.users)
		other.mu.Unlock()
		if active == 0 && !idle {
			continue
		}
		effective := bson.A{}
		for _, u := range users {
			db, name, _ := strings.Cut(u, ".")
			effective = append(effective, bson.D{{Key: "user", Value: name}, {Key: "db", Value: db}})
		}
		doc := bson.D{{Key: "type", Value: "op"}, {Key: "opid", Value: active}, {Key: "active", Value: active != 0}, {Key: "connectionId", Value: other.id}, {Key: "effectiveUsers", Value: effective}}
		if matches(doc, filter) {
			all = append(all, doc)
		}
	}
	return cursor("admin.$cmd.aggregate", all), nil
}

func cursor(namespace string, all bson.A) bson.D {
	return bson.D{{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)}, {Key: "ns", Value: namespace}, {Key: "firstBatch", Value: all}}}}
}

// killSessions ends what users have under way on this member.
func (c *mongoConn) killSessions(listed bson.A) *mongoError {
	for _, other := range c.server.connections() {
		other.mu.Lock()
		active, users := other.active, slices.Clone(other.users)
		other.mu.Unlock()
		if active == 0 {
			continue
		}
		for _, one := range listed {
			d, _ := one.(bson.D)
			if slices.Contains(users, fmt.Sprintf("%v.%v", at(d, "db"), at(d, "user"))) {
				c.kill(active)
			}
		}
	}
	return nil
}

func (c *mongoConn) kill(op any) {
	n, _ := numeric(op)
	c.server.set.mu.Lock()
	defer c.server.set.mu.Unlock()
	c.server.set.killed[int(n)] = true
}

// mayData judges a command on data.
func (c *mongoConn) mayData(db, collection string, command bson.D) *mongoError {
	switch command[0].Key {
	case "find", "count", "aggregate":
		return c.may(db, collection, "find")
	case "insert":
		return c.may(db, collection, "insert")
	case "delete":
		return c.may(db, collection, "remove")
	case "update":
		needs := []string{"update"}
		updates, _ := at(command, "updates").(bson.A)
		for _, one := range updates {
			if d, _ := one.(bson.D); at(d, "upsert") == true {
				needs = append(needs, "insert")
			}
		}
		return c.may(db, collection, needs...)
	case "create":
		return c.may(db, collection, "createCollection")
	case "drop":
		return c.may(db, collection, "dropCollection")
	case "createIndexes":
		return c.may(db, collection, "createIndex")
	case "dropDatabase", "listCollections", "dbStats":
		return c.may(db, "", command[0].Key)
	}
	return c.may(db, collection, command[0].Key) // listIndexes, collMod, collStats, validate
}

func (c *mongoConn) doData(db, collection string, command bson.D) (bson.D, *mongoError) {
	filter, _ := at(command, "filter").(bson.D)
	if ms, ok := numeric(at(filter, "$where")); ok {
		if e := c.sleep(time.Duration(ms) * time.Millisecond); e != nil {
			return nil, e
		}
		filter = nil
	}
	set := c.server.set
	set.mu.Lock()
	defer set.mu.Unlock()
	data := set.data[db]
	here, there := data[collection]
	change := func(rows []bson.D) {
		if set.data[db] == nil {
			set.data[db] = map[string][]bson.D{}
		}
		set.data[db][collection] = rows
	}
	switch command[0].Key {
	case "find", "aggregate":
		all := bson.A{}
		if db == "admin" && collection == "system.users" {
			for name := range set.users {
				all = append(all, bson.D{{Key: "_id", Value: name}})
			}
		}
		for _, row := range here {
			if matches(row, filter) {
				all = append(all, row)
			}
		}
		return cursor(db+"."+collection, all), nil
	case "count":
		return bson.D{{Key: "n", Value: len(here)}}, nil
	case "insert":
		documents, _ := at(command, "documents").(bson.A)
		rows := slices.Clone(here)
		for _, one := range documents {
			row, _ := one.(bson.D)
			if !has(row, "_id") {
				row = append(bson.D{{Key: "_id", Value: bson.NewObjectID()}}, row...)
			}
			rows = append(rows, row)
		}
		change(rows)
		return bson.D{{Key: "n", Value: int32(len(documents))}}, nil // #nosec G115 -- of a test
	case "update":
		n := set.update(here, at(command, "updates"), change)
		return bson.D{{Key: "n", Value: n}, {Key: "nModified", Value: n}}, nil
	case "delete":
		deletes, _ := at(command, "deletes").(bson.A)
		rows, n := slices.Clone(here), 0
		for _, one := range deletes {
			d, _ := one.(bson.D)
			q, _ := at(d, "q").(bson.D)
			before := len(rows)
			rows = slices.DeleteFunc(rows, func(row bson.D) bool { return matches(row, q) })
			n += before - len(rows)
		}
		if there {
			change(rows)
		}
		return bson.D{{Key: "n", Value: int32(n)}}, nil // #nosec G115 -- of a test
	case "create":
		if there {
			return nil, &mongoError{48, "Collection already exists"}
		}
		change(nil)
	case "createIndexes":
		if !there {
			change(nil)
		}
	case "drop":
		delete(data, collection)
	case "dropDatabase":
		delete(set.data, db)
	case "collMod", "listIndexes", "validate":
		if !there {
			return nil, &mongoError{26, "ns does not exist"}
		}
	case "listCollections":
		all := bson.A{}
		for name := range data {
			if doc := (bson.D{{Key: "name", Value: name}, {Key: "type", Value: "collection"}}); matches(doc, filter) {
				all = append(all, doc)
			}
		}
		return cursor(db+".$cmd.listCollections", all), nil
	}
	return bson.D{}, nil
}

// update knows $set and $inc, of the first that matches.
func (set *MongoSet) update(here []bson.D, listed any, change func([]bson.D)) int32 {
	updates, _ := listed.(bson.A)
	rows, n := slices.Clone(here), int32(0)
	for _, one := range updates {
		d, _ := one.(bson.D)
		q, _ := at(d, "q").(bson.D)
		u, _ := at(d, "u").(bson.D)
		i := slices.IndexFunc(rows, func(row bson.D) bool { return matches(row, q) })
		if i < 0 && at(d, "upsert") == true {
			rows = append(rows, append(bson.D{{Key: "_id", Value: bson.NewObjectID()}}, q...))
			i = len(rows) - 1
		}
		if i < 0 {
			continue
		}
		row := slices.Clone(rows[i])
		for _, operator := range u {
			fields, _ := operator.Value.(bson.D)
			for _, f := range fields {
				value := f.Value
				if operator.Key == "$inc" {
					was, _ := numeric(at(row, f.Key))
					by, _ := numeric(value)
					value = was + by
				}
				if at := slices.IndexFunc(row, func(e bson.E) bool { return e.Key == f.Key }); at >= 0 {
					row[at].Value = value
				} else {
					row = append(row, bson.E{Key: f.Key, Value: value})
				}
			}
		}
		rows[i] = row
		n++
	}
	if n > 0 {
		change(rows)
	}
	return n
}

// matches knows equality, $exists and $elemMatch.
func matches(doc, filter bson.D) bool {
	for _, f := range filter {
		value, there := any(doc), true
		for key := range strings.SplitSeq(f.Key, ".") {
			d, isDoc := value.(bson.D)
			there = there && isDoc && has(d, key)
			value = at(d, key)
		}
		switch condition := f.Value.(type) {
		case bson.D:
			if len(condition) == 1 && condition[0].Key == "$exists" {
				if there != (condition[0].Value == true) {
					return false
				}
				continue
			}
			if len(condition) == 1 && condition[0].Key == "$elemMatch" {
				inner, _ := condition[0].Value.(bson.D)
				list, _ := value.(bson.A)
				if !slices.ContainsFunc(list, func(one any) bool {
					d, isDoc := one.(bson.D)
					return isDoc && matches(d, inner)
				}) {
					return false
				}
				continue
			}
		}
		a, isA := numeric(value)
		b, isB := numeric(f.Value)
		if isA && isB && a == b {
			continue
		}
		if !reflect.DeepEqual(value, f.Value) {
			return false
		}
	}
	return true
}

func numeric(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int32:
		return float64(n), true
	case int64:
		return float64(n), true
	case int:
		return float64(n), true
	}
	return 0, false
}
