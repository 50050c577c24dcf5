package redis

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gomodule/redigo/redis"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// maxNodes bounds how many servers others may name.
const maxNodes = 128

// node is a server that the administrator is signed in to.
type node struct {
	*link
	id      string // of its process
	version string // what people call it
	major   int
	cluster bool
	replica bool
	config  string   // path of its configuration file; "" when it was started without
	peers   []string // the servers that it names: host:port
}

var introduction = []command{{"INFO", "server"}, {"INFO", "replication"}, {"INFO", "cluster"}}

// meet signs the administrator in to one server, and learns what it is.
func (t *target) meet(ctx context.Context, at string) (*node, error) {
	l, err := t.connect(ctx, t.dialer, at)
	if err != nil {
		return nil, err
	}
	n := &node{link: l}
	if err := n.introduce(ctx, t.admin); err != nil {
		l.close()
		return nil, err
	}
	return n, nil
}

func (n *node) introduce(ctx context.Context, admin driver.UserPassword) error {
	told, err := n.signIn(ctx, admin, patchbay.AdminRefused, introduction...)
	if err != nil {
		return err
	}
	all := map[string]string{}
	for _, section := range told {
		if section.err != nil {
			return n.fault(ctx, "ask what it is", section.err)
		}
		for name, value := range infoOf(section.value) {
			all[name] = value
		}
	}
	n.id, n.config = all["run_id"], all["config_file"]
	n.version = all["redis_version"]
	if v := all["valkey_version"]; v != "" {
		n.version = v + " (Valkey)"
	}
	major, _, _ := strings.Cut(all["redis_version"], ".")
	n.major, _ = strconv.Atoi(major)
	switch {
	case n.id == "" || n.version == "":
		return patchbay.Errorf(patchbay.TargetMisbehaved, "%s does not say what it is, as Redis does", n.at).WithFix("see what listens on %s", n.at)
	case all["redis_mode"] == "sentinel":
		return patchbay.Errorf(patchbay.NotSupported, "%s is a Sentinel, which holds no data", n.at).WithFix("register the servers that it watches: SENTINEL MASTERS")
	case n.major < oldest:
		return tooOld(n.at, n.version)
	}
	n.replica, n.cluster = all["role"] == "slave", all["cluster_enabled"] == "1"
	if n.cluster {
		list, err := n.must(ctx, "list the nodes of the cluster", command{"CLUSTER", "NODES"})
		if err != nil {
			return err
		}
		n.peers = clusterNodes(list[0], n.at, n.protocol != "")
		return nil
	}
	if n.replica {
		n.peers = append(n.peers, net.JoinHostPort(all["master_host"], all["master_port"]))
	}
	for name, value := range all {
		if number, ok := strings.CutPrefix(name, "slave"); ok && strings.HasPrefix(value, "ip=") && strings.Trim(number, "0123456789") == "" {
			fields := map[string]string{}
			for field := range strings.SplitSeq(value, ",") {
				key, text, _ := strings.Cut(field, "=")
				fields[key] = text
			}
			n.peers = append(n.peers, net.JoinHostPort(fields["ip"], fields["port"]))
		}
	}
	slices.Sort(n.peers)
	return nil
}

// oldest is the first major version whose users can be held to reading, and bear a mark.
const oldest = 7

// infoOf reads the lines of an INFO section.
func infoOf(value any) map[string]string {
	text, _ := redis.Bytes(value, nil)
	all := map[string]string{}
	for scanner := bufio.NewScanner(bytes.NewReader(text)); scanner.Scan(); {
		if name, value, ok := strings.Cut(strings.TrimSpace(scanner.Text()), ":"); ok {
			all[name] = value
		}
	}
	return all
}

// clusterNodes are the others in what CLUSTER NODES tells:
//
//	id ip:port@cport[,hostname[,shard-id=…]] flags …
//
// A certificate is rather for a name than for an address.
func clusterNodes(value any, own string, secured bool) []string {
	text, _ := redis.String(value, nil)
	var all []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 {
			continue
		}
		flags := strings.Split(words[2], ",")
		place, more, _ := strings.Cut(words[1], ",")
		place, _, _ = strings.Cut(place, "@")
		// IPv6 has no brackets here.
		colon := strings.LastIndex(place, ":")
		if colon < 0 || slices.Contains(flags, "noaddr") || slices.Contains(flags, "handshake") {
			continue
		}
		host, port := place[:colon], place[colon+1:]
		if name, _, _ := strings.Cut(more, ","); secured && name != "" && name != "?" {
			host = name
		}
		if slices.Contains(flags, "myself") && host == "" { // it has not met another yet
			continue
		}
		if at := net.JoinHostPort(host, port); at != own {
			all = append(all, at)
		}
	}
	return all
}

// away is a server that another one names and that is not reached.
type away struct {
	at, by string
	err    error
}

// survey signs in to the servers of the registration and all that they name. Each is
// there once, whatever it is called; the first is the registration's first. missing are
// those of the others that are not reached.
func (t *target) survey(ctx context.Context) (nodes []*node, missing []away, err error) {
	type visit struct{ at, by string }
	var next []visit
	for _, at := range t.servers {
		next = append(next, visit{at, ""})
	}
	seen, met := map[string]bool{}, map[string]bool{}
	end := func(err error) ([]*node, []away, error) {
		closeAll(nodes)
		return nil, nil, err
	}
	for len(next) > 0 {
		var now []visit
		for _, v := range next {
			if !seen[v.at] {
				seen[v.at] = true
				now = append(now, v)
			}
		}
		if len(seen) > maxNodes {
			return end(patchbay.Errorf(patchbay.TargetMisbehaved, "%s and the servers that it names are more than %d", t.servers[0], maxNodes).
				WithFix("register the servers that logins are to be made on, with --nodes %s", nodesListed))
		}
		found, errs := make([]*node, len(now)), make([]error, len(now))
		together(len(now), func(i int) {
			if now[i].by != "" && !dialable(now[i].at) {
				errs[i] = patchbay.Errorf(patchbay.TargetMisbehaved, "what it names as a server has no address")
				return
			}
			found[i], errs[i] = t.meet(ctx, now[i].at)
		})
		next = nil
		var failed error
		for i, n := range found {
			switch {
			case n == nil && now[i].by == "":
				failed = errs[i]
			case n == nil:
				missing = append(missing, away{now[i].at, now[i].by, errs[i]})
			case met[n.id]:
				n.close()
			default:
				met[n.id] = true
				nodes = append(nodes, n)
				for _, at := range n.peers {
					if !t.listed {
						next = append(next, visit{at, n.at})
					}
				}
			}
		}
		if failed != nil {
			return end(failed)
		}
	}
	return nodes, missing, nil
}

// everywhere is survey for what has to be done on all of them.
func (t *target) everywhere(ctx context.Context) ([]*node, error) {
	nodes, missing, err := t.survey(ctx)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		closeAll(nodes)
		return nil, missing[0].error()
	}
	return nodes, nil
}

// error says whose word it is that there is such a server.
func (a away) error() error {
	e := *patchbay.AsError(a.err)
	e.Message = "the server " + driver.Quoted(a.at) + ", which " + a.by + " names: " + e.Message
	if e.Code != patchbay.AdminRefused && e.Code != patchbay.Canceled {
		e.Fix = "users are each server's own, so it has to be there: start it, or take it out (CLUSTER FORGET; REPLICAOF NO ONE); where its address is another from here, have it say which (replica-announce-ip, cluster-announce-ip), or register the resource with --nodes " + nodesListed
	}
	return &e
}

func dialable(at string) bool {
	host, port, err := net.SplitHostPort(at)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && n > 0 && driver.IsHost(host)
}

func closeAll(nodes []*node) {
	for _, n := range nodes {
		n.close()
	}
}

// together runs f for each, a few at a time.
func together(n int, f func(int)) {
	const most = 16
	var wg sync.WaitGroup
	turns := make(chan struct{}, most)
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			f(i)
			<-turns
		})
	}
	wg.Wait()
}

// onEach runs f on all nodes, and gives the first error in their order.
func onEach(nodes []*node, f func(int, *node) error) error {
	errs := make([]error, len(nodes))
	together(len(nodes), func(i int) { errs[i] = f(i, nodes[i]) })
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
