package docker

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/dockerapi"
)

// ruleLabel bears the rule that a network is.
const ruleLabel = "patchbay.dev/rule"

// record is what it says.
type record struct {
	Mark    driver.Mark `json:"mark"`
	Source  string      `json:"source"` // the application's container
	Servers []string    `json:"servers"`
}

func recordOf(r driver.Rule) *record {
	rec := &record{Mark: r.Mark, Servers: r.Servers}
	if r.Peer != nil {
		rec.Source = r.Peer.Name
	}
	return rec
}

// bridge is a network as the engine says.
type bridge struct {
	ID       string `json:"Id"`
	Name     string
	Driver   string
	Internal bool
	Labels   map[string]string
	IPAM     struct{ Config []struct{ Subnet string } }

	record *record // nil when it bears none
}

// is reports whether it is what that rule is.
func (b *bridge) is(r *record) bool {
	return b.Internal && b.Driver == "bridge" && b.record != nil && reflect.DeepEqual(b.record, r)
}

// notOurs fails when one of them is not the rule's.
func notOurs(had []*bridge, r driver.Rule) error {
	for _, b := range had {
		if b.record == nil || b.record.Mark.UID != r.Mark.UID || b.record.Mark.Generation != r.Mark.Generation {
			return patchbay.Errorf(patchbay.NotOurs, "the network %s is there, and does not bear the connection's mark", b.Name).
				WithFix("find out whose it is (docker network inspect %s), and rename or remove it", b.Name)
		}
	}
	return nil
}

// networks are those that a filter finds.
func (n *network) networks(ctx context.Context, filter, value string) ([]*bridge, error) {
	query := url.Values{}
	if filter != "" {
		text, _ := json.Marshal(map[string][]string{filter: {value}})
		query.Set("filters", string(text))
	}
	var all []*bridge
	if err := n.engine.Call(ctx, http.MethodGet, "/networks", query, nil, &all); err != nil {
		return nil, guardFault(err)
	}
	for _, b := range all {
		rec := &record{}
		if json.Unmarshal([]byte(b.Labels[ruleLabel]), rec) == nil && rec.Mark.UID != "" {
			b.record = rec
		}
	}
	return all, nil
}

// named are those of exactly that name: engines have let two be made at once.
func (n *network) named(ctx context.Context, name string) ([]*bridge, error) {
	if name == "" {
		return nil, nil
	}
	all, err := n.networks(ctx, "name", name)
	return slices.DeleteFunc(all, func(b *bridge) bool { return b.Name != name }), err
}

// on are the containers that are on a network, by id; those that are stopped are not.
func (n *network) on(ctx context.Context, b *bridge) (map[string]bool, error) {
	var told struct{ Containers map[string]any }
	err := n.engine.Call(ctx, http.MethodGet, "/networks/"+url.PathEscape(b.ID), nil, nil, &told)
	if err != nil && !dockerapi.IsMissing(err) {
		return nil, guardFault(err)
	}
	on := map[string]bool{}
	for id := range told.Containers {
		on[id] = true
	}
	return on, nil
}

const (
	// networkBits are those of a network out of a pool: thirteen containers and the bridge.
	networkBits = 28
	// maxTries bounds how often a part of the pool is taken that somebody else has just
	// taken, or that the machine has a route to.
	maxTries = 16
)

// create makes the network of a rule.
func (n *network) create(ctx context.Context, name string, rec *record) (*bridge, error) {
	label, err := json.Marshal(rec)
	if err != nil {
		return nil, err
	}
	body := map[string]any{
		"Name": name, "CheckDuplicate": true, "Driver": "bridge", "Internal": true,
		"Labels": map[string]string{ruleLabel: string(label)},
	}
	made := &bridge{Name: name, Driver: "bridge", Internal: true, record: rec}
	make := func() error {
		return n.engine.Call(ctx, http.MethodPost, "/networks/create", nil, body, made)
	}
	if !n.pool.IsValid() {
		if err := make(); err != nil {
			return nil, n.exhausted(err)
		}
		return made, nil
	}
	taken, err := n.taken(ctx)
	if err != nil {
		return nil, err
	}
	tries := 0
	for part := netip.PrefixFrom(n.pool.Addr(), networkBits); n.pool.Contains(part.Addr()); part = after(part) {
		if slices.ContainsFunc(taken, part.Overlaps) {
			continue
		}
		body["IPAM"] = map[string]any{"Config": []map[string]string{{"Subnet": part.String()}}}
		err := make()
		if err == nil {
			return made, nil
		}
		if tries++; !overlaps(err) || tries == maxTries {
			return nil, guardFault(err)
		}
	}
	return nil, patchbay.Errorf(patchbay.NotSupported, "the pool %s of the guard %s has no room for another network", n.pool, n.id.Name()).
		WithFix("register %s again with a larger one: --pool", n.id.Name())
}

// after is the next part of a pool.
func after(p netip.Prefix) netip.Prefix {
	b := p.Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	next := n + 1<<(32-networkBits)
	if next < n {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(next >> 24), byte(next >> 16), byte(next >> 8), byte(next)}), networkBits)
}

// taken are the networks that the engine has given out.
func (n *network) taken(ctx context.Context) ([]netip.Prefix, error) {
	all, err := n.networks(ctx, "", "")
	var list []netip.Prefix
	for _, b := range all {
		for _, c := range b.IPAM.Config {
			if p, err := netip.ParsePrefix(c.Subnet); err == nil {
				list = append(list, p)
			}
		}
	}
	return list, err
}

// overlaps and exhausted know the words of the engines: they have no codes for it.
func overlaps(err error) bool {
	text := strings.ToLower(said(err))
	return strings.Contains(text, "overlap") || strings.Contains(text, "already being used") || strings.Contains(text, "already used")
}

func (n *network) exhausted(err error) error {
	text := said(err)
	for _, words := range []string{"non-overlapping IPv4 address pool", "predefined address pools have been fully subnetted"} {
		if strings.Contains(text, words) {
			return patchbay.Errorf(patchbay.NotSupported, "the engine at %s has no addresses left for another network", n.engine.URL).
				WithFix("register the guard %s again with --pool PREFIX (10.213.0.0/16, if nobody has that), or give the engine more (default-address-pools in daemon.json)", n.id.Name())
		}
	}
	return guardFault(err)
}

// said are the engine's own words.
func said(err error) string {
	text := ""
	for ; err != nil; err = errors.Unwrap(err) {
		text = err.Error()
	}
	return text
}

func (n *network) connect(ctx context.Context, b *bridge, m member) error {
	endpoint := map[string]any{}
	if m.alias != "" {
		endpoint["Aliases"] = []string{m.alias}
	}
	err := n.engine.Call(ctx, http.MethodPost, "/networks/"+url.PathEscape(b.ID)+"/connect", nil, map[string]any{"Container": m.ID, "EndpointConfig": endpoint}, nil)
	return guardFault(err)
}

// disconnect takes a container off a network; one that is on it no more is a success.
func (n *network) disconnect(ctx context.Context, b *bridge, id string) error {
	err := n.engine.Call(ctx, http.MethodPost, "/networks/"+url.PathEscape(b.ID)+"/disconnect", nil, map[string]any{"Container": id, "Force": true}, nil)
	if err == nil || dockerapi.IsMissing(err) || strings.Contains(said(err), "is not connected to") {
		return nil
	}
	return guardFault(err)
}

func (n *network) remove(ctx context.Context, b *bridge) error {
	err := n.engine.Call(ctx, http.MethodDelete, "/networks/"+url.PathEscape(b.ID), nil, nil, nil)
	if err == nil || dockerapi.IsMissing(err) {
		return nil
	}
	return guardFault(err)
}

// guardFault has the codes of a guard in place of those of a source.
func guardFault(err error) error {
	var e *patchbay.Error
	if !errors.As(err, &e) {
		return err
	}
	code := e.Code
	switch {
	case errdefs.IsPermissionDenied(err):
		code = patchbay.Forbidden
	case code == patchbay.SettingsUnreadable, code == patchbay.SettingsUnwritable, code == patchbay.SourceNotFound:
		code = patchbay.TargetUnreachable
	}
	if code == e.Code {
		return err
	}
	more := *e
	more.Code = code
	return &more
}
