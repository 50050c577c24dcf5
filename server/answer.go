package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/store"
)

// exchange is one request being answered.
type exchange struct {
	ctx       context.Context
	server    *Server
	w         http.ResponseWriter
	r         *http.Request
	path      arm.Path
	version   arm.Version // of Microsoft.ServiceLinker's routes
	caller    caller
	rule               // of the route and method
	reads     string   // the action that makes what it is about visible
	container bool     // the route's GET shows a container with what is in it
	record    string   // what kind of record the path names, where that is looked up
	refused   *refusal // what was not allowed last
	records   int      // how many were read for a list, shown or not
	place     func()   // gives back the place that it has; nil: it has none
	content   *[]byte  // the body, when it has been read
}

// answer signs the caller in and answers one request that is no probe.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case pathHealth:
		s.health(w)
		return
	case pathReady:
		s.ready(w, r)
		return
	case pathMetrics:
		s.scrape.ServeHTTP(w, r)
		return
	}
	if s.answerOpen(w, r) {
		return
	}
	if err := s.dispatch(w, r); err != nil {
		s.answerError(w, r, err)
	}
}

// dispatch signs the caller in, counts the request against its limits, finds
// the route, and asks whether the caller may; only then anything is read.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) error {
	v := visitOf(r.Context())
	who, err := s.admit(w, r)
	if err != nil {
		return err
	}
	v.caller = who.Name
	x := &exchange{server: s, w: w, r: r, ctx: r.Context(), path: v.path, caller: who}
	x.caller.Caller = x.identified()
	if err := s.limit(w, r, who.subject); err != nil {
		x.action = "Patchbay.Connector/signIn/action"
		s.limitedCaller(x, err)
		return err
	}
	err = x.route(v.err)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(patchbay.WithAct(r.Context(), x.act(x.scope())), s.opts.Timeout)
	defer cancel()
	x.ctx = ctx
	defer x.leave()
	defer func() { s.charge(x.caller.subject, x.records) }()
	err = x.authorize()
	if err == nil {
		err = x.of.has(x.version)
	}
	if err == nil {
		err = x.enter(x.takes)
	}
	if err == nil {
		err = x.answer(s, x)
	}
	if wasRefused(x, err) {
		s.refusedCaller(x, err)
	}
	return err
}

// admit signs the caller in.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (caller, error) {
	if token, err := bearer(r); err != nil || !s.door.knows(token) {
		if err := s.limitStranger(w, r); err != nil {
			s.refusedSignIn(r, err)
			return caller{}, err
		}
	}
	who, err := s.signIn(r)
	if patchbay.CodeOf(err) == patchbay.Unauthenticated {
		s.countStranger(r)
		s.refusedSignIn(r, err)
	}
	return who, err
}

// route finds what answers the request, and checks its version and size.
// pathErr is what was wrong with the path.
func (x *exchange) route(pathErr error) error {
	if pathErr != nil {
		return pathErr
	}
	known, ok := x.server.routes.byName[x.path.Route]
	if !ok {
		return patchbay.Errorf(arm.InvalidResourceType, "there is nothing here, or nothing that you may read")
	}
	method := x.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rule, ok := known.methods[keyOf(method, x.path.Action)]
	if !ok {
		allow := methodsOf(known.methods, x.path.Action)
		x.w.Header().Set("Allow", allow)
		return patchbay.Errorf(arm.MethodNotAllowed, "%s is not allowed here; allowed: %s", methodLabel(x.r.Method), allow)
	}
	var err error
	if x.version, err = rule.of.check(x.query("api-version")); err != nil {
		return err
	}
	if x.r.ContentLength > arm.MaxBody {
		return tooLarge()
	}
	x.rule, x.reads, x.container = rule, known.reads, known.container()
	return nil
}

// scope is what the request is about: a connection, a dryrun, or what the route
// hangs on.
func (x *exchange) scope() patchbay.ID {
	switch {
	case x.path.Linker != "":
		return x.path.Linker
	case x.path.Dryrun != "":
		return x.path.Dryrun
	}
	return x.path.Scope
}

// operation reads the operation that the path names, for a caller who may.
func (x *exchange) operation() (patchbay.Operation, error) {
	x.record = "operation"
	op, err := x.server.api.Operation(x.ctx, x.path.Name)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return op, x.absent("")
	}
	if err != nil {
		return op, err
	}
	return op, x.allowed(op.Connection)
}

func methodsOf(methods methods, action string) string {
	var list []string
	for key := range methods {
		method, of, _ := strings.Cut(key, " ")
		if of == action {
			list = append(list, method)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// query is a query parameter; ARM takes their names in any case.
func (x *exchange) query(name string) string {
	for k, v := range x.r.URL.Query() {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

func tooLarge() error {
	return patchbay.Errorf(arm.BodyTooLarge, "the body is larger than %d bytes", arm.MaxBody)
}

// body is the request's body, bounded.
func (x *exchange) body() ([]byte, error) {
	if x.content != nil {
		return *x.content, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, arm.MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge()
	case err != nil && x.ctx.Err() == nil:
		return nil, patchbay.Errorf(patchbay.InvalidRequestContent, "the body did not arrive whole")
	case err != nil:
		return nil, x.ctx.Err()
	}
	x.content = &body
	return body, nil
}

// ifMatch is the condition of a write: an ETag with its quotes, "*", or "" for
// none.
func (x *exchange) ifMatch() (string, error) {
	if x.r.Header.Get("If-None-Match") != "" {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "the header If-None-Match is not supported for writes; If-Match is")
	}
	tag := strings.TrimSpace(x.r.Header.Get("If-Match"))
	switch {
	case tag == "" || tag == "*":
		return tag, nil
	case strings.Contains(tag, ",") || strings.HasPrefix(tag, "W/") || len(tag) > 200:
		return "", patchbay.Errorf(patchbay.InvalidArgument, "the header If-Match has to hold one strong ETag, or *")
	case !strings.HasPrefix(tag, `"`):
		tag = `"` + tag + `"`
	}
	return tag, nil
}

// base is what absolute URLs in the answer begin with: what the client calls
// this server.
func (x *exchange) base() string { return x.server.baseOf(x.r) }

// baseOf is base of a request that nobody answers yet.
func (s *Server) baseOf(r *http.Request) string {
	if s.public != "" {
		return s.public
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if s.opts.TrustForwarded {
		if p := strings.ToLower(firstOf(r.Header.Get("X-Forwarded-Proto"))); p == "http" || p == "https" {
			scheme = p
		}
		if h := firstOf(r.Header.Get("X-Forwarded-Host")); h != "" {
			host = h
		}
	}
	u := url.URL{Scheme: scheme, Host: host}
	return u.String()
}

// firstOf is what the outermost proxy said of a list that each one appends to.
func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(first)
}

// json answers a body.
func (x *exchange) json(status int, body any) error {
	text, err := arm.Marshal(body)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "encode the answer: %w", err)
	}
	return x.bytes(status, "application/json; charset=utf-8", text)
}

// bytes answers a body that is encoded already.
func (x *exchange) bytes(status int, contentType string, text []byte) error {
	x.leave()
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	x.w.WriteHeader(status)
	_, _ = x.w.Write(text) // the client has gone
	return nil
}

// createdOr200 is the status of a write that is done.
func createdOr200(created bool) int {
	if created {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (x *exchange) empty(status int) error {
	x.w.WriteHeader(status)
	return nil
}

func (x *exchange) etag(tag string) {
	if tag != "" {
		x.w.Header().Set("ETag", tag)
	}
}

// Pages of lists.
const (
	defaultPage = 100
	maxPage     = store.MaxPage
)

// page is where a list goes on and how many items it gives.
func (x *exchange) page() (after string, limit int, err error) {
	limit = defaultPage
	if top := x.query("$top"); top != "" {
		if limit, err = strconv.Atoi(top); err != nil || limit < 1 {
			return "", 0, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter $top has to be a number from 1 to %d", maxPage)
		}
		limit = min(limit, maxPage)
	}
	after, err = x.openSkip(x.query("$skipToken"))
	return after, limit, err
}

// list answers one page; the link to the next is the request's own URL, with
// the place to go on.
func (x *exchange) list(items []any, next string) error {
	x.records = max(x.records, len(items))
	link := ""
	if next != "" {
		q := x.r.URL.Query()
		for k := range q {
			if strings.EqualFold(k, "$skipToken") {
				delete(q, k)
			}
		}
		token, err := x.sealSkip(next)
		if err != nil {
			return err
		}
		q.Set("$skipToken", token)
		link = x.base() + x.r.URL.EscapedPath() + "?" + q.Encode()
	}
	return x.json(http.StatusOK, arm.List(items, link))
}

// answerError answers err in ARM's envelope. What went wrong inside goes to the
// log, not to the client.
func (s *Server) answerError(w http.ResponseWriter, r *http.Request, err error) {
	v := visitOf(r.Context())
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		v.status = 499 // nobody is there to answer
		return
	}
	var known *patchbay.Error
	switch {
	case errors.As(err, &known):
	case errors.Is(err, context.DeadlineExceeded):
		known = patchbay.Errorf(patchbay.Timeout, "the request took longer than %s; what it began may go on", s.opts.Timeout)
	case errors.Is(err, context.Canceled):
		known = patchbay.Errorf(arm.ServiceUnavailable, "the server stops")
	default:
		known = patchbay.AsError(err)
	}
	status := arm.Status(known.Code)
	if status == http.StatusInternalServerError {
		s.log.LogAttrs(r.Context(), slog.LevelError, "a request failed inside",
			slog.String("request", v.id), slog.String("route", string(v.path.Route)), slog.String("error", err.Error()))
		known = patchbay.Errorf(known.Code, "something went wrong inside the server; its log says what, under request %s", v.id)
	}
	h := w.Header()
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", s.challenge(r))
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", "1")
		}
	case http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close")
	}
	x := &exchange{w: w, r: r}
	if err := x.json(status, arm.ErrorBody(known)); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func (s *Server) health(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
}

// ready says whether requests can be served: the store answers and the engine
// runs. It fails as soon as a stop began, so that a balancer looks elsewhere.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	what := "stopping"
	err := s.stopping.Err()
	if err == nil {
		what = "store"
		_, err = s.api.Subscriptions(ctx)
	}
	if err == nil && s.opts.Ready != nil {
		what = "engine"
		err = s.opts.Ready(ctx)
	}
	x := &exchange{w: w, r: r}
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "not ready", slog.String("because", what), slog.String("error", err.Error()))
		w.Header().Set("Retry-After", "1")
		_ = x.json(http.StatusServiceUnavailable, map[string]string{"status": "not ready", "because": what})
		return
	}
	_ = x.json(http.StatusOK, map[string]string{"status": "ready"})
}
