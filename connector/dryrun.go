package connector

import (
	"context"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// dryruns is the part of the records that keeps dryruns.
func (s *Service) dryruns() (store.Dryruns, error) {
	if d, ok := s.records.(store.Dryruns); ok {
		return d, nil
	}
	return nil, patchbay.Errorf(patchbay.NotSupported, "these records keep no dryruns")
}

// PutDryrun implements [API].
func (s *Service) PutDryrun(ctx context.Context, r DryrunRequest) (patchbay.Dryrun, bool, error) {
	records, err := s.dryruns()
	if err != nil {
		return patchbay.Dryrun{}, false, err
	}
	old, err := records.Dryrun(ctx, r.ID)
	exists := err == nil
	if err != nil && patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		return patchbay.Dryrun{}, false, err
	}
	now := s.now().UTC()
	d := patchbay.Dryrun{ID: r.ID, Spec: cloneSpec(r.Spec), State: patchbay.Succeeded, Created: now, CreatedBy: r.Caller.Name}
	if exists {
		d.ID, d.Created, d.CreatedBy = old.ID, old.Created, old.CreatedBy
	}
	d.ETag, d.Modified, d.ModifiedBy = newETag(), now, r.Caller.Name
	takeSecrets(&d.Spec)
	return d, !exists, records.PutDryrun(ctx, d, r.IfMatch)
}

// Dryrun implements [API].
func (s *Service) Dryrun(ctx context.Context, id patchbay.ID) (patchbay.Dryrun, error) {
	records, err := s.dryruns()
	if err != nil {
		return patchbay.Dryrun{}, err
	}
	return records.Dryrun(ctx, id)
}

// Dryruns implements [API].
func (s *Service) Dryruns(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Dryrun, string, error) {
	records, err := s.dryruns()
	if err != nil {
		return nil, "", err
	}
	return records.Dryruns(ctx, source, after, limit)
}

// DeleteDryrun implements [API].
func (s *Service) DeleteDryrun(ctx context.Context, id patchbay.ID) error {
	records, err := s.dryruns()
	if err != nil {
		return err
	}
	return records.DeleteDryrun(ctx, id)
}
