package connector

import (
	"context"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
)

// Rights says whether somebody may still do what it once asked for; package
// access has it. An operation waits, is resumed after a restart, is tried again:
// by then a role may be taken away.
type Rights interface {
	// Still is nil when one of who may do the action at the scope as things are
	// now, and its tokens of then have not ended. Otherwise it is Forbidden, and
	// says who may not do what, and where.
	Still(ctx context.Context, who []patchbay.Subject, action string, scope patchbay.ID) error
}

// actionOf is the right that an operation of that kind takes at its connection.
// A validation's is that of its fix: one that only looks has no step that asks.
func actionOf(kind patchbay.OperationKind, connection patchbay.ID) string {
	connections, own := "Microsoft.ServiceLinker/linkers/", "Patchbay.Connector/linkers/"
	if connection.IsLocal() {
		connections, own = "Microsoft.ServiceLinker/locations/connectors/", "Patchbay.Connector/connectors/"
	}
	switch kind {
	case patchbay.OpDelete:
		return connections + "delete"
	case patchbay.OpRotate:
		return own + "rotate/action"
	}
	return connections + "write"
}

// mayRepair asks for what it takes to put right what c holds: it is written
// anew, and a login is made of it, so it takes what an update does.
func (s *Service) mayRepair(ctx context.Context, who Caller, c patchbay.Connection, held ref) error {
	if err := who.allow(ctx, actionOf(patchbay.OpUpdate, c.ID), c.ID); err != nil {
		return err
	}
	return s.mayConnect(ctx, who, c.ID, held)
}

// mayConnect asks for what it takes to connect a target.
func (s *Service) mayConnect(ctx context.Context, who Caller, connection patchbay.ID, r ref) error {
	if r.Target != "" {
		return s.unseen(who.allow(ctx, ActionConnect, r.Target), r.Target)
	}
	if r.Endpoint != nil {
		of, _, _ := connection.ConnectionSource()
		return who.allow(ctx, ActionDial, of)
	}
	return nil // it never was made: there is nothing to repair
}

// actsFor is the caller that op acts for, who is asked about by what it may now.
func (s *Service) actsFor(op *saga.Op, in input) Caller {
	if s.rights == nil || len(in.For) == 0 {
		return Trusted(op.By) // a release before asked once, and kept nobody
	}
	return Caller{Name: op.By, Subjects: in.For, Allow: func(ctx context.Context, action string, scope patchbay.ID) error {
		err := s.rights.Still(ctx, in.For, action, scope)
		switch {
		case err == nil:
			return nil
		case patchbay.CodeOf(err) != patchbay.Forbidden:
			return patchbay.Errorf(patchbay.Internal, "whether %s may still do %s at %s: %w", op.By, action, scope, err).AsTransient()
		}
		e := *patchbay.AsError(err)
		e.Message += "; that was allowed when it was asked for, and is not any more: "
		if op.Output(stepPlan) == nil {
			e.Message += "nothing was changed"
		} else {
			e.Message += "what was changed is put back"
		}
		return &e
	}}
}

// entitled lets a step have its effect only as long as whom the operation acts
// for may have it.
func (s *Service) entitled(do func(context.Context, *saga.Op) ([]byte, error)) func(context.Context, *saga.Op) ([]byte, error) {
	return func(ctx context.Context, op *saga.Op) ([]byte, error) {
		in, err := readInput(op)
		if err != nil {
			return nil, err
		}
		p, err := s.outlineOf(op)
		if err != nil {
			return nil, err
		}
		who := s.actsFor(op, in)
		if err := who.allow(ctx, actionOf(op.Kind, in.Want.ID), in.Want.ID); err != nil {
			return nil, err
		}
		if err := s.mayConnect(ctx, who, in.Want.ID, p.ref); err != nil {
			return nil, err
		}
		return do(ctx, op)
	}
}
