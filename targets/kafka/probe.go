package kafka

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	probed      = 8   // patterns of each kind that are tried
	maxEveryone = 200 // rules for everybody that a probe is told of
)

// facts are what a probe has to know, besides the registration: what everybody may do is
// neither given nor taken by us.
type facts struct {
	Everyone []common `json:"everyone,omitempty"`
}

// common is a rule for everybody.
type common struct {
	On       kmsg.ACLResourceType `json:"on"`
	Name     string               `json:"name"`
	Prefixed bool                 `json:"prefixed,omitempty"`
	May      kmsg.ACLOperation    `json:"may"`
}

func (f facts) allow(on kmsg.ACLResourceType, name string, may kmsg.ACLOperation) bool {
	return slices.ContainsFunc(f.Everyone, func(c common) bool {
		if c.On != on || !c.Prefixed && c.Name != everywhere && c.Name != name || c.Prefixed && !strings.HasPrefix(name, c.Name) {
			return false
		}
		implied := may == kmsg.ACLOperationDescribe && slices.Contains([]kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDelete, kmsg.ACLOperationAlter}, c.May)
		return c.May == may || c.May == kmsg.ACLOperationAll || implied
	})
}

// PrepareProbe implements [driver.Target]. A client is sent on to whichever broker has
// what it asks for.
func (t *target) PrepareProbe(ctx context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	const what = "look at the Kafka cluster"
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := t.session(ctx, what)
	if err != nil {
		return r, err
	}
	defer s.end()
	r.Servers = append(r.Servers, t.servers...)
	for _, at := range s.at {
		if !slices.Contains(r.Servers, at) {
			r.Servers = append(r.Servers, at)
		}
	}
	if r.Access == "" {
		return r, nil
	}
	everybody := principalOf("*")
	rules, err := s.rules(ctx, s.brokers[0], kmsg.ACLResourceTypeAny, &everybody)
	if err != nil {
		return r, s.fault(ctx, what, err)
	}
	var f facts
	for _, one := range rules {
		if one.principal == everybody && one.effect == kmsg.ACLPermissionTypeAllow && len(f.Everyone) < maxEveryone {
			f.Everyone = append(f.Everyone, common{one.of, one.name, one.form == kmsg.ACLResourcePatternTypePrefixed, one.may})
		}
	}
	r.Facts, err = json.Marshal(f)
	return r, err
}

// tryLogin is the driver's Probe. Nothing that it tries has an effect, whatever it may: it
// reads and writes a partition that no topic has, makes topics that are only checked,
// deletes one that is not there, and joins groups with a session that none takes. What
// comes back is either that it may not, or that it can't be.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	cfg, err := parseConfig(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	cfg.secure = cfg.secure.ReadBy(r.Reading)
	if cfg.tls, err = cfg.secure.Config(""); err != nil {
		return driver.ProbeResult{}, err
	}
	who, err := loginOf(cfg.mechanism, r.Credential)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	cl, err := cfg.connect(ctx, r.Dialer, who, patchbay.LoginRefused)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer cl.end()
	p := prober{client: cl, result: driver.ProbeResult{Allowed: []string{"sign in"}}}
	if p.brokers, _, _, err = cl.meet(ctx); err != nil {
		return driver.ProbeResult{}, cl.fault(ctx, "sign in to Kafka", err)
	}
	if r.Access != "" {
		if err := json.Unmarshal(r.Facts, &p.facts); err != nil {
			return driver.ProbeResult{}, patchbay.Errorf(patchbay.Internal, "the probe was not prepared")
		}
		s, err := cfg.scopeOf(who.Username, r.Options)
		if err != nil {
			return driver.ProbeResult{}, err
		}
		if err := p.all(ctx, r.Access, s); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	p.result.TLS, p.result.Took = cl.protocol(), time.Since(started)
	return p.result, nil
}

// loginOf is what signs in.
func loginOf(m mechanism, c driver.Credential) (signIn, error) {
	value := func(name string) patchbay.Secret {
		if v, ok := c.Secret[name]; ok {
			return v
		}
		return patchbay.NewSecret(c.Public[name])
	}
	who := signIn{m, driver.UserPassword{Username: value(publicUser).Reveal(), Password: value(secretWord)}}
	if who.Username == "" || who.Password.IsZero() || strings.ContainsRune(who.Username+who.Password.Reveal(), 0) {
		return signIn{}, patchbay.Errorf(patchbay.LoginRefused, "the credential has no user name, or no password")
	}
	return who, nil
}

// prober tries things as one login.
type prober struct {
	*client
	brokers []*kgo.Broker
	facts   facts
	result  driver.ProbeResult
}

// try is one thing that is tried; it says whether the cluster lets it.
type try struct {
	verb string
	on   kmsg.ACLResourceType
	may  kmsg.ACLOperation
	do   func(context.Context, string) (bool, error)
}

func (p *prober) all(ctx context.Context, access patchbay.Access, s scope) error {
	writes, owns := access != patchbay.Reader, access == patchbay.Owner
	topic := []struct {
		try
		given bool
	}{
		{try{"look at", kmsg.ACLResourceTypeTopic, kmsg.ACLOperationDescribe, p.describe}, true},
		{try{"read", kmsg.ACLResourceTypeTopic, kmsg.ACLOperationRead, p.fetch}, true},
		{try{"write", kmsg.ACLResourceTypeTopic, kmsg.ACLOperationWrite, p.produce}, writes},
		{try{"make", kmsg.ACLResourceTypeTopic, kmsg.ACLOperationCreate, p.create}, owns},
		{try{"delete", kmsg.ACLResourceTypeTopic, kmsg.ACLOperationDelete, p.delete}, owns},
	}
	group := try{"use the group", kmsg.ACLResourceTypeGroup, kmsg.ACLOperationRead, p.join}
	transaction := try{"use the transactional id", kmsg.ACLResourceTypeTransactionalId, kmsg.ACLOperationWrite, p.commit}
	nobodys := p.outside(slices.Concat(s.topics, s.groups, s.transactional))
	for _, pattern := range s.topics[:min(len(s.topics), probed)] {
		for _, t := range topic {
			name := pattern.name
			if pattern.prefixed {
				name += "patchbay-" + rand.Text()
			} else if t.may == kmsg.ACLOperationDelete {
				continue // it may be there
			}
			if err := p.judge(ctx, t.try, name, pattern.String(), t.given); err != nil {
				return err
			}
		}
	}
	for _, pattern := range s.groups[:min(len(s.groups), probed)] {
		if err := p.judge(ctx, group, inside(pattern), pattern.String(), true); err != nil {
			return err
		}
	}
	for _, pattern := range s.transactional[:min(len(s.transactional), probed)] {
		if err := p.judge(ctx, transaction, inside(pattern), pattern.String(), writes); err != nil {
			return err
		}
	}
	if nobodys == "" {
		p.result.NotChecked = append(p.result.NotChecked, "what is outside of its scope: no name is")
	} else {
		for _, t := range topic {
			if err := p.judge(ctx, t.try, nobodys, "other topics", false); err != nil {
				return err
			}
		}
		if err := p.judge(ctx, group, nobodys, "of others", false); err != nil {
			return err
		}
		if err := p.judge(ctx, transaction, nobodys, "of others", false); err != nil {
			return err
		}
	}
	if err := p.judge(ctx, try{"administer", kmsg.ACLResourceTypeCluster, kmsg.ACLOperationDescribe, p.administer}, "kafka-cluster", "the cluster", false); err != nil {
		return err
	}
	return p.judge(ctx, try{"write", kmsg.ACLResourceTypeCluster, kmsg.ACLOperationIdempotentWrite, p.initialize}, "kafka-cluster", "idempotently", writes)
}

func inside(p pattern) string {
	if p.prefixed {
		return p.name + "patchbay-" + rand.Text()
	}
	return p.name
}

// outside is a name that none of them has, "" when there is none.
func (p *prober) outside(all []pattern) string {
	for range 100 {
		if name := rand.Text(); !anyHas(all, name) {
			return name
		}
	}
	return ""
}

// judge tries something, and says what is wrong with the outcome.
func (p *prober) judge(ctx context.Context, t try, name, called string, given bool) error {
	what := t.verb + " " + called
	may, err := t.do(ctx, name)
	switch {
	case err != nil:
		return p.fault(ctx, "try to "+what, err)
	case may && given:
		p.result.Allowed = append(p.result.Allowed, what)
	case !may && !given:
		p.result.Refused = append(p.result.Refused, what)
	case given:
		return patchbay.Errorf(patchbay.RightsMissing, "it may not %s", what)
	case p.facts.allow(t.on, name, t.may):
		p.result.Warnings = append(p.result.Warnings, "it may "+what+", as everybody may: a rule for "+principalOf("*")+" says so")
	default:
		return patchbay.Errorf(patchbay.RightsExcess, "it may %s", what).
			WithFix("where it has no rule for that, the brokers set %s or name it in super.users", openToAll)
	}
	return nil
}

// allowed reads an answer's code: everything else than a refusal comes after the question
// whether it may.
func allowed(number int16) bool {
	return !slices.Contains([]int16{
		kerr.TopicAuthorizationFailed.Code, kerr.GroupAuthorizationFailed.Code,
		kerr.ClusterAuthorizationFailed.Code, kerr.TransactionalIDAuthorizationFailed.Code,
	}, number)
}

const nowhere = math.MaxInt32 // a partition that no topic has

func (p *prober) describe(ctx context.Context, name string) (bool, error) {
	q := kmsg.NewPtrMetadataRequest()
	q.AllowAutoTopicCreation = false
	q.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	answer, err := q.RequestWith(ctx, p.brokers[0])
	if err != nil {
		return false, err
	}
	if len(answer.Topics) != 1 {
		return false, p.budget.Refuse("answers for other topics than it was asked for")
	}
	return allowed(answer.Topics[0].ErrorCode), nil
}

func (p *prober) fetch(ctx context.Context, name string) (bool, error) {
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.PartitionMaxBytes = nowhere, 1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.Partitions = name, append(topic.Partitions, part)
	q := kmsg.NewPtrFetchRequest()
	q.MaxBytes, q.SessionEpoch = 1, -1 // without a session
	q.Topics = append(q.Topics, topic)
	answer, err := q.RequestWith(ctx, p.brokers[0])
	if err != nil {
		return false, err
	}
	if err := code(answer.ErrorCode, nil); err != nil {
		return false, err
	}
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return false, p.budget.Refuse("answers for other topics than it was asked for")
	}
	return allowed(answer.Topics[0].Partitions[0].ErrorCode), nil
}

func (p *prober) produce(ctx context.Context, name string) (bool, error) {
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = nowhere, []byte{}
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = name, append(topic.Partitions, part)
	q := kmsg.NewPtrProduceRequest()
	q.Acks, q.TimeoutMillis = -1, 1000
	q.Topics = append(q.Topics, topic)
	answer, err := q.RequestWith(ctx, p.brokers[0])
	if err != nil {
		return false, err
	}
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return false, p.budget.Refuse("answers for other topics than it was asked for")
	}
	return allowed(answer.Topics[0].Partitions[0].ErrorCode), nil
}

func (p *prober) create(ctx context.Context, name string) (bool, error) {
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Topics, q.ValidateOnly, q.TimeoutMillis = append(q.Topics, topic), true, 5000
	answer, err := q.RequestWith(ctx, p.Client)
	if err != nil {
		return false, err
	}
	if len(answer.Topics) != 1 {
		return false, p.budget.Refuse("answers for other topics than it was asked for")
	}
	return allowed(answer.Topics[0].ErrorCode), nil
}

// delete is for names that no topic has.
func (p *prober) delete(ctx context.Context, name string) (bool, error) {
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = &name
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.Topics, q.TopicNames, q.TimeoutMillis = append(q.Topics, topic), []string{name}, 5000
	answer, err := q.RequestWith(ctx, p.Client)
	if err != nil {
		return false, err
	}
	if len(answer.Topics) != 1 {
		return false, p.budget.Refuse("answers for other topics than it was asked for")
	}
	return allowed(answer.Topics[0].ErrorCode), nil
}

// join asks each broker until one refuses: who does not coordinate the group may say only
// that.
func (p *prober) join(ctx context.Context, name string) (bool, error) {
	for _, broker := range p.brokers {
		protocol := kmsg.NewJoinGroupRequestProtocol()
		protocol.Name = "patchbay"
		q := kmsg.NewPtrJoinGroupRequest()
		q.Group, q.ProtocolType, q.Protocols = name, "consumer", append(q.Protocols, protocol)
		q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = 1, 1 // which no broker takes
		answer, err := q.RequestWith(ctx, broker)
		if err != nil {
			return false, err
		}
		if !allowed(answer.ErrorCode) {
			return false, nil
		}
	}
	return true, nil
}

// commit ends a transaction of a producer that there is not.
func (p *prober) commit(ctx context.Context, name string) (bool, error) {
	q := kmsg.NewPtrEndTxnRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch = name, math.MaxInt64, math.MaxInt16-1
	answer, err := q.RequestWith(ctx, p.brokers[0])
	if err != nil {
		return false, err
	}
	return allowed(answer.ErrorCode), nil
}

func (p *prober) administer(ctx context.Context, _ string) (bool, error) {
	principal := principalOf("patchbay")
	q := kmsg.NewPtrDescribeACLsRequest()
	q.ResourceType, q.ResourcePatternType, q.Principal = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny, &principal
	q.Operation, q.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	answer, err := q.RequestWith(ctx, p.brokers[0])
	if err != nil {
		return false, err
	}
	return allowed(answer.ErrorCode), nil
}

// initialize asks for the number of a producer, which lasts for nobody.
func (p *prober) initialize(ctx context.Context, _ string) (bool, error) {
	q := kmsg.NewPtrInitProducerIDRequest()
	q.ProducerID, q.ProducerEpoch, q.TransactionTimeoutMillis = -1, -1, math.MaxInt32
	answer, err := q.RequestWith(ctx, p.brokers[0])
	if err != nil {
		return false, err
	}
	return allowed(answer.ErrorCode), nil
}
