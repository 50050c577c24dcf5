package storetest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// Memory is a store without a disk, for tests: the suite's model of what the
// contract means, in the plainest code. Several engines may share one, each
// with a lease of its own, as replicas share a database.
type Memory struct {
	// Clock decides about leases; [time.Now] by default.
	Clock patchbay.Clock

	mu            sync.Mutex
	seq           int
	ops           map[string]row
	alive         map[string]time.Time
	ended         map[string]bool // lives that ended in order
	connections   map[string]patchbay.Connection
	resources     map[string]patchbay.Resource
	subscriptions map[string]patchbay.Subscription
	groups        map[string]patchbay.ResourceGroup
	leftovers     map[string]patchbay.Leftover
	tenants       map[string]patchbay.Tenant
	principals    map[string]patchbay.Principal
	keys          map[string]patchbay.SigningKey
	definitions   map[string]patchbay.RoleDefinition
	assignments   map[string]patchbay.RoleAssignment
	dryruns       map[string]patchbay.Dryrun
	verdicts      map[string][]patchbay.Verdict // by connection, the newest first
	seen          map[string]time.Time
	chain         store.Chain
	log           []patchbay.AuditEntry
	head          store.AuditHead
	roles         int64
	events        []memoryEvent
	eventAdded    chan struct{}
	eventsGone    int64
}

type row struct {
	saga.Op
	seq int
}

var _ Store = (*Memory)(nil)

// NewMemory makes an empty one.
func NewMemory() *Memory {
	return &Memory{
		Clock: time.Now, ops: map[string]row{}, alive: map[string]time.Time{}, ended: map[string]bool{},
		connections: map[string]patchbay.Connection{}, resources: map[string]patchbay.Resource{},
		subscriptions: map[string]patchbay.Subscription{}, groups: map[string]patchbay.ResourceGroup{},
		leftovers: map[string]patchbay.Leftover{}, tenants: map[string]patchbay.Tenant{},
		principals: map[string]patchbay.Principal{}, keys: map[string]patchbay.SigningKey{},
		definitions: map[string]patchbay.RoleDefinition{}, assignments: map[string]patchbay.RoleAssignment{},
		dryruns: map[string]patchbay.Dryrun{}, verdicts: map[string][]patchbay.Verdict{}, seen: map[string]time.Time{}, chain: store.NewChain(nil), eventAdded: make(chan struct{}, 1),
	}
}

// Clone is an independent copy, in the state of this instant.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{
		Clock: m.Clock, seq: m.seq, ops: maps.Clone(m.ops), alive: maps.Clone(m.alive), ended: maps.Clone(m.ended),
		connections: maps.Clone(m.connections), resources: maps.Clone(m.resources),
		subscriptions: maps.Clone(m.subscriptions), groups: maps.Clone(m.groups), leftovers: maps.Clone(m.leftovers),
		tenants: maps.Clone(m.tenants), principals: maps.Clone(m.principals), keys: maps.Clone(m.keys),
		definitions: maps.Clone(m.definitions), assignments: maps.Clone(m.assignments), dryruns: maps.Clone(m.dryruns),
		verdicts: maps.Clone(m.verdicts), seen: maps.Clone(m.seen),
		chain: m.chain, log: slices.Clone(m.log), head: m.head, roles: m.roles,
		events: slices.Clone(m.events), eventAdded: make(chan struct{}, 1), eventsGone: m.eventsGone,
	}
}

// Shared says that lives of several processes are told apart by their leases.
func (m *Memory) Shared() bool { return true }

func active(s patchbay.OperationState) bool { return s == patchbay.Running || s == patchbay.Undoing }

// Submit implements [saga.Store].
func (m *Memory) Submit(ctx context.Context, life saga.Life, s saga.Submission, limits saga.Limits, now time.Time) (saga.Op, bool, error) {
	if err := ctx.Err(); err != nil {
		return saga.Op{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.ops[s.ID]; ok {
		if err := s.Same(r.Op); err != nil {
			return saga.Op{}, false, err
		}
		return r.Clone(), false, nil
	}
	busy, waiting, open, own := false, 0, 0, 0
	for _, r := range m.ops {
		if r.State.Ended() {
			continue
		}
		if saga.Changes(s.Kind) && saga.Changes(r.Kind) && r.Connection.Equal(s.Connection) {
			return saga.Op{}, false, saga.InProgress(s.Connection, r.ID, r.Kind)
		}
		if s.Target != "" && r.Target.Equal(s.Target) {
			open++
			if len(s.Share) > 0 && len(r.Share) > 0 && r.Share[0] == s.Share[0] {
				own++
			}
		}
		if r.Source.Equal(s.Source) {
			busy = true
			if r.State == patchbay.Queued {
				waiting++
			}
		}
	}
	stored, found := m.connections[s.Connection.Key()]
	if err := saga.MatchETag(s.Connection, s.IfMatch, stored.ETag, found); err != nil {
		return saga.Op{}, false, err
	}
	for _, id := range s.Needs {
		if !m.hasRecord(id) {
			return saga.Op{}, false, saga.Missing(id)
		}
	}
	for _, r := range s.Room {
		n := 0
		for key := range m.connections {
			if strings.HasPrefix(key, r.Below.Key()+"/") {
				n++
			}
		}
		if n >= r.Most {
			return saga.Op{}, false, saga.NoRoom(r)
		}
	}
	state := patchbay.Running
	if busy {
		state = patchbay.Queued
		if waiting >= limits.Queued {
			return saga.Op{}, false, saga.QueueFull(s.Source, limits.Queued)
		}
	}
	if s.Target != "" && !limits.Room(open, own) {
		return saga.Op{}, false, saga.TargetFull(s.Target, open)
	}
	op := saga.NewOp(ctx, life, s, state, now)
	m.seq++
	m.ops[s.ID] = row{op.Clone(), m.seq}
	m.commit(s.Begin)
	if line, told := op.BeginLine(); told {
		m.tellOf(*op.Act, line)
	}
	return op, true, nil
}

func (m *Memory) commit(c saga.Commit) {
	if c.PutConnection != nil {
		key, put := c.PutConnection.ID.Key(), *c.PutConnection
		if stored, ok := m.connections[key]; ok {
			put.Health = stored.Health
		} else {
			put.Health, m.seen[key] = nil, m.Clock()
		}
		m.connections[key] = put
	}
	if c.DeleteConnection != "" {
		delete(m.connections, c.DeleteConnection.Key())
		delete(m.verdicts, c.DeleteConnection.Key())
		m.forgetScope(c.DeleteConnection)
	}
	for _, l := range c.Leftovers {
		m.leftovers[l.ID] = l
	}
	if c.Verdict != nil {
		_ = m.putVerdict(*c.Verdict) // of one that is gone, nothing is kept
	}
}

// Advance implements [saga.Store].
func (m *Memory) Advance(ctx context.Context, life saga.Life, a saga.Advance) (promoted string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.ops[a.Op.ID]
	if !ok || r.Version != a.Op.Version || r.Owner != a.Op.Owner {
		return "", saga.ErrStale
	}
	wasActive := active(r.State)
	r.Op = a.Op.Clone()
	r.Version++
	m.ops[r.ID] = r
	m.commit(a.Commit)
	if a.Asked != nil {
		m.tellOf(*a.Asked, a.Op.AskedLine())
	}
	if line, told := a.Op.EndLine(); told && r.State.Ended() {
		m.tellOf(*a.Op.Act, line)
	}
	if wasActive && r.State.Ended() {
		promoted = m.promote(life, r.Source, a.Op.Updated)
	}
	return promoted, nil
}

// promote makes the source's longest waiting operation Running, if it is idle.
func (m *Memory) promote(life saga.Life, source patchbay.ID, now time.Time) string {
	var first row
	for _, r := range m.ops {
		if !r.Source.Equal(source) {
			continue
		}
		if active(r.State) {
			return ""
		}
		if r.State == patchbay.Queued && (first.seq == 0 || r.seq < first.seq) {
			first = r
		}
	}
	if first.seq == 0 || !slices.Contains(life.Kinds, first.Kind) {
		return ""
	}
	first.State, first.Owner, first.Updated = patchbay.Running, life.ID, now
	first.Version++
	m.ops[first.ID] = first
	return first.ID
}

// Load implements [saga.Store].
func (m *Memory) Load(ctx context.Context, id string) (saga.Op, error) {
	if err := ctx.Err(); err != nil {
		return saga.Op{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.ops[id]
	if !ok {
		return saga.Op{}, saga.NoOperation(id)
	}
	return r.Clone(), nil
}

// Renew implements [saga.Store].
func (m *Memory) Renew(ctx context.Context, life saga.Life, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alive[life.ID] = m.Clock().Add(ttl)
	return nil
}

// Release implements [saga.Store].
func (m *Memory) Release(_ context.Context, life saga.Life, still bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended[life.ID] = true
	if !still {
		delete(m.alive, life.ID)
	}
	return nil
}

// Lapse ends the lease of a life that died.
func (m *Memory) Lapse(life saga.Life) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.alive, life.ID)
}

// inOrder is the operations that keep holds for, in the order of submission.
func (m *Memory) inOrder(keep func(row) bool) []row {
	var rows []row
	for _, r := range m.ops {
		if keep(r) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.seq, b.seq) })
	return rows
}

// Claim implements [saga.Store].
func (m *Memory) Claim(ctx context.Context, life saga.Life, limit int) (orphans []saga.Orphan, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Clock()
	for _, r := range m.inOrder(func(r row) bool {
		return active(r.State) && r.Owner != life.ID && !m.alive[r.Owner].After(now) && slices.Contains(life.Kinds, r.Kind)
	}) {
		if len(orphans) == limit {
			break
		}
		r.TakeOver(!m.ended[r.Owner])
		r.Owner = life.ID
		r.Version++
		m.ops[r.ID] = r
		orphans = append(orphans, saga.Orphan{ID: r.ID, Deaths: r.Deaths})
	}
	return orphans, nil
}

// Promote implements [saga.Store].
func (m *Memory) Promote(ctx context.Context, life saga.Life, now time.Time, limit int) (ids []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.inOrder(func(r row) bool { return r.State == patchbay.Queued }) {
		if len(ids) == limit {
			break
		}
		if id := m.promote(life, r.Source, now); id != "" {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Mine implements [saga.Store].
func (m *Memory) Mine(ctx context.Context, life saga.Life) (map[string]int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	mine := map[string]int64{}
	for id, r := range m.ops {
		if active(r.State) && r.Owner == life.ID {
			mine[id] = r.Version
		}
	}
	return mine, nil
}

// Waiting implements [saga.Store].
func (m *Memory) Waiting(context.Context) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.inOrder(func(r row) bool { return r.State == patchbay.Queued })), nil
}

// Retire implements [saga.Store].
func (m *Memory) Retire(_ context.Context, before time.Time, limit int) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.inOrder(func(r row) bool { return r.State.Ended() && r.Ended.Before(before) })
	slices.SortFunc(old, func(a, b row) int { return a.Ended.Compare(b.Ended) })
	for _, r := range old {
		if n == limit {
			break
		}
		delete(m.ops, r.ID)
		n++
	}
	return n, nil
}

func missing(id, what string) error {
	return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: id, Message: "there is no " + what + " " + id}
}

func isOrBelow(key, scope string) bool { return key == scope || strings.HasPrefix(key, scope+"/") }

// pick is a page of those values that keep holds for, in the order of their keys.
func pick[T any](all map[string]T, after string, limit int, keep func(key string, v T) bool) (page []T, next string) {
	if limit <= 0 || limit > store.MaxPage {
		limit = store.MaxPage
	}
	last := ""
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if key <= after || !keep(key, all[key]) {
			continue
		}
		if len(page) == limit {
			return page, last
		}
		page, last = append(page, all[key]), key
	}
	return page, ""
}

func get[T any](m *Memory, all map[string]T, key, id, what string) (T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := all[key]
	if !ok {
		return v, missing(id, what)
	}
	return v, nil
}

// Connection implements [store.Records].
func (m *Memory) Connection(_ context.Context, id patchbay.ID) (patchbay.Connection, error) {
	return get(m, m.connections, id.Key(), string(id), "connection")
}

// Connections implements [store.Records].
func (m *Memory) Connections(_ context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Connection, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, next := pick(m.connections, after, limit, func(key string, c patchbay.Connection) bool {
		of, _, _ := c.ID.ConnectionSource()
		return source == "" || of.Equal(source)
	})
	return page, next, nil
}

func uses(c patchbay.Connection, key string) bool {
	return isOrBelow(c.ID.Key(), key) || c.Spec.Target.ID != "" && isOrBelow(c.Spec.Target.ID.Key(), key)
}

// ConnectionsOf implements [store.Records].
func (m *Memory) ConnectionsOf(_ context.Context, resource patchbay.ID, limit int) ([]patchbay.Connection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, _ := pick(m.connections, "", limit, func(_ string, c patchbay.Connection) bool { return uses(c, resource.Key()) })
	return page, nil
}

// Resource implements [store.Records].
func (m *Memory) Resource(_ context.Context, id patchbay.ID) (patchbay.Resource, error) {
	return get(m, m.resources, id.Key(), string(id), "resource")
}

// Resources implements [store.Records].
func (m *Memory) Resources(_ context.Context, scope patchbay.ID, after string, limit int) ([]patchbay.Resource, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, next := pick(m.resources, after, limit, func(key string, _ patchbay.Resource) bool {
		return scope == "" || isOrBelow(key, scope.Key())
	})
	return page, next, nil
}

// PutResource implements [store.Records].
func (m *Memory) PutResource(ctx context.Context, r patchbay.Resource, ifMatch string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, found := m.resources[r.ID.Key()]
	if err := saga.MatchETag(r.ID, ifMatch, stored.ETag, found); err != nil {
		return err
	}
	if group := store.GroupOf(r.ID); !m.hasRecord(group) {
		return store.NoScope(group)
	}
	m.resources[r.ID.Key()] = r
	m.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/resources/write", Resource: r.ID})
	return nil
}

// DeleteResource implements [store.Records].
func (m *Memory) DeleteResource(ctx context.Context, id patchbay.ID, ifMatch string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, found := m.resources[id.Key()]
	if !found {
		return missing(string(id), "resource")
	}
	if err := saga.MatchETag(id, ifMatch, stored.ETag, found); err != nil {
		return err
	}
	for _, c := range m.connections {
		if uses(c, id.Key()) {
			return &patchbay.Error{Code: patchbay.Conflict, Subject: string(c.ID), Message: "the connection " + string(c.ID) + " needs " + string(id)}
		}
	}
	delete(m.resources, id.Key())
	m.forgetScope(id)
	m.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/resources/delete", Resource: id})
	return nil
}

// Subscriptions implements [store.Records].
func (m *Memory) Subscriptions(context.Context) ([]patchbay.Subscription, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, _ := pick(m.subscriptions, "", 0, func(string, patchbay.Subscription) bool { return true })
	return page, nil
}

// PutSubscription implements [store.Records].
func (m *Memory) PutSubscription(ctx context.Context, s patchbay.Subscription) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subscriptions[strings.ToLower(s.ID)] = s
	m.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Resources/subscriptions/write", Resource: store.SubscriptionID(s.ID)})
	return nil
}

// ResourceGroups implements [store.Records].
func (m *Memory) ResourceGroups(_ context.Context, subscription string) ([]patchbay.ResourceGroup, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, _ := pick(m.groups, "", 0, func(_ string, g patchbay.ResourceGroup) bool {
		return subscription == "" || strings.EqualFold(g.ID.Subscription(), subscription)
	})
	return page, nil
}

// ResourceGroup implements [store.Records].
func (m *Memory) ResourceGroup(_ context.Context, id patchbay.ID) (patchbay.ResourceGroup, error) {
	return get(m, m.groups, id.Key(), string(id), "resource group")
}

// PutResourceGroup implements [store.Records].
func (m *Memory) PutResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.groups[g.ID.Key()] = g
	m.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Resources/subscriptions/resourceGroups/write", Resource: g.ID})
	return nil
}

// UpdateResourceGroup implements [store.Records].
func (m *Memory) UpdateResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.groups[g.ID.Key()]; !ok {
		return missing(string(g.ID), "resource group")
	}
	m.groups[g.ID.Key()] = g
	m.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Resources/subscriptions/resourceGroups/write", Resource: g.ID})
	return nil
}

// DeleteResourceGroup implements [store.Records].
func (m *Memory) DeleteResourceGroup(ctx context.Context, id patchbay.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.resources {
		if isOrBelow(key, id.Key()) {
			return store.InUse(id, key)
		}
	}
	for key := range m.connections {
		if isOrBelow(key, id.Key()) {
			return store.InUse(id, key)
		}
	}
	if _, ok := m.groups[id.Key()]; !ok {
		return missing(string(id), "resource group")
	}
	delete(m.groups, id.Key())
	m.forgetScope(id)
	m.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Resources/subscriptions/resourceGroups/delete", Resource: id})
	return nil
}

// Operation implements [store.Records].
func (m *Memory) Operation(ctx context.Context, id string) (patchbay.Operation, error) {
	op, err := m.Load(ctx, id)
	return op.Operation, err
}

// Operations implements [store.Records].
func (m *Memory) Operations(_ context.Context, f store.OperationFilter, after string, limit int) (page []patchbay.Operation, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if limit <= 0 || limit > store.MaxPage {
		limit = store.MaxPage
	}
	before := m.seq + 1
	if after != "" {
		if before, err = strconv.Atoi(after); err != nil {
			return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "%q is no page of the operations", after)
		}
	}
	rows := m.inOrder(func(r row) bool {
		return r.seq < before && (f.Connection == "" || f.Connection.Equal(r.Connection)) &&
			(f.Source == "" || f.Source.Equal(r.Source)) && (!f.Active || !r.State.Ended())
	})
	slices.Reverse(rows)
	if len(rows) > limit {
		rows = rows[:limit]
		next = strconv.Itoa(rows[limit-1].seq)
	}
	for _, r := range rows {
		page = append(page, r.Clone().Operation)
	}
	return page, next, nil
}

// Leftovers implements [store.Records].
func (m *Memory) Leftovers(_ context.Context, after string, limit int) ([]patchbay.Leftover, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, next := pick(m.leftovers, after, limit, func(string, patchbay.Leftover) bool { return true })
	return page, next, nil
}

// Leftover implements [store.Records].
func (m *Memory) Leftover(_ context.Context, id string) (patchbay.Leftover, error) {
	return get(m, m.leftovers, id, id, "leftover")
}

// LeftoversOf implements [store.Records].
func (m *Memory) LeftoversOf(_ context.Context, connection patchbay.ID) ([]patchbay.Leftover, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of, _ := pick(m.leftovers, "", len(m.leftovers), func(_ string, l patchbay.Leftover) bool { return l.Connection.Equal(connection) })
	return of, nil
}

// LeftoversAt implements [store.Records].
func (m *Memory) LeftoversAt(_ context.Context, resource patchbay.ID) ([]patchbay.Leftover, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, _ := pick(m.leftovers, "", len(m.leftovers), func(_ string, l patchbay.Leftover) bool { return l.Resource.Equal(resource) })
	return at, nil
}

// UpdateLeftover implements [store.Records].
func (m *Memory) UpdateLeftover(_ context.Context, l patchbay.Leftover) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.leftovers[l.ID]; !ok {
		return missing(l.ID, "leftover")
	}
	m.leftovers[l.ID] = l
	return nil
}

// DeleteLeftover implements [store.Records].
func (m *Memory) DeleteLeftover(ctx context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.leftovers[id]
	if !ok {
		return missing(id, "leftover")
	}
	delete(m.leftovers, id)
	m.tell(ctx, store.LeftoverGone(l))
	return nil
}
