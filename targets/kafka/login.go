package kafka

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// The names of a credential's parts.
const (
	publicUser   = "username"
	publicGroup  = "group"
	publicTopics = "topics"
	secretWord   = "password"
)

// settleLimit is how long a cluster may take until all of its brokers know of a change.
const settleLimit = 15 * time.Second

var nameForm = regexp.MustCompile(`^pb_[a-z0-9]+_g[0-9]+$`)

// checkIdentity checks what is needed to remove a login.
func checkIdentity(r driver.LoginRequest) error {
	switch {
	case len(r.Name) > 40 || !nameForm.MatchString(r.Name):
		return patchbay.Errorf(patchbay.InvalidArgument, "the login's name is none that Patchbay gives")
	case r.Mark.UID == "" || r.Mark.Generation < 1:
		return patchbay.Errorf(patchbay.InvalidArgument, "the login has no mark")
	}
	return nil
}

// checkRequest is what a login gets.
func (c *config) checkRequest(r driver.LoginRequest) (scope, error) {
	if err := checkIdentity(r); err != nil {
		return scope{}, err
	}
	switch {
	case r.Sub != "":
		return scope{}, noChild(r.Sub)
	case r.Auth != patchbay.AuthSecret:
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "a login of Kafka signs in with a secret")
	case !slices.Contains(description.Logins.Accesses, r.Access):
		return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "the access is none of reader, writer, owner")
	case len(r.Roles) > 0:
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "Kafka has no roles")
	case len(r.Sources) > 0:
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "a rule of Kafka's is for one address, and not for a network").WithFix("--option hosts=10.0.0.5")
	}
	return c.scopeOf(r.Name, r.Options)
}

func noChild(sub string) error {
	return patchbay.Errorf(patchbay.ChildMissing, "a Kafka cluster has no %q: name the cluster itself", driver.Quoted(sub))
}

// NewCredential implements [driver.Administrator].
func (t *target) NewCredential(ctx context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if err := ctx.Err(); err != nil {
		return driver.Credential{}, err
	}
	s, err := t.checkRequest(r)
	if err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{publicUser: r.Name, publicGroup: s.group(r.Name), publicTopics: strings.ReplaceAll(listing(s.topics), ", ", ",")},
		Secret: driver.Secrets{secretWord: driver.NewPassword()},
	}, nil
}

// standing is what a broker knows of a login.
type standing struct {
	credentials map[int8]int32 // iterations by mechanism
	rules       []rule
}

func (s standing) empty() bool { return len(s.credentials)+len(s.rules) == 0 }

// rights are the rules without marks.
func (s standing) rights() []rule {
	return slices.DeleteFunc(slices.Clone(s.rules), func(r rule) bool { _, ok := markIn(r); return ok })
}

// marks are the others.
func (s standing) marks() []rule { return minus(s.rules, s.rights()) }

// ours reports whether it bears that mark, and no other.
func (s standing) ours(m driver.Mark) bool {
	marks := s.marks()
	return len(marks) > 0 && !slices.ContainsFunc(marks, func(r rule) bool {
		have, _ := markIn(r)
		return have.UID != m.UID || have.Generation != m.Generation
	})
}

func notOurs(name string) error {
	return patchbay.Errorf(patchbay.NotOurs, "there is a login or a rule of %s that does not bear our mark; nothing of it was touched", name).
		WithFix("see whose it is: kafka-acls --list --principal %s, and kafka-configs --describe --entity-type users --entity-name %s", principalOf(name), name)
}

// session is a client of the administrator's, and the cluster's brokers.
type session struct {
	*client
	brokers []*kgo.Broker
	nodes   []int32
	at      []string // where they say they are
}

func (t *target) session(ctx context.Context, what string) (*session, error) {
	c, err := t.connect(ctx, t.dialer, t.config.admin, patchbay.AdminRefused)
	if err != nil {
		return nil, err
	}
	s := &session{client: c}
	if s.brokers, s.nodes, s.at, err = c.meet(ctx); err != nil {
		defer c.end()
		return nil, c.fault(ctx, what, err)
	}
	return s, nil
}

// end closes the client, and its call.
func (c *client) end() {
	c.Client.Close()
	c.budget.End()
}

// meet asks which brokers there are.
func (c *client) meet(ctx context.Context) (brokers []*kgo.Broker, nodes []int32, at []string, err error) {
	r := kmsg.NewPtrMetadataRequest()
	r.Topics = []kmsg.MetadataRequestTopic{} // none
	answer, err := r.RequestWith(ctx, c.Client)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(answer.Brokers) == 0 || len(answer.Brokers) > maxBrokers {
		return nil, nil, nil, c.budget.Refuse("says that it has %d brokers", len(answer.Brokers))
	}
	slices.SortFunc(answer.Brokers, func(a, b kmsg.MetadataResponseBroker) int { return int(a.NodeID) - int(b.NodeID) })
	for _, b := range answer.Brokers {
		address, err := advertised(b.Host, b.Port)
		if err != nil {
			return nil, nil, nil, c.budget.Refuse("names a broker that can't be one")
		}
		brokers = append(brokers, c.Broker(int(b.NodeID)))
		nodes = append(nodes, b.NodeID)
		at = append(at, address)
	}
	return brokers, nodes, at, nil
}

// read asks one broker what it knows of a login. What it says of the credential comes
// first: with that, the mark was there before.
func (s *session) read(ctx context.Context, of *kgo.Broker, name string) (standing, error) {
	have := standing{credentials: map[int8]int32{}}
	q := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	q.Users = []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: name}}
	answer, err := q.RequestWith(ctx, of)
	if err == nil {
		err = code(answer.ErrorCode, answer.ErrorMessage)
	}
	if err != nil {
		return have, err
	}
	for _, user := range answer.Results {
		if user.User != name || user.ErrorCode == kerr.ResourceNotFound.Code {
			continue
		}
		if err := code(user.ErrorCode, user.ErrorMessage); err != nil {
			return have, err
		}
		for _, c := range user.CredentialInfos {
			have.credentials[c.Mechanism] = c.Iterations
		}
	}
	principal := principalOf(name)
	rules, err := s.rules(ctx, of, kmsg.ACLResourceTypeAny, &principal)
	for _, one := range rules {
		if one.principal == principal {
			have.rules = append(have.rules, one.rule)
		}
	}
	return have, err
}

// owned is a rule with whose it is.
type owned struct {
	principal string
	rule
}

// rules are those on resources of a type, of one principal or of all.
func (s *session) rules(ctx context.Context, of kmsg.Requestor, on kmsg.ACLResourceType, principal *string) ([]owned, error) {
	q := kmsg.NewPtrDescribeACLsRequest()
	q.ResourceType, q.ResourcePatternType, q.Principal = on, kmsg.ACLResourcePatternTypeAny, principal
	q.Operation, q.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	if principal == nil { // marks alone
		q.Operation, q.PermissionType, q.ResourcePatternType = kmsg.ACLOperationAll, kmsg.ACLPermissionTypeDeny, kmsg.ACLResourcePatternTypeLiteral
	}
	answer, err := q.RequestWith(ctx, of)
	if err == nil {
		err = code(answer.ErrorCode, answer.ErrorMessage)
	}
	if err != nil {
		return nil, err
	}
	var all []owned
	for _, on := range answer.Resources {
		for _, a := range on.ACLs {
			all = append(all, owned{a.Principal, rule{on.ResourceType, on.ResourceName, on.ResourcePatternType, a.Host, a.Operation, a.PermissionType}})
		}
	}
	return all, nil
}

// look reads a login from one broker. What seems to be somebody else's is looked at
// twice: another process may be making or removing it between our two questions.
func (s *session) look(ctx context.Context, m driver.Mark, name string) (have standing, err error) {
	for range 2 {
		have, err = s.read(ctx, s.brokers[0], name)
		if err != nil || have.empty() || have.ours(m) {
			break
		}
	}
	return have, err
}

// settle waits until every broker says what was changed: a cluster answers before all of
// them know, and the next sign-in is at any.
func (s *session) settle(ctx context.Context, name string, as func(standing) bool) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for _, broker := range s.brokers {
		for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
			have, err := s.read(ctx, broker, name)
			if err != nil {
				return err
			}
			if as(have) {
				break
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return errUnsettled
			}
		}
	}
	return nil
}

var errUnsettled = patchbay.Errorf(patchbay.TargetUnreachable, "a broker does not have what the cluster said it has done").AsTransient()

// EnsureLogin implements [driver.Administrator].
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	const what = "make the login on Kafka"
	sc, err := t.checkRequest(r)
	if err != nil {
		return err
	}
	password := r.Credential.Secret[secretWord]
	if r.Credential.Public[publicUser] != r.Name || password.IsZero() {
		return patchbay.Errorf(patchbay.InvalidArgument, "the credential is not the one that was made for %s", r.Name)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := t.session(ctx, what)
	if err != nil {
		return err
	}
	defer s.end()
	fail := func(err error) error { return s.fault(ctx, what, err) }
	have, err := s.look(ctx, r.Mark, r.Name)
	if err != nil {
		return fail(err)
	}
	ours := have.ours(r.Mark)
	if !ours && !have.empty() {
		return notOurs(r.Name)
	}
	if !ours {
		if have, err = s.begin(ctx, r); err != nil {
			if patchbay.CodeOf(err) == patchbay.NotOurs {
				return err
			}
			return fail(err)
		}
	}
	want := rulesOf(r.Access, sc)
	if err := s.deny(ctx, r.Name, minus(have.rights(), want)); err != nil {
		return fail(err)
	}
	if err := s.allow(ctx, r.Name, minus(want, have.rules)); err != nil {
		return fail(err)
	}
	number := t.mechanism.number()
	for other := range have.credentials {
		if other != number {
			if err := s.forget(ctx, r.Name, other); err != nil {
				return fail(err)
			}
		}
	}
	if err := s.remember(ctx, r.Name, t.mechanism, password); err != nil {
		return fail(err)
	}
	err = s.settle(ctx, r.Name, func(have standing) bool {
		rights := have.rights()
		return have.ours(r.Mark) && len(have.credentials) == 1 && have.credentials[number] == rounds(r.Name) &&
			len(minus(want, rights)) == 0 && len(minus(rights, want)) == 0
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// begin puts the mark, and looks once more whether somebody else came first.
func (s *session) begin(ctx context.Context, r driver.LoginRequest) (standing, error) {
	mark := markOf(r.Mark)
	if err := s.allow(ctx, r.Name, []rule{mark}); err != nil {
		return standing{}, err
	}
	if err := s.settle(ctx, r.Name, func(have standing) bool { return slices.Contains(have.rules, mark) }); err != nil {
		return standing{}, err
	}
	have, err := s.read(ctx, s.brokers[0], r.Name)
	if err != nil {
		return have, err
	}
	for _, n := range have.credentials {
		if n == rounds(r.Name) {
			continue // another process of ours makes it too
		}
		if err := s.deny(ctx, r.Name, []rule{mark}); err != nil {
			return have, err
		}
		return have, notOurs(r.Name)
	}
	return have, nil
}

// allow makes rules.
func (s *session) allow(ctx context.Context, name string, rules []rule) error {
	if len(rules) == 0 {
		return nil
	}
	q := kmsg.NewPtrCreateACLsRequest()
	for _, r := range rules {
		c := kmsg.NewCreateACLsRequestCreation()
		c.ResourceType, c.ResourceName, c.ResourcePatternType = r.of, r.name, r.form
		c.Principal, c.Host, c.Operation, c.PermissionType = principalOf(name), r.host, r.may, r.effect
		q.Creations = append(q.Creations, c)
	}
	answer, err := q.RequestWith(ctx, s.Client)
	if err != nil {
		return err
	}
	if len(answer.Results) != len(rules) {
		return s.budget.Refuse("answers for %d rules, and %d were asked for", len(answer.Results), len(rules))
	}
	for _, one := range answer.Results {
		if err := code(one.ErrorCode, one.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// deny takes exactly these rules away.
func (s *session) deny(ctx context.Context, name string, rules []rule) error {
	if len(rules) == 0 {
		return nil
	}
	q := kmsg.NewPtrDeleteACLsRequest()
	principal := principalOf(name)
	for _, r := range rules {
		f := kmsg.NewDeleteACLsRequestFilter()
		f.ResourceType, f.ResourceName, f.ResourcePatternType = r.of, &r.name, r.form
		f.Principal, f.Host, f.Operation, f.PermissionType = &principal, &r.host, r.may, r.effect
		q.Filters = append(q.Filters, f)
	}
	answer, err := q.RequestWith(ctx, s.Client)
	if err != nil {
		return err
	}
	for _, one := range answer.Results {
		if err := code(one.ErrorCode, one.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// remember gives the login a password.
func (s *session) remember(ctx context.Context, name string, m mechanism, password patchbay.Secret) error {
	n := rounds(name)
	salt, key, err := salted(m, password, n)
	if err != nil {
		return err
	}
	u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = name, m.number(), n, salt, key
	q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	q.Upsertions = append(q.Upsertions, u)
	return s.alter(ctx, q)
}

// forget takes a password away. One that is not there is gone.
func (s *session) forget(ctx context.Context, name string, mechanism int8) error {
	d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
	d.Name, d.Mechanism = name, mechanism
	q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	q.Deletions = append(q.Deletions, d)
	return s.alter(ctx, q)
}

func (s *session) alter(ctx context.Context, q *kmsg.AlterUserSCRAMCredentialsRequest) error {
	answer, err := q.RequestWith(ctx, s.Client)
	if err != nil {
		return err
	}
	if len(answer.Results) == 0 {
		return s.budget.Refuse("does not say whether it has changed a login")
	}
	for _, one := range answer.Results {
		if one.ErrorCode == kerr.ResourceNotFound.Code && len(q.Deletions) > 0 {
			continue
		}
		if err := code(one.ErrorCode, one.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// InspectLogin implements [driver.Administrator].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	const what = "look at the login on Kafka"
	sc, err := t.checkRequest(r)
	if err != nil {
		return driver.LoginState{}, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := t.session(ctx, what)
	if err != nil {
		return driver.LoginState{}, err
	}
	defer s.end()
	have, err := s.look(ctx, r.Mark, r.Name)
	switch {
	case err != nil:
		return driver.LoginState{}, s.fault(ctx, what, err)
	case have.empty():
		return driver.LoginState{}, nil
	case !have.ours(r.Mark):
		return driver.LoginState{Exists: true}, nil
	}
	want, rights := rulesOf(r.Access, sc), have.rights()
	state := driver.LoginState{Exists: true, Ours: true, Missing: words(minus(want, rights)), Excess: words(minus(rights, want))}
	number := t.mechanism.number()
	switch n, there := have.credentials[number]; {
	case !there:
		state.Missing = append(state.Missing, "sign in with "+t.mechanism.name())
	case n != rounds(r.Name):
		state.Missing = append(state.Missing, "sign in with its password: somebody gave it another")
	}
	for other := range have.credentials {
		if other != number {
			state.Excess = append(state.Excess, "sign in with a second credential, of another mechanism")
		}
	}
	return state, nil
}

// RemoveLogin implements [driver.Administrator].
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	const what = "remove the login from Kafka"
	if err := checkIdentity(r); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := t.session(ctx, what)
	if err != nil {
		return err
	}
	defer s.end()
	have, err := s.look(ctx, r.Mark, r.Name)
	switch {
	case err != nil:
		return s.fault(ctx, what, err)
	case have.empty():
		return nil
	case !have.ours(r.Mark):
		return notOurs(r.Name)
	}
	if err := s.remove(ctx, r.Name, have); err != nil {
		return s.fault(ctx, what, err)
	}
	return nil
}

func (s *session) remove(ctx context.Context, name string, have standing) error {
	for m := range have.credentials {
		if err := s.forget(ctx, name, m); err != nil {
			return err
		}
	}
	// Whoever is signed in stays so: without a right.
	if err := s.deny(ctx, name, have.rights()); err != nil {
		return err
	}
	err := s.settle(ctx, name, func(now standing) bool { return len(now.credentials)+len(now.rights()) == 0 })
	if err != nil {
		return err
	}
	if err := s.deny(ctx, name, have.marks()); err != nil {
		return err
	}
	return s.settle(ctx, name, standing.empty)
}

// Owned implements [driver.Administrator].
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	const what = "list the logins on Kafka"
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := t.session(ctx, what)
	if err != nil {
		return nil, err
	}
	defer s.end()
	rules, err := s.rules(ctx, s.brokers[0], kmsg.ACLResourceTypeGroup, nil)
	if err != nil {
		return nil, s.fault(ctx, what, err)
	}
	var all []driver.Owned
	for _, r := range rules {
		name, ok := strings.CutPrefix(r.principal, principalOf(""))
		if !ok || !nameForm.MatchString(name) {
			continue
		}
		if m, ok := markIn(r.rule); ok {
			all = append(all, driver.Owned{Mark: m, Name: name})
		}
	}
	return all, nil
}
