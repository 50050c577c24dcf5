package server

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/store"
)

// maxWait is the longest that a waiting request is held.
const maxWait = 30 * time.Second

// operationStatus answers what every SDK polls.
func (s *Server) operationStatus(x *exchange) error {
	op, err := x.operation()
	if err != nil {
		return err
	}
	if !strings.EqualFold(op.Connection.Subscription(), x.path.Scope.Subscription()) {
		return patchbay.Errorf(patchbay.ResourceNotFound, "there is no operation %s in this subscription", op.ID)
	}
	status := arm.StatusCode(op)
	path := arm.StatusPath(op, x.path.Location)
	switch {
	case status == http.StatusAccepted:
		x.poll(x.base()+path, true)
	case !op.State.Ended():
		x.w.Header().Set("Retry-After", "1")
	}
	return x.json(status, arm.OperationStatus(op, path))
}

func (s *Server) listOperations(x *exchange) error {
	f, err := x.operationFilter()
	if err != nil {
		return err
	}
	after, limit, err := x.page()
	if err != nil {
		return err
	}
	page, next, err := s.api.Operations(x.ctx, f, after, limit)
	if err != nil {
		return err
	}
	page = seen(x, page, x.action, func(op patchbay.Operation) patchbay.ID { return op.Connection })
	items := make([]any, len(page))
	for i, op := range page {
		items[i] = shown(op)
	}
	return x.list(items, next)
}

// shown is an operation as it is answered: its lists are never null.
func shown(op patchbay.Operation) patchbay.Operation {
	if op.Plan == nil {
		op.Plan = []string{}
	}
	if op.Trail == nil {
		op.Trail = []patchbay.StepRun{}
	}
	if op.Result != nil && op.Result.Checks == nil {
		report := *op.Result
		report.Checks = []patchbay.Check{}
		op.Result = &report
	}
	return op
}

func (x *exchange) operationFilter() (store.OperationFilter, error) {
	var f store.OperationFilter
	for name, at := range map[string]*patchbay.ID{"connection": &f.Connection, "source": &f.Source} {
		if s := x.query(name); s != "" {
			id, err := patchbay.ParseID(s)
			if err != nil {
				return f, err
			}
			*at = id
		}
	}
	if s := x.query("active"); s != "" {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return f, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter active has to be true or false")
		}
		f.Active = b
	}
	return f, nil
}

func (s *Server) getOperation(x *exchange) error {
	wait, version, err := x.waiting()
	if err != nil {
		return err
	}
	op, err := x.operation()
	if err != nil {
		return err
	}
	if wait == 0 || op.State.Ended() {
		return x.json(http.StatusOK, shown(op))
	}
	leave, ok := x.wait()
	if !ok {
		return tooManyWait(x)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(x.ctx, wait)
	defer cancel()
	// A stop ends the wait, so that draining is not held up by watchers.
	release := context.AfterFunc(s.stopping, cancel)
	defer release()
	op, err = s.api.Wait(ctx, x.path.Name, version)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, shown(op))
}

// waiting is how long to wait for a version above which one.
func (x *exchange) waiting() (time.Duration, int64, error) {
	w := x.query("wait")
	if w == "" {
		return 0, 0, nil
	}
	seconds, err := strconv.ParseFloat(w, 64)
	if err != nil || seconds < 0 || math.IsNaN(seconds) {
		return 0, 0, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter wait has to be a number of seconds")
	}
	wait := maxWait
	if seconds < maxWait.Seconds() {
		wait = time.Duration(seconds * float64(time.Second))
	}
	version := int64(-1)
	if v := x.query("version"); v != "" {
		if version, err = strconv.ParseInt(v, 10, 64); err != nil {
			return 0, 0, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter version has to be a whole number")
		}
	}
	return wait, version, nil
}

// operationAction answers what is done to an operation.
func operationAction(do func(connector.API, context.Context, string, connector.Caller) (patchbay.Operation, error)) func(*Server, *exchange) error {
	return func(s *Server, x *exchange) error {
		if _, err := x.operation(); err != nil {
			return err
		}
		op, err := do(s.api, x.ctx, x.path.Name, x.caller.Caller)
		if err != nil {
			return err
		}
		return x.json(http.StatusOK, shown(op))
	}
}

func (s *Server) listLeftovers(x *exchange) error {
	after, limit, err := x.page()
	if err != nil {
		return err
	}
	page, next, err := s.api.Leftovers(x.ctx, after, limit)
	if err != nil {
		return err
	}
	page = seen(x, page, x.action, func(l patchbay.Leftover) patchbay.ID { return l.Connection })
	items := make([]any, len(page))
	for i, l := range page {
		items[i] = l
	}
	return x.list(items, next)
}

func (s *Server) forgetLeftover(x *exchange) error {
	if err := x.leftover(); err != nil {
		return err
	}
	if err := s.api.Forget(x.ctx, x.path.Name, x.caller.Caller); err != nil {
		return err
	}
	return x.empty(http.StatusNoContent)
}

// leftover asks whether the caller may do what the route does about the
// leftover that the path names: at the connection that left it.
func (x *exchange) leftover() error {
	x.record = "leftover"
	l, err := x.server.api.Leftover(x.ctx, x.path.Name)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return x.absent("")
	}
	if err != nil {
		return err
	}
	return x.allowed(l.Connection)
}

// sweep begins a sweep. It is of no subscription, so its status is only where
// every operation is.
func (s *Server) sweep(x *exchange) error {
	op, err := s.api.Sweep(x.ctx, x.caller.Caller)
	if err != nil {
		return err
	}
	return x.accepted(op)
}

// accepted answers with an operation that is no connection's.
func (x *exchange) accepted(op patchbay.Operation) error {
	x.w.Header().Set("Location", x.base()+arm.OperationPath(op.ID))
	x.w.Header().Set("Retry-After", "1")
	return x.json(http.StatusAccepted, shown(op))
}
