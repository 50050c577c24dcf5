package azurestorage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"patchbay.dev/patchbay"
)

// A list of policies is read, changed and written in a turn. Within a process there is
// one at a time; between processes, a lease on a blob beside the notes. A process that
// dies has it for turnLease at most.
const (
	turnLease = 20 * time.Second
	turnLimit = 15 * time.Second // of what is done in it
	turnPause = 150 * time.Millisecond
)

var (
	process = rand.Text()
	turns   sync.Map // of a child, to a channel that has a place for one
)

// leaseID is this process's at that child: whoever asks with it again has it still.
func leaseID(key string) string {
	h := sha256.Sum256([]byte(process + " " + key))
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// inTurn runs f while no other process of ours changes c's policies. f says whether
// there is nothing of ours left to take turns for.
func (t *target) inTurn(ctx context.Context, what string, c child, f func(context.Context) (empty bool, err error)) error {
	key := t.at[c.name].url() + c.canonical(t.account)
	one, _ := turns.LoadOrStore(key, make(chan struct{}, 1))
	place := one.(chan struct{})
	select {
	case place <- struct{}{}:
		defer func() { <-place }()
	case <-ctx.Done():
		return t.api.unreachable(ctx, what, t.at[c.name].server.Address(), ctx.Err())
	}
	blob, id := "turn/"+c.name+"/"+c.id, leaseID(key)
	if err := t.lease(ctx, what, c, blob, id); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	empty, err := f(within)
	// It ends by itself, if it can't be told to.
	after, done := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer done()
	q := t.notes(http.MethodPut, blob, url.Values{"comp": {"lease"}}, map[string]string{"X-Ms-Lease-Action": "release", "X-Ms-Lease-Id": id})
	if empty && err == nil {
		q = t.notes(http.MethodDelete, blob, nil, map[string]string{"X-Ms-Lease-Id": id})
	}
	_, _ = t.api.do(after, what, q)
	return err
}

func (t *target) lease(ctx context.Context, what string, c child, blob, id string) error {
	header := map[string]string{"X-Ms-Lease-Action": "acquire", "X-Ms-Lease-Duration": fmt.Sprint(int(turnLease.Seconds())), "X-Ms-Proposed-Lease-Id": id}
	for {
		got, err := t.api.do(ctx, what, t.notes(http.MethodPut, blob, url.Values{"comp": {"lease"}}, header, http.StatusNotFound, http.StatusConflict))
		switch {
		case err != nil:
			return err
		case got.status == http.StatusNotFound:
			if err := t.makeBlob(ctx, what, blob, map[string]string{"X-Ms-Blob-Type": "BlockBlob", "If-None-Match": "*"}); err != nil {
				return err
			}
			continue
		case got.status != http.StatusConflict:
			return nil
		case !strings.HasPrefix(got.code(), "Lease"): // the container of notes is being deleted
			return t.api.meaning(what, t.at["blob"], got)
		}
		select {
		case <-ctx.Done():
			return patchbay.Errorf(patchbay.Timeout, "%s: another Patchbay changes the policies of %s, or died in it a moment ago", what, c.said()).AsTransient()
		case <-time.After(turnPause):
		}
	}
}
