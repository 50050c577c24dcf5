package connector

import (
	"context"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// Get implements [API].
func (s *Service) Get(ctx context.Context, id patchbay.ID) (patchbay.Connection, error) {
	return s.records.Connection(ctx, id)
}

// List implements [API].
func (s *Service) List(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Connection, string, error) {
	return s.records.Connections(ctx, source, after, limit)
}

// Operation implements [API].
func (s *Service) Operation(ctx context.Context, id string) (patchbay.Operation, error) {
	return s.records.Operation(ctx, id)
}

// Operations implements [API].
func (s *Service) Operations(ctx context.Context, f store.OperationFilter, after string, limit int) ([]patchbay.Operation, string, error) {
	return s.records.Operations(ctx, f, after, limit)
}

// Wait implements [API].
func (s *Service) Wait(ctx context.Context, id string, version int64) (patchbay.Operation, error) {
	return s.engine.Wait(ctx, id, version)
}

// Cancel implements [API].
func (s *Service) Cancel(ctx context.Context, id string, _ Caller) (patchbay.Operation, error) {
	return s.engine.Cancel(ctx, id)
}

// Retry implements [API].
func (s *Service) Retry(ctx context.Context, id string, _ Caller) (patchbay.Operation, error) {
	return s.engine.Retry(ctx, id)
}

// Abandon implements [API].
func (s *Service) Abandon(ctx context.Context, id string, _ Caller) (patchbay.Operation, error) {
	return s.engine.Abandon(ctx, id)
}
