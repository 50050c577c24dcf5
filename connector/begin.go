package connector

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// input is what an operation is submitted with.
type input struct {
	// Connection is the record as the operation found it, before it was marked
	// as changing: what is put back when the operation is undone. Zero for a
	// create.
	Connection patchbay.Connection `json:"connection"`
	Sealed     patchbay.Sealed     `json:"sealed,omitempty"` // Connection's
	Created    bool                `json:"created,omitempty"`
	// Want is the record as it should become.
	Want   patchbay.Connection `json:"want"`
	Rotate bool                `json:"rotate,omitempty"`
	// RevokeNow ends an old credential whether or not it has sessions.
	RevokeNow bool `json:"revokeNow,omitempty"`
	Fix       bool `json:"fix,omitempty"`
	// From is where a validation is tried from.
	From patchbay.Vantage `json:"from,omitempty"`
	// Kept says that no login was given with it: a given one is that of before.
	Kept bool `json:"kept,omitempty"`
	// For is whom it acts for; nil of one that a release before began.
	For []patchbay.Subject `json:"for,omitempty"`
}

// The names of steps. They are stored in plans: never rename one.
const (
	stepPlan     = "plan"
	stepOpen     = "open"
	stepLogin    = "principal"
	stepProbe    = "probe"
	stepSettings = "settings"
	stepRestart  = "restart"
	stepVerify   = "verify"
	stepRevoke   = "revoke"
	stepClose    = "close"
	stepRelease  = "release"
	stepValidate = "validate"
)

// Put implements [API].
func (s *Service) Put(ctx context.Context, r PutRequest) (Begun, error) {
	return s.Patch(ctx, r, nil)
}

// Patch implements [API].
func (s *Service) Patch(ctx context.Context, r PutRequest, merge func(*patchbay.Spec) error) (Begun, error) {
	return unlessOvertaken(r.IfMatch, func() (Begun, error) { return s.patch(ctx, r, merge) })
}

// unlessOvertaken begins again when the record, or what it needs, changed between
// reading it and beginning: what an operation goes back to must be what it found.
// Only a caller who named an ETag is told.
func unlessOvertaken[T any](ifMatch string, begin func() (T, error)) (T, error) {
	for try := 0; ; try++ {
		b, err := begin()
		if patchbay.CodeOf(err) != patchbay.PreconditionFailed || ifMatch != "" && ifMatch != "*" || try == 3 {
			return b, err
		}
	}
}

func (s *Service) patch(ctx context.Context, r PutRequest, merge func(*patchbay.Spec) error) (Begun, error) {
	old, err := s.records.Connection(ctx, r.ID)
	exists := err == nil
	if err != nil && (merge != nil || patchbay.CodeOf(err) != patchbay.ResourceNotFound) {
		return Begun{}, err
	}
	if !exists && r.IfMatch != "" {
		return Begun{}, patchbay.Errorf(patchbay.PreconditionFailed, "there is no connection %s that could match", r.ID.Name())
	}
	if merge != nil {
		r.Spec = cloneSpec(old.Spec)
		if err := merge(&r.Spec); err != nil {
			return Begun{}, err
		}
	}
	b, p, err := s.want(ctx, r, old, exists, refuse)
	if err != nil {
		return Begun{}, err
	}
	if err := s.checkLogin(ctx, p, b.in.Want.Spec, b.given); err != nil {
		return Begun{}, err
	}
	b.target, b.guarded = refOf(p).Target, opens(p, b.in.Want.Spec)
	return s.submit(ctx, b)
}

// want is what a request for a connection that is old, or not there, comes to. note
// is told of what is in the way, as a draft's.
func (s *Service) want(ctx context.Context, r PutRequest, old patchbay.Connection, exists bool, note func(error) error) (begin, parties, error) {
	spec := cloneSpec(r.Spec)
	p, err := s.newParties(ctx, r.Caller, r.ID, &spec)
	if err == nil {
		err = s.checkPublicAccess(ctx, p, spec)
	}
	switch {
	case p.sources.Part != "" && spec.Scope == "",
		// az says so with every update of a cluster's connection that names no namespace, and
		// Azure leaves it where it is (contract 3.3).
		exists && spec.Scope == "default" && strings.EqualFold(p.source.ID.Type(), clusterType):
		spec.Scope = old.Spec.Scope
	}
	p.scope = spec.Scope
	if err == nil && spec.Scope != old.Spec.Scope { // one that it has, an earlier release took
		err = checkScope(p, spec.Scope, old.Spec.Scope)
	}
	if err := note(err); err != nil {
		return begin{}, p, err
	}
	given := takeSecrets(&spec)
	in := input{Want: old, Created: !exists, Kept: given[givenValue] == ""}
	b := begin{kind: patchbay.OpUpdate, given: given, id: r.OperationID, ifMatch: r.IfMatch, caller: r.Caller}
	now := s.now().UTC()
	if exists {
		in.Connection, in.Sealed = old, old.Sealed
		err = s.keepGiven(old, spec, given)
	} else {
		b.kind = patchbay.OpCreate
		source, name, _ := r.ID.ConnectionSource()
		in.Want = patchbay.Connection{ID: r.ID, UID: newUID(), Source: source, Name: name, Created: now, CreatedBy: r.Caller.Name, CreatedByType: r.Caller.Type}
		err = s.roomForConnection(ctx, r.ID)
	}
	if err := note(err); err != nil {
		return begin{}, p, err
	}
	if err := note(givenWhole(p, old, spec, given)); err != nil {
		return begin{}, p, err
	}
	want := &in.Want
	want.Location = p.place()
	want.Spec, want.State = spec, patchbay.Accepted
	want.Modified, want.ModifiedBy, want.ModifiedByType = now, r.Caller.Name, r.Caller.Type
	b.in = in
	return b, p, nil
}

// checkLogin says at once, and not in the operation, what can't be a login of a
// target that makes none: it has no form for it, or none to hand out. To say so it
// reaches nothing.
func (s *Service) checkLogin(ctx context.Context, p parties, spec patchbay.Spec, given map[string]string) error {
	kind := loginOf(p, spec, given)
	if p.targets.Administers() || kind != loginGiven && kind != loginRegistered {
		return nil
	}
	target, done, err := s.openParty(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	if kind == loginGiven {
		_, err = target.Given(p.sub, spec.Auth.Name, patchbay.NewSecret(given[givenValue]))
	} else {
		_, err = target.Registered(p.sub)
	}
	return err
}

// givenWhole refuses a part of a login.
func givenWhole(p parties, old patchbay.Connection, spec patchbay.Spec, given map[string]string) error {
	if !authenticates(spec) {
		return nil
	}
	switch a := spec.Auth; {
	case a.Type == patchbay.AuthSecret && a.Name != "" && given[givenValue] == "" && old.Spec.Auth != nil && old.Spec.Auth.Name != "":
		// Its caller may have said it: az's update of a Kafka connection leaves the
		// secret out of the request.
		return patchbay.Errorf(patchbay.InvalidArgument, "the request has another login name, %q, and no secret for it; there are clients that were told one and leave it out of an update", clip(a.Name, 80)).
			WithFix("patchbay connection rotate %s --secret name=… secret=…; or delete the connection and make it anew", onCommandLine(old))
	case a.Type == patchbay.AuthSecret && a.Name != "" && given[givenValue] == "" && !p.targets.Administers():
		return patchbay.Errorf(patchbay.InvalidArgument, "a login name was given without its secret").
			WithFix("give both (--secret name=… secret=…)")
	case a.Type == patchbay.AuthSecret && a.Name != "" && given[givenValue] == "":
		return patchbay.Errorf(patchbay.InvalidArgument, "a login name was given without its secret").
			WithFix("give both (--secret name=… secret=…), or neither: then Patchbay makes a login of its own")
	case a.Type == patchbay.AuthSecret && p.endpoint && given[givenValue] == "":
		return patchbay.Errorf(patchbay.InvalidArgument, "a service that is not registered has no login to hand out").
			WithFix("give its login with the connection (--secret name=… secret=…), or register the service")
	case a.Type == patchbay.AuthSPSecret && given[givenSecret] == "":
		return patchbay.Errorf(patchbay.InvalidArgument, "a service principal was given without its secret").
			WithFix("give its clientId and its secret")
	}
	return nil
}

// keepGiven carries a stored secret over into an update that does not repeat
// it: a secret left out means keep. A secret is never sent to another target
// than the one that it was given for.
func (s *Service) keepGiven(old patchbay.Connection, spec patchbay.Spec, given map[string]string) error {
	was, is := old.Spec.Target, spec.Target
	if !sameLogin(old.Spec.Auth, spec.Auth) || was.Type != is.Type || !was.ID.Equal(is.ID) || was.Endpoint != is.Endpoint {
		return nil
	}
	h, err := s.openHolding(old)
	if err != nil {
		return err
	}
	for name, value := range h.Given {
		if given[name] == "" {
			given[name] = value
		}
	}
	return nil
}

// sameLogin reports whether both name the same given login.
func sameLogin(old, now *patchbay.Auth) bool {
	if old == nil || now == nil || old.Type != now.Type {
		return false
	}
	switch now.Type {
	case patchbay.AuthSecret:
		// Without either nothing says that a login was given: it is fetched, or
		// Patchbay makes its own.
		return old.Name == now.Name && (now.Name != "" || now.SecretInfo != nil)
	case patchbay.AuthSPSecret, patchbay.AuthSPCertificate:
		return strings.EqualFold(old.ClientID, now.ClientID)
	}
	return true
}

// Delete implements [API].
func (s *Service) Delete(ctx context.Context, id patchbay.ID, caller Caller, ifMatch string) (Begun, error) {
	return unlessOvertaken(ifMatch, func() (Begun, error) { return s.delete(ctx, id, caller, ifMatch) })
}

func (s *Service) delete(ctx context.Context, id patchbay.ID, caller Caller, ifMatch string) (Begun, error) {
	old, err := s.records.Connection(ctx, id)
	if err != nil {
		return Begun{}, err
	}
	want := old
	want.State = patchbay.Deleting
	want.Modified, want.ModifiedBy, want.ModifiedByType = s.now().UTC(), caller.Name, caller.Type
	h, err := s.openHolding(old)
	if err != nil {
		return Begun{}, err
	}
	return s.submit(ctx, begin{
		kind: patchbay.OpDelete, in: input{Connection: old, Sealed: old.Sealed, Want: want}, ifMatch: ifMatch, caller: caller, target: h.Target,
	})
}

// Rotate implements [API].
func (s *Service) Rotate(ctx context.Context, r RotateRequest) (Begun, error) {
	return unlessOvertaken(r.IfMatch, func() (Begun, error) { return s.rotate(ctx, r) })
}

func (s *Service) rotate(ctx context.Context, r RotateRequest) (Begun, error) {
	old, err := s.records.Connection(ctx, r.ID)
	if err != nil {
		return Begun{}, err
	}
	h, err := s.openHolding(old)
	if err != nil {
		return Begun{}, err
	}
	if !authenticates(old.Spec) {
		return Begun{}, patchbay.Errorf(patchbay.InvalidArgument, "%s has no credential that could be rotated", old.Name)
	}
	want := old
	want.Spec = cloneSpec(old.Spec)
	p, err := s.newParties(ctx, r.Caller, r.ID, &want.Spec)
	if err != nil {
		return Begun{}, err
	}
	want.State = patchbay.Accepted
	want.Modified, want.ModifiedBy, want.ModifiedByType = s.now().UTC(), r.Caller.Name, r.Caller.Type
	given, err := rotated(old, h, &want.Spec, r)
	if err != nil {
		return Begun{}, err
	}
	if err := s.checkLogin(ctx, p, want.Spec, given); err != nil {
		return Begun{}, err
	}
	in := input{Connection: old, Sealed: old.Sealed, Want: want, Rotate: true, RevokeNow: r.RevokeNow}
	return s.submit(ctx, begin{kind: patchbay.OpRotate, in: in, given: given, ifMatch: r.IfMatch, caller: r.Caller, target: refOf(p).Target})
}

// rotated is what was given for a connection, with the new secret in place of
// the old one.
func rotated(old patchbay.Connection, h holding, spec *patchbay.Spec, r RotateRequest) (map[string]string, error) {
	given := map[string]string{}
	maps.Copy(given, h.Given)
	switch whose := h.whose(); {
	case whose == loginIdentity && spec.Auth.Type != patchbay.AuthSPSecret:
		return nil, patchbay.Errorf(patchbay.NotSupported, "%s signs in as an identity, whose credential Patchbay neither has nor makes; rotate it where the identity is", old.Name)
	case whose == loginRegistered && !r.Secret.IsZero():
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the login of %s is the one that was registered with its target; leave the secret out", old.Name).
			WithFix("register the new one, then rotate: every connection that has it takes it anew")
	case whose != loginGiven && whose != loginIdentity && !r.Secret.IsZero():
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the login of %s is Patchbay's own, which makes the new one itself; leave the secret out", old.Name)
	case (whose == loginGiven || whose == loginIdentity) && r.Secret.IsZero():
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the login of %s was given, so its new secret must be given too", old.Name).
			WithFix("patchbay connection rotate %s --secret name=… secret=…", onCommandLine(old))
	case whose == loginIdentity:
		given[givenSecret] = r.Secret.Reveal()
	case whose == loginGiven:
		given[givenValue] = r.Secret.Reveal()
		if r.Name != "" {
			spec.Auth.Name = r.Name
		}
	}
	return given, nil
}

// Validate implements [API].
func (s *Service) Validate(ctx context.Context, r ValidateRequest) (Begun, error) {
	switch {
	case r.From != patchbay.FromSource && r.From != patchbay.FromControlPlane:
		return Begun{}, patchbay.Errorf(patchbay.InvalidArgument, "a validation is not tried from %q", clip(string(r.From), 60)).
			WithFix("name %s, or leave it out: then it is tried from where the application runs", patchbay.FromControlPlane)
	case r.From != patchbay.FromSource && r.Fix:
		return Begun{}, patchbay.Errorf(patchbay.InvalidArgument, "what is mended is tried from where the application runs, and not from %s", r.From).
			WithFix("leave one of the two out")
	}
	old, err := s.records.Connection(ctx, r.ID)
	if err != nil {
		return Begun{}, err
	}
	if r.Fix {
		return s.mend(ctx, old, r.Caller, "")
	}
	h, err := s.openHolding(old)
	if err != nil {
		return Begun{}, err
	}
	return s.submit(ctx, begin{
		kind: patchbay.OpValidate, in: input{Connection: old, Sealed: old.Sealed, Want: old, From: r.From}, caller: r.Caller, target: h.Target,
	})
}

// mend begins a validation that puts back what can be, as an operation of that id; ""
// mints one.
func (s *Service) mend(ctx context.Context, c patchbay.Connection, by Caller, id string) (Begun, error) {
	h, err := s.openHolding(c)
	if err != nil {
		return Begun{}, err
	}
	if err := s.mayRepair(ctx, by, c, h.ref); err != nil {
		return Begun{}, err
	}
	guarded, err := s.reopens(ctx, c, h)
	if err != nil {
		return Begun{}, err
	}
	return s.submit(ctx, begin{
		kind: patchbay.OpValidate, in: input{Connection: c, Sealed: c.Sealed, Want: c, Fix: true}, caller: by, target: h.Target, id: id, guarded: guarded,
	})
}

// steps is the plan of an operation, as far as it is known before the world is
// read: step names, stored with it. keeps says that the source keeps what a change
// replaces, guarded that a guard on the way to the target is to be opened.
func steps(kind patchbay.OperationKind, in input, keeps, guarded bool) []string {
	spec := in.Want.Spec
	configured := !in.Want.ID.IsLocal() && (configures(spec) || len(in.Connection.Keys) > 0)
	opened := len(in.Connection.Guards) > 0
	var plan []string
	switch {
	case kind == patchbay.OpDelete:
		plan = []string{stepPlan}
		if configured = len(in.Connection.Keys) > 0; configured {
			plan = append(plan, stepSettings, stepRestart)
		}
		if in.Connection.Login != "" {
			plan = append(plan, stepRevoke)
		}
	case kind == patchbay.OpValidate && !in.Fix:
		return []string{stepValidate}
	default:
		plan = []string{stepPlan}
		if guarded && !optsOutOfNetwork(spec) || opened && (kind == patchbay.OpRotate || kind == patchbay.OpValidate) {
			plan = append(plan, stepOpen)
		}
		if authenticates(spec) {
			plan = append(plan, stepLogin, stepProbe)
		}
		if configured {
			plan = append(plan, stepSettings, stepRestart)
		}
		switch {
		case kind == patchbay.OpValidate:
			plan = append(plan, stepValidate)
		case in.Connection.Login != "":
			plan = append(plan, stepVerify, stepRevoke)
		default:
			plan = append(plan, stepVerify)
		}
	}
	if opened {
		plan = append(plan, stepClose)
	}
	if configured && keeps {
		plan = append(plan, stepRelease)
	}
	return plan
}

// driverOf is the driver of a source; zero when that is gone, and of a local
// connection.
func (s *Service) driverOf(ctx context.Context, source patchbay.ID) (driver.SourceDriver, error) {
	r, err := s.records.Resource(ctx, source)
	return s.catalog.Sources[r.Driver], absentIsSuccess(err)
}

// begin is an operation that is to be submitted.
type begin struct {
	kind    patchbay.OperationKind
	in      input
	given   map[string]string // the secrets
	id      string            // the caller's; "" mints one
	ifMatch string
	caller  Caller
	target  patchbay.ID // the registered one; "" when there is none
	guarded bool        // a guard on the way to it is to be opened
}

func (s *Service) submit(ctx context.Context, b begin) (Begun, error) {
	kind, in, opID := b.kind, b.in, b.id
	if opID == "" {
		opID = uuid.NewString()
	}
	hash, err := s.requestHash(kind, in, b.given)
	if err != nil {
		return Begun{}, err
	}
	in.Want.Operation, in.Want.ETag, in.For = opID, newETag(), b.caller.Subjects
	if len(in.For) == 0 {
		in.For = []patchbay.Subject{{Name: b.caller.Name}} // in no tenant: only a release before kept nobody
	}
	body, err := json.Marshal(in)
	if err != nil {
		return Begun{}, patchbay.Errorf(patchbay.Internal, "store the request: %w", err)
	}
	sealed, err := s.seal(b.given, "operation "+opID)
	if err != nil {
		return Begun{}, err
	}
	act, err := s.act(ctx, b)
	if err != nil {
		return Begun{}, err
	}
	d, err := s.driverOf(ctx, runsOn(in.Want))
	if err != nil {
		return Begun{}, err
	}
	sub := saga.Submission{
		ID: opID, RequestHash: hash, Kind: kind, Share: s.share(ctx, runsOn(in.Want), b.target, in.Want.Spec.Target.Endpoint),
		Connection: in.Want.ID, Source: runsOn(in.Want), Target: b.target,
		Plan: steps(kind, in, d.Keeps, b.guarded), Input: body, Sealed: sealed, By: b.caller.Name, Act: act,
		Silent: kind == patchbay.OpValidate && !in.Fix,
	}
	if kind == patchbay.OpDelete && in.Connection.Login == "" {
		sub.Target = "" // nothing is done there, so it need not have room
	}
	shown := in.Want
	if kind == patchbay.OpValidate {
		shown = in.Connection
	} else {
		record := in.Want
		record.Sealed = in.Sealed // what it holds until the operation succeeds
		sub.Begin.PutConnection = &record
		// The record must still be the one that was read, or still not be there:
		// what is put back when this fails was decided from it.
		sub.IfMatch = in.Connection.ETag
		if in.Created {
			sub.IfMatch = saga.Absent
			sub.Room = s.rooms(in.Want.ID)
		}
	}
	if kind != patchbay.OpValidate && kind != patchbay.OpDelete {
		// Both ends must be there in the write: what comes later under their names is
		// another's.
		sub.Needs = []patchbay.ID{store.HomeOf(in.Want.ID)}
		if b.target != "" {
			sub.Needs = append(sub.Needs, b.target)
		}
	}
	if err := saga.MatchETag(in.Want.ID, b.ifMatch, in.Connection.ETag, !in.Created); err != nil {
		return Begun{}, err
	}
	if kind != patchbay.OpValidate && changing(in.Connection) {
		return s.sameOrBusy(ctx, sub, in.Connection)
	}
	op, err := s.engine.Submit(ctx, sub)
	if err == nil {
		return Begun{Connection: shown, Operation: op, Created: in.Created}, nil
	}
	code := patchbay.CodeOf(err)
	if kind != patchbay.OpValidate && (code == patchbay.OperationInProgress || code == patchbay.PreconditionFailed) {
		// Another request came in between.
		switch cur, getErr := s.records.Connection(ctx, in.Want.ID); {
		case getErr != nil:
		case changing(cur):
			return s.sameOrBusy(ctx, sub, cur)
		case cur.ETag != in.Connection.ETag: // and has ended: this one begins from what it made
			err = patchbay.Errorf(patchbay.PreconditionFailed, "the connection %s was changed meanwhile", cur.Name)
		}
	}
	return Begun{}, err
}

// changing reports whether an operation that changes c waits or runs: only a
// connection at rest is a state to go back to.
func changing(c patchbay.Connection) bool {
	return c.State == patchbay.Accepted || c.State == patchbay.Deleting
}

// sameOrBusy answers a request for a connection that is changing: with the
// running operation when the same request began it, else with 409.
func (s *Service) sameOrBusy(ctx context.Context, sub saga.Submission, cur patchbay.Connection) (Begun, error) {
	sub.ID, sub.IfMatch = cur.Operation, ""
	op, err := s.engine.Submit(ctx, sub) // a duplicate id: the running one, or a conflict
	if err == nil {
		return Begun{Connection: cur, Operation: op}, nil
	}
	if code := patchbay.CodeOf(err); code != patchbay.Conflict && code != patchbay.OperationInProgress {
		return Begun{}, err
	}
	busy := patchbay.Errorf(patchbay.OperationInProgress, "another operation of the connection %s has not ended (%s)", cur.Name, cur.Operation).
		WithFix("patchbay operation show %s", cur.Operation)
	busy.Subject = cur.Operation
	return Begun{}, busy
}

// requestHash tells the same request from another. It covers what was asked,
// not what it was asked of, so a repeated create matches although the
// connection is there now.
func (s *Service) requestHash(kind patchbay.OperationKind, in input, given map[string]string) ([]byte, error) {
	if kind == patchbay.OpCreate {
		kind = patchbay.OpUpdate
	}
	body, err := json.Marshal(struct {
		Kind      patchbay.OperationKind
		ID        string
		Spec      patchbay.Spec
		RevokeNow bool
		Fix       bool
		Given     map[string]string
	}{kind, in.Want.ID.Key(), in.Want.Spec, in.RevokeNow, in.Fix, given})
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "hash the request: %w", err)
	}
	return s.keys.MAC(body), nil
}
