package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

// OperationQuery narrows a list of operations.
type OperationQuery struct {
	Connection patchbay.ID
	Source     patchbay.ID
	Active     bool // only those that have not ended
	Limit      int  // at most so many, newest first; 0: all
}

// Operations lists operations, newest first.
func (c *Client) Operations(ctx context.Context, q OperationQuery) ([]patchbay.Operation, error) {
	query := url.Values{}
	if q.Connection != "" {
		query.Set("connection", string(q.Connection))
	}
	if q.Source != "" {
		query.Set("source", string(q.Source))
	}
	if q.Active {
		query.Set("active", "true")
	}
	ops := []patchbay.Operation{}
	err := page(ctx, c, request{method: http.MethodGet, path: ownProvider + "/operations", query: query},
		func(op patchbay.Operation) bool {
			ops = append(ops, op)
			return q.Limit == 0 || len(ops) < q.Limit
		})
	return ops, err
}

// Operation reads one.
func (c *Client) Operation(ctx context.Context, id string) (patchbay.Operation, error) {
	return c.operation(ctx, http.MethodGet, id, "", nil)
}

// Watch calls see with every version of the operation that the server shows,
// until it has ended. A server that is restarted meanwhile is waited for.
func (c *Client) Watch(ctx context.Context, id string, see func(patchbay.Operation)) (patchbay.Operation, error) {
	op, err := c.Operation(ctx, id)
	if err != nil {
		return op, err
	}
	see(op)
	lastAnswer := time.Now()
	for !op.State.Ended() {
		next, err := c.operation(ctx, http.MethodGet, id, "", url.Values{
			"wait": {strconv.Itoa(longPoll)}, "version": {strconv.FormatInt(op.Version, 10)},
		})
		switch {
		case err == nil:
			lastAnswer = time.Now()
			op = next
			see(op)
		case patchbay.CodeOf(err) != ServerUnreachable || time.Since(lastAnswer) > watchPatience:
			return op, err
		default:
			if err := sleep(ctx, time.Second); err != nil {
				return op, err
			}
		}
	}
	return op, nil
}

// CancelOperation asks a running operation to go back.
func (c *Client) CancelOperation(ctx context.Context, id string) (patchbay.Operation, error) {
	return c.operation(ctx, http.MethodPost, id, "/cancel", nil)
}

// RetryOperation lets one that waits for its next attempt make it now.
func (c *Client) RetryOperation(ctx context.Context, id string) (patchbay.Operation, error) {
	return c.operation(ctx, http.MethodPost, id, "/retry", nil)
}

// AbandonOperation gives one up; what it made becomes leftovers.
func (c *Client) AbandonOperation(ctx context.Context, id string) (patchbay.Operation, error) {
	return c.operation(ctx, http.MethodPost, id, "/abandon", nil)
}

func (c *Client) operation(ctx context.Context, method, id, action string, query url.Values) (patchbay.Operation, error) {
	var op patchbay.Operation
	if id == "" || strings.ContainsAny(id, "/?#\\") || strings.Contains(id, "..") {
		return op, patchbay.Errorf(patchbay.InvalidArgument, "%q is not an operation's id", id)
	}
	_, _, err := c.send(ctx, request{method: method, path: ownProvider + "/operations/" + id + action, query: query}, &op)
	return op, err
}

// Leftovers are what is left where, and why.
func (c *Client) Leftovers(ctx context.Context) ([]patchbay.Leftover, error) {
	return all[patchbay.Leftover](ctx, c, ownProvider+"/leftovers", nil)
}

// ForgetLeftover strikes one off the list; what it stands for stays where it is.
func (c *Client) ForgetLeftover(ctx context.Context, id string) error {
	if id == "" || strings.ContainsAny(id, "/?#\\") || strings.Contains(id, "..") {
		return patchbay.Errorf(patchbay.InvalidArgument, "%q is not a leftover's id", id)
	}
	_, _, err := c.send(ctx, request{method: http.MethodDelete, path: ownProvider + "/leftovers/" + id}, nil)
	return err
}

// SweepView is what a sweep did.
type SweepView struct {
	Removed []patchbay.Leftover `json:"removed"`
	Left    []patchbay.Leftover `json:"left"`
}

// Sweep tries every leftover now.
func (c *Client) Sweep(ctx context.Context) (SweepView, error) {
	var v SweepView
	_, _, err := c.send(ctx, request{method: http.MethodPost, path: ownProvider + "/sweep"}, &v)
	return v, err
}
