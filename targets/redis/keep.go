package redis

import (
	"context"
	"slices"
	"strings"

	"github.com/gomodule/redigo/redis"

	"patchbay.dev/patchbay"
)

// keeping is how a server keeps its users over a restart.
type keeping string

const (
	inACLFile    keeping = "its ACL file"
	inConfigFile keeping = "its configuration file"
	notKept      keeping = "" // it has neither
	unknownKept  keeping = "unknown"
)

// saves are the commands that keep them.
var saves = map[keeping]command{inACLFile: {"ACL", "SAVE"}, inConfigFile: {"CONFIG", "REWRITE"}}

// needed are the commands of an administrator, with arguments enough to be judged.
var needed = []command{
	{"ACL", "CAT"}, {"ACL", "DELUSER", "x"}, {"ACL", "DRYRUN", "x", "PING"}, {"ACL", "GETUSER", "x"}, {"ACL", "SETUSER", "x"}, {"ACL", "USERS"},
	{"CLIENT", "LIST"}, {"CONFIG", "GET", "aclfile"}, {"EXEC"}, {"INFO"}, {"MULTI"}, {"SELECT", "0"},
}

// neededInCluster is what else takes a cluster.
var neededInCluster = command{"CLUSTER", "NODES"}

// neededCommands are the names of all that any server may take.
func neededCommands() []string {
	var all []string
	for _, c := range append(slices.Clone(needed), neededInCluster, saves[inACLFile], saves[inConfigFile]) {
		all = append(all, c.name())
	}
	return all
}

// name is a command as rules call it.
func (c command) name() string {
	name, _ := c[0].(string)
	if slices.Contains([]string{"ACL", "CLIENT", "CONFIG", "CLUSTER"}, name) {
		below, _ := c[1].(string)
		name += "|" + below
	}
	return strings.ToLower(name)
}

// grant is the statement that gives an administrator commands.
func grant(user string, commands []string) string {
	return "ACL SETUSER " + named(user) + " +" + strings.Join(commands, " +")
}

// mayAdminister fails with AdminRights when the administrator lacks a right, before
// anything is done with it, and says how the server keeps users. It changes nothing.
func (n *node) mayAdminister(ctx context.Context, admin string) (keeping, error) {
	told, err := n.ask(ctx, command{"CONFIG", "GET", "aclfile"})
	if err != nil {
		return "", err
	}
	how := n.keeping(told[0])
	list := slices.Clone(needed)
	if n.cluster {
		list = append(list, neededInCluster)
	}
	if save, ok := saves[how]; ok {
		list = append(list, save)
	}
	ask := make([]command, len(list))
	for i, c := range list {
		ask[i] = append(command{"ACL", "DRYRUN", admin}, c...)
	}
	if told, err = n.ask(ctx, ask...); err != nil {
		return "", err
	}
	var missing []string
	for i, r := range told {
		switch answer, _ := redis.String(r.value, nil); {
		case r.err == nil && answer != "OK":
			missing = append(missing, list[i].name())
		case forbidden(r.err), unknown(r.err): // not even to ask
			return "", n.fault(ctx, "ask for its own rights", r.err)
		}
	}
	if len(missing) == 0 {
		return how, nil
	}
	fix := grant(admin, missing)
	if how == inACLFile {
		fix += "; ACL SAVE"
	}
	return "", patchbay.Errorf(patchbay.AdminRights, "the administrator %s lacks rights on %s: +%s", named(admin), n.at, strings.Join(missing, " +")).
		WithFix("%s", fix)
}

// keeping reads the answer to CONFIG GET aclfile.
func (n *node) keeping(r reply) keeping {
	pair, err := redis.Strings(r.value, r.err)
	switch {
	case err != nil || len(pair) != 2:
		return unknownKept
	case pair[1] != "":
		return inACLFile
	case n.config != "":
		return inConfigFile
	}
	return notKept
}

// keep makes the users last. A server that keeps none, or does not say, was named at
// registration.
func (n *node) keep(ctx context.Context, how keeping) error {
	save, ok := saves[how]
	if !ok {
		return nil
	}
	told, err := n.ask(ctx, save)
	if err != nil {
		return err
	}
	switch err := told[0].err; {
	case err == nil:
		return nil
	case forbidden(err):
		return n.fault(ctx, "keep the users", err)
	default:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s can't write %s: what was changed of its users is lost when it restarts", n.at, how).
			WithFix("see the server's log; file and directory have to be its own to write. Then: %s", strings.ToUpper(strings.ReplaceAll(save.name(), "|", " "))).WithSaid(err.Error())
	}
}
