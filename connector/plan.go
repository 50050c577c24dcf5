package connector

import (
	"encoding/binary"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/settings"
)

// plan is what an operation decided before its first effect. It is journalled,
// sealed, as the output of its first step; everything later reads of it what it
// needs, and decides nothing.
type plan struct {
	agreed
	// Write is what happens to the source's settings, and what they were; nil
	// for nothing.
	Write *written `json:"write,omitempty"`
}

// outline is what a plan decides, less the values.
type outline struct {
	ref
	Generation int64 `json:"generation"`
	Last       int64 `json:"last"` // as holding.Last
	// Spec is the connection's, as it was decided on; nil of an earlier release.
	Spec *patchbay.Spec `json:"spec,omitempty"`
	// Login is the one to ensure; nil when the login was given or none is
	// wanted. Made says that this operation makes it, so undo removes it.
	Login     *driver.LoginRequest `json:"principal,omitempty"`
	Made      bool                 `json:"made,omitempty"`
	LoginKind loginKind            `json:"login,omitempty"`
	// Old is the login that is revoked once the new settings are in use.
	Old       *driver.LoginRequest `json:"old,omitempty"`
	OldTarget patchbay.ID          `json:"oldTarget,omitempty"`
	// Open are the openings on the way to the target, Shut those that the connection
	// does not need any more.
	Open []opening `json:"open,omitempty"`
	Shut []opening `json:"shut,omitempty"`
	// Denied says that nothing is opened because public access to the target is denied;
	// of a fix and a rotation, that nothing was.
	Denied bool `json:"denied,omitempty"`
	// Restarts says that the source has a way to restart.
	Restarts bool   `json:"restarts,omitempty"`
	Message  string `json:"message,omitempty"` // a warning for the user
	// Reading is what the application's library makes of the settings; nil where
	// none are written, or of an earlier release.
	Reading *settings.Reading `json:"reading,omitempty"`
	// Mended names what a fix found broken and puts right.
	Mended []string `json:"mended,omitempty"`
	// PutBack names the settings that a fix found changed or gone.
	PutBack []string `json:"putBack,omitempty"`
	// Writes is there when the plan's Write is.
	Writes *struct{} `json:"write,omitempty"`
}

// agreed is a plan without the settings.
type agreed struct {
	outline
	secrets
}

// secrets are what the application will sign in with, and what it is made of.
type secrets struct {
	Credential credential        `json:"credential"`
	Given      map[string]string `json:"given,omitempty"`
	Where      map[string]string `json:"where,omitempty"` // as holding.Where
}

// part is one of those that a plan is sealed in, each on its own: what a step has
// no use for, it does not open. Their order is stored.
type part int

const (
	partOutline part = iota
	partSecrets
	partChange // of the settings, and the version that it is made to
	partBefore // the settings, and the files that they are in, as they were
	parts
)

var partNames = [parts]string{"outline", "secrets", "change", "before"}

func (p part) context(op *saga.Op) string { return "plan " + op.ID + " " + partNames[p] }

// inParts is the first byte of a plan in parts: before each of them is its length.
// Earlier releases sealed a plan as one, whose first byte is the keyring's; each
// part is a plan with some of the fields, so that one has them all.
const inParts = 'P'

type field map[string]any

func (s *Service) sealPlan(op *saga.Op, p plan) ([]byte, error) {
	list := [parts]any{partOutline: &p.outline, partSecrets: p.secrets}
	if w := p.Write; w != nil {
		p.Writes = &struct{}{}
		list[partChange] = field{"write": field{"change": w.Change, "before": snapshot{Version: w.Before.Version}}}
		list[partBefore] = field{"write": field{"before": w.Before}}
	}
	out := []byte{inParts}
	for i, v := range list {
		var sealed patchbay.Sealed
		if v != nil {
			var err error
			if sealed, err = s.seal(v, part(i).context(op)); err != nil {
				return nil, err
			}
		}
		out = append(binary.AppendUvarint(out, uint64(len(sealed))), sealed...)
	}
	return out, nil
}

// readPlan puts those parts of op's plan into v; none when nothing was planned.
func (s *Service) readPlan(op *saga.Op, v any, wanted ...part) error {
	stored := op.Output(stepPlan)
	if len(stored) == 0 || stored[0] != inParts {
		return s.unseal(stored, "plan "+op.ID, v)
	}
	var sealed [parts]patchbay.Sealed
	rest := stored[1:]
	for i := range sealed {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return patchbay.Errorf(patchbay.Internal, "the plan of operation %s is not what this version wrote", op.ID)
		}
		sealed[i], rest = rest[n:n+int(size)], rest[n+int(size):]
	}
	for _, p := range wanted {
		if err := s.unseal(sealed[p], p.context(op), v); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) outlineOf(op *saga.Op) (outline, error) {
	var o outline
	err := s.readPlan(op, &o, partOutline)
	return o, err
}

func (s *Service) agreedOf(op *saga.Op) (agreed, error) {
	var a agreed
	err := s.readPlan(op, &a, partOutline, partSecrets)
	return a, err
}

// writeOf is what op does to its source's settings, nil for nothing; partBefore is
// needed for all of what they were.
func (s *Service) writeOf(op *saga.Op, wanted ...part) (*written, error) {
	var p plan
	err := s.readPlan(op, &p, wanted...)
	return p.Write, err
}
