// Package nftables guards the ports of targets with the packet filter of their Linux
// machine (https://wiki.nftables.org). It works by the program nft, which does the same
// on the server's own machine and on one that is reached by SSH (decision 0025).
//
// The guard is one table, inet patchbay. Who arrives at a port that it closes is let in
// when a set has his address, and refused otherwise; chains that nothing leads to are
// its memory, with the mark of each rule. A file has the same, and a unit of systemd
// that loads it at boot.
package nftables

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// properties are what a registration says of a guard.
type properties struct {
	Host        string   `json:"host"` // the inventory finds it
	Allow       []string `json:"allow"`
	UntilReboot bool     `json:"untilReboot"`
}

// network is a machine's guard, for one target.
type network struct {
	machine machine
	target  target
	allow   []netip.Prefix
	kept    bool // over reboots
}

var (
	_ driver.Network        = (*network)(nil)
	_ driver.NetworkChecker = (*network)(nil)
)

func open(_ context.Context, c driver.Config, guarded driver.Config) (driver.Network, error) {
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	if c.Endpoint != "" {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "a guard of nftables has no endpoint: it is on a host").WithFix("name the machine with --host")
	}
	n := &network{machine: machine{c.Host}, target: target{guarded.Dialer, guarded.Endpoint}, kept: !p.UntilReboot}
	for _, text := range p.Allow {
		prefix, err := netip.ParsePrefix(text)
		if a, addrErr := netip.ParseAddr(text); addrErr == nil && a.Zone() == "" {
			prefix, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		prefix, ok := plainPrefix(prefix)
		if err != nil || !ok {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%q in allow is no address, and no network prefix such as 10.0.9.0/24", driver.Quoted(text))
		}
		n.allow = append(n.allow, prefix)
	}
	n.allow = widest(n.allow)
	return n, nil
}

// Close implements [driver.Network].
func (n *network) Close() error { return nil }

// state is what there is of the guard.
type state struct {
	table *table // the kernel's; nil when there is none
	file  rulesIn
}

// all is what the guard remembers. A flush of somebody's takes the kernel's away, and
// what is in both is as the kernel has it: that is changed first.
func (s state) all() records {
	if s.table == nil {
		return s.file.records.with(nil)
	}
	return s.table.records.with(s.file.records)
}

// kernel is what the table remembers.
func (s state) kernel() records {
	if s.table == nil {
		return nil
	}
	return s.table.records
}

// foreign is a chain by the name of a rule of which nobody knows that we made it.
func (s state) foreign(name string) bool {
	if s.table == nil {
		return false
	}
	_, known := s.file.records[name]
	return slices.Contains(s.table.foreign, "chain "+name) || slices.Contains(s.table.damaged, name) && !known
}

// ours fails where the table has what somebody else put into it: it would be gone with
// the next change.
func (s state) ours() error {
	if s.table == nil {
		return nil
	}
	for _, name := range s.table.damaged {
		if s.foreign(name) {
			return notOurs("chain " + name)
		}
	}
	if len(s.table.foreign) > 0 {
		return notOurs(s.table.foreign[0])
	}
	return nil
}

func notOurs(what string) error {
	kind, name, _ := strings.Cut(what, " ")
	return patchbay.Errorf(patchbay.NotOurs, "the table %s %s has the %s %s, which Patchbay did not make, or can't read any more", family, tableName, kind, driver.Quoted(name)).
		WithFix("move it to a table of its own, and: nft delete %s %s %s %s", kind, family, tableName, driver.Quoted(name))
}

// read looks at what there is, and writes nothing.
func (n *network) read(ctx context.Context) (state, error) {
	list, err := n.machine.list(ctx)
	if err != nil {
		return state{}, err
	}
	file, err := n.machine.readFile(ctx)
	return state{ours(list), file}, err
}

// EnsureRule implements [driver.Network]. The kernel is told first, then it is tried
// whether Patchbay still reaches the target, and then the file is written: what shuts
// it out is not there after a reboot either.
func (n *network) EnsureRule(ctx context.Context, r driver.Rule) error {
	made, err := recordOf(r)
	if err != nil {
		return err
	}
	ready := false
	if n.kept {
		if ready, err = n.machine.canKeep(ctx); err != nil {
			return err
		}
	}
	unlock, err := n.machine.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := n.read(ctx)
	if err != nil {
		return err
	}
	if err := now.ours(); err != nil {
		return err
	}
	want := now.all()
	if old, there := want[r.Name]; !there || !old.equal(made) {
		want[r.Name] = made
	}
	want[closed] = record{to: slices.Concat(want[closed].to, made.to)}.sorted()
	if err := n.letIn(ctx, want, made.to); err != nil {
		return err
	}
	switch changed := !now.table.good() || !same(now.kernel(), want); {
	case changed:
		err = n.changeSafely(ctx, now, want, made.to)
	case n.kept && !same(now.file.records, want):
		err = n.tryAgain(ctx, now, want, made.to)
	}
	if err != nil {
		return err
	}
	if !n.kept {
		return n.machine.removeFile(ctx, now.file)
	}
	if err := n.machine.writeFile(ctx, now.file, want); err != nil {
		return err
	}
	if ready {
		return nil
	}
	return n.machine.enable(ctx)
}

// letIn puts into want who must not be shut out.
func (n *network) letIn(ctx context.Context, want records, to []netip.AddrPort) error {
	delete(want, allowed)
	if len(n.allow) > 0 { // the operator has said it
		want[allowed] = record{from: n.allow}
		maps.DeleteFunc(want, func(name string, _ record) bool { return strings.HasPrefix(name, control) })
		return nil
	}
	ways, err := n.target.ways(ctx, to)
	for _, w := range ways {
		name := controlName(w.from)
		want[name] = record{from: []netip.Prefix{netip.PrefixFrom(w.from, w.from.BitLen())}, to: append(slices.Concat(want[name].to, to), w.to)}.sorted()
	}
	return err
}

// changeSafely changes the kernel's table, and takes that back when the target is not
// reached any more.
func (n *network) changeSafely(ctx context.Context, now state, want records, to []netip.AddrPort) error {
	before := n.target.reached(ctx, n.target.addresses(to)) // of the others nobody could say what the change did
	if err := n.machine.apply(ctx, want.script()); err != nil {
		return err
	}
	shut := n.target.stillReached(ctx, before)
	if shut == nil {
		return nil
	}
	back := remove
	if now.table != nil {
		back = now.table.records.script()
	}
	// Though ctx has ended: nobody else takes it back.
	if err := n.machine.applyAnyhow(ctx, back); err != nil {
		return patchbay.Errorf(patchbay.TargetUnreachable, "the guard shuts Patchbay out of %s, and that can't be taken back: %w", n.target.name(), err).
			WithFix("nft delete table %s %s   (on its machine)", family, tableName)
	}
	if ctx.Err() != nil { // it was not tried long enough
		return ctx.Err()
	}
	return n.shutOut(shut)
}

// tryAgain is for a change whose maker died before it was in the file, and perhaps
// before it was tried. A target that is not reached may be down: without the change,
// it is reached then neither.
func (n *network) tryAgain(ctx context.Context, now state, want records, to []netip.AddrPort) error {
	all := n.target.addresses(to)
	shut := n.target.stillReached(ctx, all)
	if shut == nil {
		return nil
	}
	back := remove
	if now.file.sum != "" {
		back = now.file.records.script()
	}
	if err := n.machine.apply(ctx, back); err != nil {
		return err
	}
	if n.target.stillReached(ctx, all) == nil {
		return n.shutOut(shut)
	}
	return n.machine.applyAnyhow(ctx, want.script())
}

func (n *network) shutOut(err error) error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "with the guard, Patchbay does not reach %s any more (%w): the guard is as it was before", n.target.name(), err).
		WithFix("register the guard again with --allow ADDRESS: the one that Patchbay has there, which behind a translation of addresses is not the one that it speaks from")
}

func same(a, b records) bool { return maps.EqualFunc(a, b, record.equal) }

// RemoveRule implements [driver.Network]. The file is written first: what a crash
// leaves open is not open after a reboot. The port stays closed when it was the last
// rule, and what was open through it is refused from then on.
func (n *network) RemoveRule(ctx context.Context, r driver.Rule) error {
	if !ruleName.MatchString(r.Name) {
		return ctx.Err() // there never was one
	}
	unlock, err := n.machine.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := n.read(ctx)
	if err != nil {
		return err
	}
	want := now.all()
	_, there := want[r.Name]
	if !there && !now.foreign(r.Name) {
		return nil
	}
	if err := now.ours(); err != nil {
		return err
	}
	delete(want, r.Name)
	var unwritten error // which keeps nothing open now
	if n.kept {
		unwritten = n.machine.writeFile(ctx, now.file, want)
	}
	if !now.table.good() || !same(now.kernel(), want) {
		if err := n.machine.apply(ctx, want.script()); err != nil {
			return err
		}
	}
	if !n.kept {
		return n.machine.removeFile(ctx, now.file)
	}
	return unwritten
}

// Check implements [driver.NetworkChecker].
func (n *network) Check(ctx context.Context) (warnings []string, err error) {
	if n.kept {
		if _, err := n.machine.canKeep(ctx); err != nil {
			return nil, err
		}
	}
	unlock, err := n.machine.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	now, err := n.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := now.ours(); err != nil {
		return nil, err
	}
	return nil, n.machine.tryOut(ctx)
}

// InspectRule implements [driver.Network]. What is not as it should be is looked at again
// when nobody is about to change it.
func (n *network) InspectRule(ctx context.Context, r driver.Rule) (driver.RuleState, error) {
	s, err := n.inspect(ctx, r)
	if err != nil || s.Exact || s == (driver.RuleState{}) {
		return s, err
	}
	unlock, err := n.machine.lock(ctx)
	if err != nil {
		return driver.RuleState{}, err
	}
	defer unlock()
	return n.inspect(ctx, r)
}

func (n *network) inspect(ctx context.Context, r driver.Rule) (driver.RuleState, error) {
	list, err := n.machine.listAll(ctx)
	if err != nil {
		return driver.RuleState{}, err
	}
	file, err := n.machine.readFile(ctx)
	if err != nil {
		return driver.RuleState{}, err
	}
	now := state{ours(list), file}
	if now.foreign(r.Name) {
		return driver.RuleState{Exists: true}, nil
	}
	if now.table == nil {
		return driver.RuleState{}, nil
	}
	have, there := now.table.records[r.Name]
	if !there && !slices.Contains(now.table.damaged, r.Name) {
		return driver.RuleState{}, nil
	}
	s := driver.RuleState{Exists: true, Ours: true}
	want, err := recordOf(r)
	s.Exact = err == nil && there && have.equal(want) && now.table.good() && slices.Equal(now.table.effect.allow, n.allow)
	if s.Exact && n.kept {
		if s.Exact = file.sum != "" && same(file.records, now.table.records); s.Exact {
			s.Exact, err = n.machine.enabled(ctx)
			if err != nil {
				return driver.RuleState{}, err
			}
		}
	}
	if there {
		if s.Despite = rulesetOf(list).despite(have, now.table.effect); s.Despite == "" {
			s.Despite = n.machine.elsewhere(ctx, have.to)
		}
	}
	return s, nil
}

// Owned implements [driver.Network].
func (n *network) Owned(ctx context.Context) ([]driver.Owned, error) {
	now, err := n.read(ctx)
	if err != nil {
		return nil, err
	}
	all := now.all()
	var owned []driver.Owned
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name].mark.UID != "" {
			owned = append(owned, driver.Owned{Mark: all[name].mark, Name: name})
		}
	}
	return owned, nil
}
