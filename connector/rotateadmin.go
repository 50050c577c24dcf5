package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// The steps of a replacement of an administrator's credential, besides plan and verify.
// They are stored in plans: never rename one.
const (
	stepAdmin  = "credential"
	stepRecord = "record"
)

// actionResource is at the resource that is registered or changed.
const actionResource = "Patchbay.Connector/resources/write"

// whatAdmin is what a leftover is called when nobody knows yet which credential of an
// administrator is the one.
const whatAdmin = "the administrator's credential"

// adminInput is what a replacement is submitted with.
type adminInput struct {
	For []patchbay.Subject `json:"for"` // whom it acts for
}

// adminPlan has both credentials, from before the product is told until the record has
// the one that it takes. It is stored sealed.
type adminPlan struct {
	// Resource is what was registered when it was planned: where, and how, the product is
	// told. Its credential is Old.
	Resource patchbay.Resource `json:"resource"`
	Old      map[string]string `json:"old"`
	Next     map[string]string `json:"next"`
}

// rotateAdminWorkflow replaces the credential that a target is administered with.
//
//	plan → credential → verify (pivot) → record
//
// Its undo has the product take the old one again. What can't be told apart now, because
// neither signs in or nobody answers, is parked, with both.
func (s *Service) rotateAdminWorkflow() saga.Workflow {
	return saga.Workflow{Kind: patchbay.OpRotateAdmin, Finish: s.finishRotateAdmin, Steps: []saga.Step{
		{Name: stepPlan, Do: s.planAdmin},
		{Name: stepAdmin, Where: saga.OnTarget, Do: s.rotateAdmin, Undo: s.undoAdmin, Park: s.parkAdmin},
		{Name: stepVerify, Kind: saga.Pivot, Do: s.verifyAdmin},
		{Name: stepRecord, Kind: saga.Retriable, Do: s.recordAdmin, Park: s.parkAdmin},
	}}
}

// RotateAdmin implements [API].
func (s *Service) RotateAdmin(ctx context.Context, r RotateAdminRequest) (patchbay.Operation, error) {
	res, err := s.records.Resource(ctx, r.ID)
	if err != nil {
		return patchbay.Operation{}, err
	}
	if err := saga.MatchETag(res.ID, r.IfMatch, res.ETag, true); err != nil {
		return patchbay.Operation{}, err
	}
	admin, err := s.rotatable(res)
	if err != nil {
		return patchbay.Operation{}, err
	}
	if err := s.nobodySignsInAs(ctx, r.Caller, res, admin); err != nil {
		return patchbay.Operation{}, err
	}
	warnings, err := s.sameAdmin(ctx, r.Caller, res, admin)
	if err != nil {
		return patchbay.Operation{}, err
	}
	in := adminInput{For: r.Caller.Subjects}
	if len(in.For) == 0 {
		in.For = []patchbay.Subject{{Name: r.Caller.Name}}
	}
	input, err := json.Marshal(in)
	if err != nil {
		return patchbay.Operation{}, patchbay.Errorf(patchbay.Internal, "store the request: %w", err)
	}
	act := patchbay.ActOf(ctx)
	if act.Action == "" { // nobody's request: a caller in this process
		act.Caller, act.Action = r.Caller.Name, string(patchbay.OpRotateAdmin)
	}
	if act, err = s.seenBy(ctx, act, res.ID); err != nil {
		return patchbay.Operation{}, err
	}
	op, err := s.engine.Submit(ctx, saga.Submission{
		ID: uuid.NewString(), RequestHash: s.keys.MAC([]byte(string(patchbay.OpRotateAdmin) + " " + res.ID.Key())), Kind: patchbay.OpRotateAdmin,
		Connection: res.ID, Source: res.ID, Target: res.ID, Share: s.share(ctx, res.ID, res.ID, ""),
		Plan: []string{stepPlan, stepAdmin, stepVerify, stepRecord}, Input: input, By: r.Caller.Name, Act: act,
		Begin: saga.Commit{Message: strings.Join(warnings, "; ")}, Needs: []patchbay.ID{res.ID},
	})
	if patchbay.CodeOf(err) != patchbay.OperationInProgress {
		return op, err
	}
	// Whoever asks for it while it is done has asked for this one.
	return s.records.Operation(ctx, patchbay.AsError(err).Subject)
}

// rotatable is the admin credential of r, if its driver can replace it.
func (s *Service) rotatable(r patchbay.Resource) (driver.Secrets, error) {
	d, target := s.catalog.Targets[r.Driver]
	switch {
	case !target || !d.Administers():
		return nil, patchbay.Errorf(patchbay.NotSupported, "%s is not administered by Patchbay, which has no administrator's credential of it to replace", r.ID.Name())
	case !d.Logins.RotatesAdmin:
		return nil, patchbay.Errorf(patchbay.NotSupported, "the driver %s can't replace the credential of its administrator", d.Name).
			WithFix("replace it by hand, and register %s again with the new one; why: patchbay driver show %s", r.ID.Name(), d.Name)
	}
	admin, err := s.openAdmin(r)
	if err == nil && len(admin) == 0 {
		err = patchbay.Errorf(patchbay.InvalidArgument, "%s was registered without an administrator's credential", r.ID.Name()).
			WithFix("register it again with one")
	}
	return admin, err
}

// nobodySignsInAs refuses while a connection of the target was given its administrator's
// own login: its application would be refused from then on.
func (s *Service) nobodySignsInAs(ctx context.Context, who Caller, target patchbay.Resource, admin driver.Secrets) error {
	return s.eachOn(ctx, target.ID, func(c patchbay.Connection) error {
		held, err := s.openHolding(c)
		if err != nil {
			return err
		}
		name := admin["username"].Reveal()
		if held.whose() != loginGiven || name == "" || held.Credential.Public["username"] != name {
			return nil
		}
		busy := patchbay.Errorf(patchbay.Conflict, "a connection of %s signs in with its administrator's own login, and would be refused", target.ID.Name()).
			WithFix("give every application a login of its own first")
		if who.allow(ctx, actionReadConnection(c.ID), c.ID) == nil {
			busy.Message = fmt.Sprintf("the connection %s signs in with the administrator's own login, and would be refused", c.Name)
			busy.Fix = fmt.Sprintf("make it anew without a login, and Patchbay makes one of its own: patchbay connection delete %s", onCommandLine(c))
		}
		return busy
	})
}

// actionReadConnection is what lets somebody know of a connection.
func actionReadConnection(id patchbay.ID) string {
	if id.IsLocal() {
		return "Microsoft.ServiceLinker/locations/connectors/read"
	}
	return "Microsoft.ServiceLinker/linkers/read"
}

// sameAdmin warns of other resources with the same administrator, as far as the caller
// may know of them: what is stored of those will be wrong.
func (s *Service) sameAdmin(ctx context.Context, who Caller, r patchbay.Resource, admin driver.Secrets) (warnings []string, err error) {
	const most = 5
	var names []string
	hidden := 0
	err = s.eachResource(ctx, func(other patchbay.Resource) error {
		if other.ID.Equal(r.ID) || len(other.Admin) == 0 {
			return nil
		}
		theirs, err := s.openAdmin(other)
		if err != nil {
			return err
		}
		if !s.alike(r, other, admin, theirs) {
			return nil
		}
		if who.allow(ctx, actionReadResource, other.ID) != nil {
			hidden++
			return nil //nolint:nilerr // who may not know of it is not told
		}
		names = append(names, other.ID.Name())
		return nil
	})
	if hidden > 0 {
		s.log.WarnContext(ctx, "resources that the caller may not read have the same administrator, and their stored credential will be wrong", "resource", r.ID, "others", hidden)
	}
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d more", len(names)-most))
	}
	if len(names) > 0 {
		warnings = append(warnings, fmt.Sprintf("the same administrator is registered for %s, where the stored credential is the old one: register it again there", strings.Join(names, ", ")))
	}
	return warnings, err
}

// alike reports whether two resources are administered as one: they are one place with
// one administrator, or have a secret in common.
func (s *Service) alike(a, b patchbay.Resource, admin, theirs driver.Secrets) bool {
	if a.Driver == b.Driver && strings.EqualFold(a.Endpoint, b.Endpoint) && admin["username"] == theirs["username"] {
		return true
	}
	return slices.ContainsFunc(s.catalog.Targets[a.Driver].Admin, func(f patchbay.Field) bool {
		return f.Secret && !admin[f.Name].IsZero() && admin[f.Name] == theirs[f.Name] && admin["username"] == theirs["username"]
	})
}

func adminContext(op *saga.Op) string { return "plan " + op.ID + " admin" }

// adminPlanOf is what op planned; nil before it has.
func (s *Service) adminPlanOf(op *saga.Op) (*adminPlan, error) {
	output := op.Output(stepPlan)
	if len(output) == 0 {
		return nil, nil
	}
	p := &adminPlan{}
	return p, s.unseal(output, adminContext(op), p)
}

// mayRotateAdmin asks whether whom op acts for still may.
func (s *Service) mayRotateAdmin(ctx context.Context, op *saga.Op) error {
	var in adminInput
	if err := json.Unmarshal(op.Input, &in); err != nil {
		return patchbay.Errorf(patchbay.Internal, "the operation's input is not what this version wrote: %w", err)
	}
	return s.actsFor(op, input{For: in.For}).allow(ctx, actionResource, op.Connection)
}

// planAdmin makes the next credential. The product is asked whether it would take it,
// and not told yet.
func (s *Service) planAdmin(ctx context.Context, op *saga.Op) ([]byte, error) {
	if err := s.mayRotateAdmin(ctx, op); err != nil {
		return nil, err
	}
	r, err := s.records.Resource(ctx, op.Connection)
	if err != nil {
		return nil, err
	}
	admin, err := s.rotatable(r)
	if err != nil {
		return nil, err
	}
	p := adminPlan{Resource: r, Old: revealAll(admin)}
	err = s.asAdmin(ctx, r, p.Old, func(ctx context.Context, target *driver.GuardedTarget) error {
		if _, err := target.Inspect(ctx, ""); err != nil {
			return err
		}
		next, err := target.NewAdmin(ctx)
		p.Next = revealAll(next)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.seal(p, adminContext(op))
}

// asAdmin opens a target with a credential, through connections of its own, and closes it
// again.
func (s *Service) asAdmin(ctx context.Context, r patchbay.Resource, admin map[string]string, do func(context.Context, *driver.GuardedTarget) error) error {
	target, err := s.guardTarget(ctx, r, concealAll(admin), s.dialer, nil)
	if err != nil {
		return err
	}
	defer func() { _ = target.Close() }()
	return do(ctx, target)
}

// letIn reports whether a target lets a credential in; an error, that this is not known.
func (s *Service) letIn(ctx context.Context, r patchbay.Resource, admin map[string]string) (bool, error) {
	err := s.asAdmin(ctx, r, admin, func(ctx context.Context, target *driver.GuardedTarget) error {
		_, err := target.Inspect(ctx, "")
		return err
	})
	switch patchbay.CodeOf(err) {
	case "", patchbay.AdminRights, patchbay.ChildMissing, patchbay.NotSupported:
		return true, nil // it was let in; what it may do there is another matter
	case patchbay.AdminRefused:
		return false, nil
	}
	return false, err
}

// rotateAdmin has the product take the next credential. It may have taken it already, in
// an attempt whose end nobody saw.
func (s *Service) rotateAdmin(ctx context.Context, op *saga.Op) ([]byte, error) {
	if err := s.mayRotateAdmin(ctx, op); err != nil {
		return nil, err
	}
	p, err := s.adminPlanOf(op)
	if err != nil {
		return nil, err
	}
	err = s.tellAdmin(ctx, *p, p.Old, p.Next)
	if patchbay.CodeOf(err) != patchbay.AdminRefused {
		return nil, err
	}
	in, lookErr := s.letIn(ctx, p.Resource, p.Next)
	switch {
	case lookErr != nil:
		return nil, lookErr
	case !in:
		return nil, err
	}
	return nil, nil
}

// tellAdmin signs in as one and has the product take the other.
func (s *Service) tellAdmin(ctx context.Context, p adminPlan, as, next map[string]string) error {
	return s.asAdmin(ctx, p.Resource, as, func(ctx context.Context, target *driver.GuardedTarget) error {
		return target.RotateAdmin(ctx, concealAll(next))
	})
}

// verifyAdmin signs in with the next credential.
func (s *Service) verifyAdmin(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.adminPlanOf(op)
	if err != nil {
		return nil, err
	}
	in, err := s.letIn(ctx, p.Resource, p.Next)
	if err == nil && !in {
		err = patchbay.Errorf(patchbay.AdminRefused, "%s took the administrator's next credential, and does not let it in", p.Resource.ID.Name())
	}
	return nil, err
}

// recordAdmin puts the next credential into the record.
func (s *Service) recordAdmin(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.adminPlanOf(op)
	if err != nil {
		return nil, err
	}
	return nil, s.keepAdmin(onBehalf(ctx, op), *p, p.Next, op.By)
}

// onBehalf is ctx on behalf of who asked for op.
func onBehalf(ctx context.Context, op *saga.Op) context.Context {
	if op.Act != nil {
		return patchbay.WithAct(ctx, *op.Act)
	}
	return ctx
}

// keepAdmin makes admin, which the product takes, the credential on record. What somebody
// else registered meanwhile stays when it is let in, or is another place's.
func (s *Service) keepAdmin(ctx context.Context, p adminPlan, admin map[string]string, by string) error {
	_, err := unlessOvertaken("", func() (struct{}, error) { return struct{}{}, s.keepAdminOnce(ctx, p, admin, by) })
	return err
}

func (s *Service) keepAdminOnce(ctx context.Context, p adminPlan, admin map[string]string, by string) error {
	r, err := s.records.Resource(ctx, p.Resource.ID)
	if err != nil {
		return absentIsSuccess(err) // somebody forgot it
	}
	stored, err := s.openAdmin(r)
	if err != nil {
		return err
	}
	now := revealAll(stored)
	if maps.Equal(now, admin) {
		return nil
	}
	if theirs := !maps.Equal(now, p.Old) && !maps.Equal(now, p.Next); theirs || !samePlace(r, p.Resource) {
		in, err := s.letIn(ctx, r, now)
		if in || err != nil {
			return err
		}
		if in, err = s.letIn(ctx, r, admin); !in || err != nil {
			return err // it is of nobody that we know
		}
	}
	found := r.ETag
	if r.Admin, err = s.seal(admin, "resource "+r.ID.Key()); err != nil {
		return err
	}
	r.ETag, r.Modified, r.ModifiedBy = newETag(), s.now().UTC(), by
	if err := s.records.PutResource(ctx, r, found); err != nil {
		return err
	}
	s.targets.drop(r.ID)
	return nil
}

// undoAdmin has the product take the old credential again, if it can be had to;
// otherwise the next one stays, in the record too. It tells the product in any case: what
// an earlier attempt left under way must not come true afterwards.
func (s *Service) undoAdmin(ctx context.Context, op *saga.Op) error {
	p, err := s.adminPlanOf(op)
	if p == nil || err != nil {
		return err
	}
	ctx = onBehalf(ctx, op)
	is, err := s.whichAdmin(ctx, *p)
	if saga.Asked(err) && s.recordLetIn(ctx, p.Resource.ID) {
		return nil // somebody registered what is right
	}
	if err != nil {
		return err
	}
	switch err := s.tellAdmin(ctx, *p, is, p.Old); {
	case err == nil:
		is = p.Old
	case patchbay.IsTransient(err):
		return err
	}
	in, err := s.letIn(ctx, p.Resource, is)
	if err != nil {
		return err
	}
	if !in { // the other one, then, or none
		if is, err = s.whichAdmin(ctx, *p); err != nil {
			return err
		}
	}
	return s.keepAdmin(ctx, *p, is, op.By)
}

// recordLetIn reports whether what is on record is let in.
func (s *Service) recordLetIn(ctx context.Context, id patchbay.ID) bool {
	r, err := s.records.Resource(ctx, id)
	if err != nil {
		return patchbay.CodeOf(err) == patchbay.ResourceNotFound // then there is nothing to be right
	}
	stored, err := s.openAdmin(r)
	if err != nil {
		return false
	}
	in, err := s.letIn(ctx, r, revealAll(stored))
	return in && err == nil
}

// whichAdmin is the one of the two that the product lets in. None is [saga.Leave]d:
// trying again and again locks an administrator out in some products.
func (s *Service) whichAdmin(ctx context.Context, p adminPlan) (map[string]string, error) {
	for _, admin := range []map[string]string{p.Old, p.Next} {
		in, err := s.letIn(ctx, p.Resource, admin)
		if err != nil {
			return nil, err
		}
		if in {
			return admin, nil
		}
	}
	return nil, saga.Leave(neitherLetIn(p.Resource))
}

func neitherLetIn(r patchbay.Resource) error {
	return patchbay.Errorf(patchbay.AdminRefused, "%s lets neither the old nor the new credential of its administrator in; Patchbay keeps both, and tries them again", r.ID.Name()).
		WithFix("set the administrator's password by hand, and register %s again with it", r.ID.Name())
}

// parkAdmin leaves both credentials for a later look.
func (s *Service) parkAdmin(op *saga.Op, cause error) (patchbay.Leftover, error) {
	p, err := s.adminPlanOf(op)
	if p == nil || err != nil {
		return patchbay.Leftover{}, err
	}
	return s.newLeftover(op, stepAdmin, p.Resource.ID, whatAdmin, cause, work{Admin: p})
}

// settleAdmin finds out which credential the product takes, and puts that into the
// record. What somebody registered since is tried first.
func (s *Service) settleAdmin(ctx context.Context, l patchbay.Leftover, p adminPlan) error {
	act, err := s.seenBy(ctx, patchbay.ActOf(ctx), l.Resource)
	if err != nil {
		return err
	}
	ctx = patchbay.WithAct(ctx, act)
	r, err := s.records.Resource(ctx, p.Resource.ID)
	if err != nil {
		return absentIsSuccess(err)
	}
	stored, err := s.openAdmin(r)
	if err != nil {
		return err
	}
	if in, err := s.letIn(ctx, r, revealAll(stored)); in || err != nil {
		return err
	}
	for _, admin := range []map[string]string{p.Next, p.Old} {
		if in, err := s.letIn(ctx, p.Resource, admin); err != nil {
			return err
		} else if in {
			return s.keepAdmin(ctx, p, admin, r.ModifiedBy)
		}
	}
	return neitherLetIn(p.Resource)
}

// finishRotateAdmin repeats what was warned of, and says when an operation that failed
// has replaced the credential nevertheless.
func (s *Service) finishRotateAdmin(ctx context.Context, op *saga.Op, outcome patchbay.OperationState) (saga.Commit, error) {
	if outcome == patchbay.Done {
		return saga.Commit{}, nil
	}
	p, err := s.adminPlanOf(op)
	if p == nil || err != nil {
		return saga.Commit{}, err
	}
	r, err := s.records.Resource(ctx, p.Resource.ID)
	if err != nil {
		return saga.Commit{}, absentIsSuccess(err)
	}
	stored, err := s.openAdmin(r)
	if err == nil && maps.Equal(revealAll(stored), p.Next) {
		return saga.Commit{Message: "the new credential is in place all the same, and on record: it could not be taken back"}, nil
	}
	return saga.Commit{}, err
}

// adminChanges is the operation that replaces a resource's admin credential now, if there
// is one.
func (s *Service) adminChanges(ctx context.Context, id patchbay.ID) (op patchbay.Operation, ok bool, err error) {
	page, _, err := s.records.Operations(ctx, store.OperationFilter{Connection: id, Active: true}, "", 1)
	if err != nil || len(page) == 0 {
		return op, false, err
	}
	return page[0], page[0].Kind == patchbay.OpRotateAdmin, nil
}

// notWhileAdminChanges refuses what would have a stored credential go elsewhere, or be
// forgotten, while it is being replaced. Whoever brings another one may.
func (s *Service) notWhileAdminChanges(ctx context.Context, id patchbay.ID) error {
	op, changes, err := s.adminChanges(ctx, id)
	if err != nil || !changes {
		return err
	}
	busy := patchbay.Errorf(patchbay.OperationInProgress, "the credential of the administrator of %s is being replaced", id.Name()).
		WithFix("patchbay operation show %s", op.ID)
	busy.Subject = op.ID
	return busy
}

// replacedWait is how long a call that was refused waits for a replacement to end.
const replacedWait = 10 * time.Second

// replaced reports whether the credential that r was opened with is the one of before: a
// replacement has ended since, or ends while it is waited for.
func (s *Service) replaced(r patchbay.Resource) func(context.Context) bool {
	newer := func(ctx context.Context) bool {
		now, err := s.records.Resource(ctx, r.ID)
		return err == nil && !bytes.Equal(now.Admin, r.Admin)
	}
	return func(ctx context.Context) bool {
		if newer(ctx) {
			return true
		}
		op, changes, err := s.adminChanges(ctx, r.ID)
		if err != nil || !changes {
			return newer(ctx) // it may have ended in between
		}
		ctx, cancel := context.WithTimeout(ctx, replacedWait)
		defer cancel()
		for err == nil && !op.State.Ended() && ctx.Err() == nil {
			op, err = s.engine.Wait(ctx, op.ID, op.Version)
		}
		return true
	}
}
