package storetest

import (
	"context"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

func (m *Memory) tell(ctx context.Context, e patchbay.AuditEntry) { m.tellOf(patchbay.ActOf(ctx), e) }

func (m *Memory) tellOf(act patchbay.Act, e patchbay.AuditEntry) {
	if e.Result == "" {
		e.Result = patchbay.AuditSucceeded
	}
	for _, line := range store.Lines(act, e) {
		m.append(line)
	}
}

func (m *Memory) append(e patchbay.AuditEntry) {
	if e.Time.IsZero() {
		e.Time = m.Clock()
	}
	m.head = store.Append(m.chain, m.head, &e)
	m.head.Seal = m.chain.Head(m.head.Seq, m.head.Hash)
	m.log = append(m.log, e)
}

// AppendAudit implements [store.Audit].
func (m *Memory) AppendAudit(ctx context.Context, e patchbay.AuditEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.append(e)
	return nil
}

// AuditEntries implements [store.Audit].
func (m *Memory) AuditEntries(_ context.Context, f store.AuditFilter, after int64, limit int) (page []patchbay.AuditEntry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if limit <= 0 || limit > store.MaxPage {
		limit = store.MaxPage
	}
	for _, e := range m.log {
		if e.Seq > after && len(page) < limit && f.Match(e) {
			page = append(page, e)
		}
	}
	return page, nil
}

// AuditHead implements [store.Audit].
func (m *Memory) AuditHead(context.Context) (store.AuditHead, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.head, nil
}
