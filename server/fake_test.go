package server

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/store"
)

// fake is connector.API in memory, with its promises kept: an operation begins
// Accepted and ends when the test says so, a repeated request is the same
// operation, a second one is refused, reads see every write.
type fake struct {
	mu          sync.Mutex
	changed     chan struct{} // closed and replaced with every write
	now         time.Time
	connections map[string]*kept
	operations  []*patchbay.Operation
	resources   map[string]patchbay.Resource
	admins      map[string]map[string]patchbay.Secret
	groups      map[string]patchbay.ResourceGroup
	leftovers   []patchbay.Leftover
	dryruns     map[string]patchbay.Dryrun
	tenants     []patchbay.Tenant
	told        []string                    // whose audit logs the last change of a tenant was for
	subs        []patchbay.Subscription     // besides the first
	generated   *patchbay.ConfigurationInfo // what Generate was last asked with
	validation  connector.ValidateRequest   // the last one
	panicking   bool
	failing     error
	entered     chan struct{}   // one value for each Wait that began
	fast        bool            // an operation ends as soon as somebody waits for it
	why         *patchbay.Error // what a fast one fails with
}

// kept is a connection with what its spec was asked with.
type kept struct {
	patchbay.Connection
	before  *patchbay.Connection // what a failed update goes back to
	given   string
	running string
}

var _ connector.API = (*fake)(nil)

const (
	testTenant = "00000000-0000-0000-0000-00000000000f"

	testSub   = "00000000-0000-0000-0000-000000000001"
	testRG    = "/subscriptions/" + testSub + "/resourceGroups/rg"
	testWeb   = testRG + "/providers/Microsoft.Web/sites/web"
	testLocal = testRG + "/providers/Microsoft.ServiceLinker/locations/westus"
	testPG    = testRG + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders"
)

func newFake() *fake {
	f := &fake{
		changed: make(chan struct{}), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		connections: map[string]*kept{}, resources: map[string]patchbay.Resource{},
		admins: map[string]map[string]patchbay.Secret{}, groups: map[string]patchbay.ResourceGroup{},
		dryruns: map[string]patchbay.Dryrun{}, tenants: []patchbay.Tenant{{ID: testTenant, DisplayName: "default"}},
		entered: make(chan struct{}, 16),
	}
	f.groups[strings.ToLower(testRG)] = patchbay.ResourceGroup{ID: testRG, Location: "local"}
	return f
}

func (f *fake) tick() time.Time {
	f.now = f.now.Add(time.Second)
	return f.now
}

func (f *fake) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func asked(s patchbay.Spec) string {
	text, _ := json.Marshal(s)
	secrets := ""
	if a := s.Auth; a != nil {
		secrets = a.Secret.Reveal() + "|" + a.Certificate.Reveal()
		if a.SecretInfo != nil {
			secrets += "|" + a.SecretInfo.Value.Reveal()
		}
	}
	return string(text) + secrets
}

func copySpec(s patchbay.Spec) patchbay.Spec {
	text, _ := json.Marshal(s)
	var c patchbay.Spec
	_ = json.Unmarshal(text, &c) // secrets have no JSON: what is stored has none
	return c
}

func notFound(what string) error {
	return patchbay.Errorf(patchbay.ResourceNotFound, "there is no %s", what)
}

func (f *fake) Put(_ context.Context, r connector.PutRequest) (connector.Begun, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panicking {
		panic("the use case is broken")
	}
	if f.failing != nil {
		return connector.Begun{}, f.failing
	}
	return f.put(r)
}

func (f *fake) put(r connector.PutRequest) (connector.Begun, error) {
	source, name, ok := r.ID.ConnectionSource()
	if !ok {
		return connector.Begun{}, patchbay.Errorf(patchbay.InvalidResourceID, "not a connection")
	}
	k := f.connections[r.ID.Key()]
	switch {
	case k == nil && r.IfMatch != "", k != nil && r.IfMatch != "" && r.IfMatch != "*" && r.IfMatch != k.ETag:
		return connector.Begun{}, patchbay.Errorf(patchbay.PreconditionFailed, "the connection %s is not the one that If-Match names", name)
	case k != nil && k.running != "" && k.given == asked(r.Spec):
		return connector.Begun{Connection: k.Connection, Operation: *f.operation(k.running)}, nil
	case k != nil && k.running != "":
		return connector.Begun{}, patchbay.Errorf(patchbay.OperationInProgress, "operation %s of %s is running", k.running, name)
	case k != nil && k.given == asked(r.Spec) && k.State == patchbay.Succeeded:
		return connector.Begun{Connection: k.Connection, Operation: *f.operation(k.Operation)}, nil
	}
	kind := patchbay.OpUpdate
	created := k == nil
	if created {
		kind = patchbay.OpCreate
		k = &kept{Connection: patchbay.Connection{
			ID: r.ID, UID: "x7k2m9q4abcd", Source: source, Name: name, Location: "local", Created: f.tick(), CreatedBy: r.Caller.Name,
		}}
		f.connections[r.ID.Key()] = k
	} else {
		before := k.Connection
		k.before = &before
	}
	op := f.begin(kind, k, r.Caller)
	k.given = asked(r.Spec)
	k.Spec, k.State = copySpec(r.Spec), patchbay.Accepted
	k.Modified, k.ModifiedBy = op.Created, r.Caller.Name
	k.ETag = fmt.Sprintf(`"etag-%d"`, len(f.operations))
	return connector.Begun{Connection: k.Connection, Operation: op, Created: created}, nil
}

func (f *fake) begin(kind patchbay.OperationKind, k *kept, c connector.Caller) patchbay.Operation {
	now := f.tick()
	op := &patchbay.Operation{
		ID: fmt.Sprintf("op-%d", len(f.operations)+1), Kind: kind, Connection: k.ID, Source: k.Source,
		State: patchbay.Running, Plan: []string{"plan", "principal", "settings"}, Step: 1, Attempt: 1,
		Created: now, Updated: now, By: c.Name, Version: 1,
	}
	f.operations = append(f.operations, op)
	if kind != patchbay.OpValidate {
		k.Operation, k.running = op.ID, op.ID
	}
	f.wake()
	return *op
}

func (f *fake) operation(id string) *patchbay.Operation {
	for _, op := range f.operations {
		if op.ID == id {
			return op
		}
	}
	return nil
}

// end ends a running operation well, or with why.
func (f *fake) end(id string, why *patchbay.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finish(f.operation(id), why)
}

func (f *fake) finish(op *patchbay.Operation, why *patchbay.Error) {
	op.Ended = f.tick()
	op.Updated, op.Version, op.State = op.Ended, op.Version+1, patchbay.Done
	if why != nil {
		op.State, op.Error = patchbay.Undone, why
	}
	defer f.wake()
	k := f.connections[op.Connection.Key()]
	if op.Kind == patchbay.OpValidate {
		op.Result = f.report(op)
		return
	}
	k.running = ""
	switch {
	case why != nil && op.Kind == patchbay.OpCreate:
		k.State = patchbay.Failed
	case why != nil && k.before != nil:
		k.Connection = *k.before
	case op.Kind == patchbay.OpDelete:
		delete(f.connections, op.Connection.Key())
	default:
		k.State, k.Generation = patchbay.Succeeded, k.Generation+1
		k.Login, k.Keys = fmt.Sprintf("pb_x7k2m9q4abcd_g%d", k.Generation), []string{"AZURE_POSTGRESQL_CONNECTIONSTRING"}
		op.Message = k.Message
	}
}

func (f *fake) report(op *patchbay.Operation) *patchbay.Report {
	return &patchbay.Report{
		Connection: op.Connection, Source: op.Source, Target: testPG + "/databases/app", AuthType: patchbay.AuthSecret,
		Started: op.Created, Ended: op.Ended,
		Checks: []patchbay.Check{
			{Group: patchbay.CheckExistence, Name: "Target resource existence validated.", Result: patchbay.Success},
			{Group: patchbay.CheckNetwork, Name: "Target service firewall validated.", Result: patchbay.NotChecked, Message: "the target has no rules that Patchbay manages"},
			{Group: patchbay.CheckConfiguration, Name: "Configured connection information validated.", Result: patchbay.Failure,
				Code: patchbay.SettingChanged, Message: "AZURE_POSTGRESQL_CONNECTIONSTRING is not what was written", Fix: "patchbay connection validate web/db --fix"},
			{Group: patchbay.CheckAuthentication, Name: "Managed Identity existence validated.", Result: patchbay.Warning, Message: "the login has a right more"},
		},
	}
}

func (f *fake) Patch(_ context.Context, r connector.PutRequest, merge func(*patchbay.Spec) error) (connector.Begun, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panicking {
		panic("the use case is broken")
	}
	k := f.connections[r.ID.Key()]
	if k == nil {
		return connector.Begun{}, notFound("connection " + r.ID.Name())
	}
	if f.failing != nil {
		return connector.Begun{}, f.failing
	}
	r.Spec = copySpec(k.Spec)
	if err := merge(&r.Spec); err != nil {
		return connector.Begun{}, err
	}
	return f.put(r)
}

func (f *fake) Get(_ context.Context, id patchbay.ID) (patchbay.Connection, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return patchbay.Connection{}, f.failing
	}
	if k := f.connections[id.Key()]; k != nil {
		return k.Connection, nil
	}
	return patchbay.Connection{}, notFound("connection " + id.Name())
}

// paged gives the keys of one page and where to go on.
func paged[T any](m map[string]T, in func(string) bool, after string, limit int) (keys []string, next string) {
	for key := range m {
		if in(key) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > limit {
		return keys[:limit], keys[limit-1]
	}
	return keys, ""
}

func (f *fake) List(_ context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Connection, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys, next := paged(f.connections, func(key string) bool { return f.connections[key].Source.Equal(source) }, after, limit)
	var page []patchbay.Connection
	for _, key := range keys {
		page = append(page, f.connections[key].Connection)
	}
	return page, next, nil
}

func (f *fake) start(kind patchbay.OperationKind, id patchbay.ID, c connector.Caller, ifMatch string) (connector.Begun, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.connections[id.Key()]
	switch {
	case k == nil:
		return connector.Begun{}, notFound("connection " + id.Name())
	case ifMatch != "" && ifMatch != "*" && ifMatch != k.ETag:
		return connector.Begun{}, patchbay.Errorf(patchbay.PreconditionFailed, "the connection changed")
	case kind != patchbay.OpValidate && k.running != "":
		return connector.Begun{}, patchbay.Errorf(patchbay.OperationInProgress, "operation %s is running", k.running)
	}
	op := f.begin(kind, k, c)
	switch kind {
	case patchbay.OpDelete:
		k.State = patchbay.Deleting
	case patchbay.OpRotate:
		k.State = patchbay.Accepted
	}
	return connector.Begun{Connection: k.Connection, Operation: op}, nil
}

func (f *fake) Delete(_ context.Context, id patchbay.ID, c connector.Caller, ifMatch string) (connector.Begun, error) {
	return f.start(patchbay.OpDelete, id, c, ifMatch)
}

func (f *fake) Validate(_ context.Context, r connector.ValidateRequest) (connector.Begun, error) {
	f.mu.Lock()
	f.validation = r
	f.mu.Unlock()
	return f.start(patchbay.OpValidate, r.ID, r.Caller, "")
}

func (f *fake) Rotate(_ context.Context, r connector.RotateRequest) (connector.Begun, error) {
	return f.start(patchbay.OpRotate, r.ID, r.Caller, r.IfMatch)
}

func (f *fake) History(_ context.Context, id patchbay.ID) ([]patchbay.Verdict, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.connections[id.Key()]; !ok {
		return nil, patchbay.Errorf(patchbay.ResourceNotFound, "there is no connection %s", id.Name())
	}
	return []patchbay.Verdict{{Connection: id, Health: patchbay.Healthy, Cause: patchbay.CauseSchedule, Times: 3}}, nil
}

const connectionString = "host=10.0.0.5 user=pb_x7k2m9q4abcd_g1 password=hunter2<&>"

func (f *fake) Configurations(_ context.Context, id patchbay.ID, _ connector.Caller) ([]patchbay.Setting, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.connections[id.Key()] == nil {
		return nil, notFound("connection " + id.Name())
	}
	return []patchbay.Setting{{
		Name: "AZURE_POSTGRESQL_CONNECTIONSTRING", Value: patchbay.NewSecret(connectionString), Secret: true, Description: "Connection string.",
	}}, nil
}

func (f *fake) Generate(ctx context.Context, id patchbay.ID, info *patchbay.ConfigurationInfo, c connector.Caller) ([]patchbay.Setting, error) {
	list, err := f.Configurations(ctx, id, c)
	f.generated = info
	if err == nil && info != nil {
		for _, to := range info.CustomizedKeys {
			list[0].Name = to
		}
	}
	return list, err
}

func (f *fake) Preview(ctx context.Context, r connector.PutRequest) (connector.Preview, error) {
	if err := r.Caller.Tell(ctx, patchbay.AuditEntry{Action: connector.ActionConnect, Resource: r.ID, Detail: "a preview asks " + r.Spec.Target.ID.Name()}); err != nil {
		return connector.Preview{}, err
	}
	return connector.Preview{
		Kind:     patchbay.OpCreate,
		Steps:    []connector.PreviewStep{{Name: "principal", Text: "create role pb_x7k2m9q4abcd_g1 on " + r.Spec.Target.ID.Name()}},
		Settings: []patchbay.Setting{{Name: "AZURE_POSTGRESQL_CONNECTIONSTRING", Value: patchbay.NewSecret("password=‹password›"), Secret: true}},
	}, nil
}

func (f *fake) Operation(_ context.Context, id string) (patchbay.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op := f.operation(id); op != nil {
		return *op, nil
	}
	return patchbay.Operation{}, notFound("operation " + id)
}

func (f *fake) Operations(_ context.Context, q store.OperationFilter, after string, limit int) ([]patchbay.Operation, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var page []patchbay.Operation
	past := after == ""
	for _, op := range slices.Backward(f.operations) {
		if !past {
			past = op.ID == after
			continue
		}
		if q.Active && op.State.Ended() || q.Connection != "" && !q.Connection.Equal(op.Connection) || q.Source != "" && !q.Source.Equal(op.Source) {
			continue
		}
		if len(page) == limit {
			return page, page[limit-1].ID, nil
		}
		page = append(page, *op)
	}
	return page, "", nil
}

func (f *fake) Wait(ctx context.Context, id string, version int64) (patchbay.Operation, error) {
	select {
	case f.entered <- struct{}{}:
	case <-ctx.Done():
	}
	for {
		f.mu.Lock()
		if op := f.operation(id); f.fast && op != nil && !op.State.Ended() {
			f.finish(op, f.why)
		}
		changed := f.changed
		op := f.operation(id)
		var now patchbay.Operation
		if op != nil {
			now = *op
		}
		f.mu.Unlock()
		if op == nil {
			return now, notFound("operation " + id)
		}
		if now.Version > version || now.State.Ended() {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, nil
		case <-changed:
		}
	}
}

func (f *fake) act(id string, do func(*patchbay.Operation)) (patchbay.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := f.operation(id)
	if op == nil {
		return patchbay.Operation{}, notFound("operation " + id)
	}
	do(op)
	op.Version++
	f.wake()
	return *op, nil
}

func (f *fake) Cancel(_ context.Context, id string, _ connector.Caller) (patchbay.Operation, error) {
	return f.act(id, func(op *patchbay.Operation) { op.Cancel, op.State = true, patchbay.Undoing })
}

func (f *fake) Retry(_ context.Context, id string, _ connector.Caller) (patchbay.Operation, error) {
	return f.act(id, func(op *patchbay.Operation) { op.Attempt++ })
}

func (f *fake) Abandon(_ context.Context, id string, _ connector.Caller) (patchbay.Operation, error) {
	return f.act(id, func(op *patchbay.Operation) { op.State, op.Ended = patchbay.Abandoned, f.tick() })
}

func (f *fake) Leftovers(_ context.Context, _ string, _ int) ([]patchbay.Leftover, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leftovers, "", nil
}

func (f *fake) Forget(_ context.Context, id string, _ connector.Caller) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.leftovers)
	f.leftovers = slices.DeleteFunc(f.leftovers, func(l patchbay.Leftover) bool { return l.ID == id })
	if len(f.leftovers) == before {
		return notFound("leftover " + id)
	}
	return nil
}

func (f *fake) Leftover(_ context.Context, id string) (patchbay.Leftover, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.leftovers {
		if l.ID == id {
			return l, nil
		}
	}
	return patchbay.Leftover{}, notFound("leftover " + id)
}

func (f *fake) Sweep(_ context.Context, c connector.Caller) (patchbay.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := f.begin(patchbay.OpSweep, &kept{Connection: patchbay.Connection{ID: patchbay.AllLeftovers, Source: patchbay.AllLeftovers}}, c)
	f.operation(op.ID).Plan = []string{"retry", "marks"}
	return *f.operation(op.ID), nil
}

func (f *fake) RotateAdmin(_ context.Context, r connector.RotateAdminRequest) (patchbay.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	res, ok := f.resources[r.ID.Key()]
	if !ok {
		return patchbay.Operation{}, notFound("resource " + string(r.ID))
	}
	op := f.begin(patchbay.OpRotateAdmin, &kept{Connection: patchbay.Connection{ID: res.ID, Source: res.ID}}, r.Caller)
	f.operation(op.ID).Plan = []string{"plan", "credential", "verify", "record"}
	return *f.operation(op.ID), nil
}

func (f *fake) PutResource(_ context.Context, r connector.ResourceRequest) (patchbay.Resource, bool, []string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.groups[strings.ToLower("/subscriptions/"+r.Resource.ID.Subscription()+"/resourceGroups/"+r.Resource.ID.ResourceGroup())].ID == "" {
		return patchbay.Resource{}, false, nil, notFound("resource group " + r.Resource.ID.ResourceGroup())
	}
	res := r.Resource
	old, exists := f.resources[res.ID.Key()]
	res.Created, res.CreatedBy = f.tick(), r.Caller.Name
	if exists {
		if r.IfMatch != "" && r.IfMatch != "*" && r.IfMatch != old.ETag {
			return res, false, nil, patchbay.Errorf(patchbay.PreconditionFailed, "the resource changed")
		}
		res.ID, res.Created, res.CreatedBy = old.ID, old.Created, old.CreatedBy
	}
	res.State, res.Modified, res.ModifiedBy = patchbay.Succeeded, f.now, r.Caller.Name
	res.ETag = fmt.Sprintf(`"r-%d"`, len(f.resources)+1)
	f.resources[res.ID.Key()] = res
	if r.Admin != nil {
		f.admins[res.ID.Key()] = r.Admin
	}
	var warnings []string
	if !r.NoCheck {
		warnings = []string{"the target speaks without TLS"}
	}
	return res, !exists, warnings, nil
}

func (f *fake) Resource(_ context.Context, id patchbay.ID) (patchbay.Resource, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r, ok := f.resources[id.Key()]; ok {
		return r, nil
	}
	return patchbay.Resource{}, notFound("resource " + id.Name())
}

func (f *fake) Resources(_ context.Context, scope patchbay.ID, after string, limit int) ([]patchbay.Resource, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys, next := paged(f.resources, func(key string) bool { return strings.HasPrefix(key, scope.Key()) }, after, limit)
	var page []patchbay.Resource
	for _, key := range keys {
		page = append(page, f.resources[key])
	}
	return page, next, nil
}

func (f *fake) CheckHost(ctx context.Context, id patchbay.ID, _ connector.Caller) ([]patchbay.Finding, error) {
	r, err := f.Resource(ctx, id)
	if err != nil {
		return nil, err
	}
	return []patchbay.Finding{
		{What: "sign in to " + r.ID.Name(), OK: true},
		{What: "replace files as root", Problem: "sudo asks for a password", Fix: "visudo -f /etc/sudoers.d/patchbay"},
	}, nil
}

func (f *fake) Discover(_ context.Context, r connector.DiscoverRequest) ([]patchbay.Discovered, error) {
	if r.Driver != "containers" {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "there is no driver %q that looks for what runs", r.Driver)
	}
	return []patchbay.Discovered{
		{Name: "web", What: "container of the image shop/web:1", State: "running", ID: r.Group.Child("providers/Microsoft.App/containerApps", "web"), Driver: r.Driver, Endpoint: "web", Properties: r.Properties},
		{
			Name: "db", What: "container of the image postgres:16", State: "running", ID: r.Group.Child("providers/Microsoft.DBforPostgreSQL/flexibleServers", "db"), Driver: "postgres", Endpoint: "172.18.0.1:5432",
			Service: &patchbay.DiscoveredService{Kind: "postgresql", Title: "PostgreSQL", By: "image postgres", Addresses: []string{"172.18.0.1:5432"}, Credential: []string{"POSTGRES_PASSWORD"}, Needed: true},
		},
	}, nil
}

func (f *fake) Take(ctx context.Context, r connector.TakeRequest) (patchbay.Resource, bool, []string, error) {
	found, err := f.Discover(ctx, r.DiscoverRequest)
	if err != nil {
		return patchbay.Resource{}, false, nil, err
	}
	for _, d := range found {
		if d.Name == r.Name {
			id := d.ID
			if r.As != "" {
				id = r.Group.Child("providers/"+id.Type(), r.As)
			}
			return f.PutResource(ctx, connector.ResourceRequest{Resource: patchbay.Resource{ID: id, Driver: d.Driver, Endpoint: d.Endpoint}, Caller: r.Caller})
		}
	}
	return patchbay.Resource{}, false, nil, notFound("nothing that was found is called " + r.Name)
}

func (f *fake) DeleteResource(_ context.Context, id patchbay.ID, ifMatch string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.resources[id.Key()]
	if !ok {
		return notFound("resource " + id.Name())
	}
	if ifMatch != "" && ifMatch != "*" && ifMatch != r.ETag {
		return patchbay.Errorf(patchbay.PreconditionFailed, "the resource changed")
	}
	for _, k := range f.connections {
		if k.Source.Equal(id) {
			return patchbay.Errorf(patchbay.Conflict, "the connection %s has it as its source", k.Name)
		}
	}
	delete(f.resources, id.Key())
	return nil
}

func (f *fake) Subscriptions(context.Context) ([]patchbay.Subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return nil, f.failing
	}
	return append([]patchbay.Subscription{{ID: testSub, TenantID: testTenant, DisplayName: "default"}}, f.subs...), nil
}

func (f *fake) PutSubscription(_ context.Context, sub patchbay.Subscription) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.ContainsFunc(f.tenants, func(t patchbay.Tenant) bool { return t.ID == sub.TenantID }) {
		return notFound("tenant " + sub.TenantID)
	}
	f.subs = append(slices.DeleteFunc(f.subs, func(old patchbay.Subscription) bool { return old.ID == sub.ID }), sub)
	return nil
}

func (f *fake) Tenants(context.Context) ([]patchbay.Tenant, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tenants), nil
}

func (f *fake) PutTenant(ctx context.Context, t patchbay.Tenant) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = patchbay.ActOf(ctx).Tenants
	f.tenants = append(slices.DeleteFunc(f.tenants, func(old patchbay.Tenant) bool { return old.ID == t.ID }), t)
	return nil
}

func (f *fake) PutDryrun(_ context.Context, r connector.DryrunRequest) (patchbay.Dryrun, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, _, ok := r.ID.DryrunSource(); !ok {
		return patchbay.Dryrun{}, false, patchbay.Errorf(patchbay.InvalidResourceID, "not a dryrun")
	}
	old, exists := f.dryruns[r.ID.Key()]
	if r.IfMatch != "" && (!exists || r.IfMatch != "*" && r.IfMatch != old.ETag) {
		return patchbay.Dryrun{}, false, patchbay.Errorf(patchbay.PreconditionFailed, "the dryrun changed")
	}
	now := f.tick()
	d := patchbay.Dryrun{
		ID: r.ID, Spec: copySpec(r.Spec), State: patchbay.Succeeded, ETag: fmt.Sprintf(`"d-%d"`, now.Unix()),
		Missing: []patchbay.MissingRights{{Scope: testPG, Actions: []string{connector.ActionConnect}, Role: "Service Connector Contributor"}},
		Steps: []patchbay.DryrunPreview{{
			Name: "settings", Kind: "configConnection", Description: "write 1 setting to web", Action: "write settings", Scope: testWeb,
		}},
		Created: now, CreatedBy: r.Caller.Name, Modified: now, ModifiedBy: r.Caller.Name,
	}
	if exists {
		d.ID, d.Created, d.CreatedBy = old.ID, old.Created, old.CreatedBy
	}
	f.dryruns[r.ID.Key()] = d
	return d, !exists, nil
}

func (f *fake) Dryrun(_ context.Context, id patchbay.ID) (patchbay.Dryrun, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d, ok := f.dryruns[id.Key()]; ok {
		return d, nil
	}
	return patchbay.Dryrun{}, notFound("dryrun " + id.Name())
}

func (f *fake) Dryruns(_ context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Dryrun, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys, next := paged(f.dryruns, func(key string) bool {
		of, _, _ := patchbay.ID(key).DryrunSource()
		return of.Equal(source)
	}, after, limit)
	var page []patchbay.Dryrun
	for _, key := range keys {
		page = append(page, f.dryruns[key])
	}
	return page, next, nil
}

func (f *fake) DeleteDryrun(_ context.Context, id patchbay.ID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.dryruns[id.Key()]; !ok {
		return notFound("dryrun " + id.Name())
	}
	delete(f.dryruns, id.Key())
	return nil
}

func (f *fake) ResourceGroups(_ context.Context, subscription string) ([]patchbay.ResourceGroup, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys, _ := paged(f.groups, func(key string) bool { return strings.EqualFold(f.groups[key].ID.Subscription(), subscription) }, "", 1000)
	var list []patchbay.ResourceGroup
	for _, key := range keys {
		list = append(list, f.groups[key])
	}
	return list, nil
}

func (f *fake) ResourceGroup(_ context.Context, id patchbay.ID) (patchbay.ResourceGroup, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g, ok := f.groups[id.Key()]; ok {
		return g, nil
	}
	return patchbay.ResourceGroup{}, notFound("resource group " + id.Name())
}

func (f *fake) PutResourceGroup(_ context.Context, g patchbay.ResourceGroup) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.groups[g.ID.Key()] = g
	return nil
}

func (f *fake) UpdateResourceGroup(_ context.Context, g patchbay.ResourceGroup) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.groups[g.ID.Key()]; !ok {
		return notFound("resource group " + g.ID.Name())
	}
	f.groups[g.ID.Key()] = g
	return nil
}

func (f *fake) DeleteResourceGroup(_ context.Context, id patchbay.ID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.groups[id.Key()]; !ok {
		return notFound("resource group " + id.Name())
	}
	delete(f.groups, id.Key())
	return nil
}

func (f *fake) Process(_ context.Context, source patchbay.ID, _ connector.Caller) (map[string]patchbay.Secret, error) {
	if !source.Equal(testWeb) {
		return nil, notFound("source " + source.Name())
	}
	return map[string]patchbay.Secret{"AZURE_POSTGRESQL_CONNECTIONSTRING": patchbay.NewSecret(connectionString), "PORT": patchbay.NewSecret("8080")}, nil
}
