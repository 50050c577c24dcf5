package mosquitto

import (
	"context"
	"crypto/rand"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/mqttconnect"
)

// probedTopics bounds how many topics of each direction a probe tries.
const probedTopics = 8

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = []string{t.address()}
	if r.Access == "" {
		return r, nil
	}
	_, err := t.scopeOf(r.Access, r.Options)
	return r, err
}

// tryLogin is the driver's Probe. A message would reach applications: what may be
// published is offered and never released. What a subscription brings is forgotten.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	const what = "sign in to Mosquitto"
	started := time.Now()
	cfg, err := parseConfig(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	cfg.tls = cfg.tls.ReadBy(r.Reading)
	l, err := loginOf(r.Credential)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	budget := cfg.budget(ctx)
	defer budget.End()
	result, err := cfg.try(ctx, budget, l, r)
	result.Took = time.Since(started)
	return result, cfg.fault(ctx, what, err, budget, patchbay.LoginRefused)
}

func (c config) try(ctx context.Context, budget *driver.Budget, l mqttconnect.Login, r driver.ProbeRequest) (driver.ProbeResult, error) {
	if err := ctx.Err(); err != nil {
		return driver.ProbeResult{}, err
	}
	conn, protocol, err := c.connect(ctx, r.Dialer, budget, l)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer conn.Close()
	conn.Discard = true
	p := &prober{conn: conn, unknown: "patchbay-probe-" + rand.Text()}
	p.result = driver.ProbeResult{TLS: protocol, Allowed: []string{"sign in"}}
	if r.Access == "" {
		return p.result, conn.Ping()
	}
	s, err := c.scopeOf(r.Access, r.Options)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	for _, trial := range s.trials(p.unknown) {
		if err := p.try(trial); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	return p.result, nil
}

// trial is one thing to try.
type trial struct {
	publish bool
	topic   string // a filter, where it is subscribed to
	allowed bool
	name    string // for people
}

// trials are what a scope gives, and what it does not. unknown is a level that nobody has.
func (s scope) trials(unknown string) []trial {
	var list []trial
	for _, f := range s.subscribe[:min(len(s.subscribe), probedTopics)] {
		list = append(list, trial{false, f, true, f})
	}
	for _, f := range s.publish[:min(len(s.publish), probedTopics)] {
		list = append(list, trial{true, example(f, unknown), true, f})
	}
	gives := func(filters []string, topic string) bool {
		for _, f := range filters {
			if covers(f, topic) {
				return true
			}
		}
		return false
	}
	deny := func(publish bool, topic, name string) {
		filters := s.subscribe
		if publish {
			filters = s.publish
		}
		if !gives(filters, topic) {
			list = append(list, trial{publish, topic, false, name})
		}
	}
	for _, f := range s.subscribe[:min(len(s.subscribe), probedTopics)] {
		if level(f) != systemTopics {
			deny(true, example(f, unknown), f)
		}
	}
	for _, f := range s.publish[:min(len(s.publish), probedTopics)] {
		deny(false, f, f)
	}
	deny(false, unknown, "other topics")
	deny(false, "#", "all topics")
	deny(false, systemTopics+"/#", "the broker's own topics")
	deny(false, controlTopics, "the broker's control")
	deny(true, unknown, "other topics")
	deny(true, controlTopic, "the broker's control")
	return list
}

// prober tries things on one connection.
type prober struct {
	conn    *mqttconnect.Conn
	unknown string
	result  driver.ProbeResult
}

func (p *prober) try(t trial) error {
	verb := "subscribe to "
	ask := p.subscribe
	if t.publish {
		verb, ask = "publish to ", p.conn.Offer
		if t.topic == controlTopic {
			ask = p.order
		} else if p.conn.MaxQoS() < 2 {
			p.result.NotChecked = append(p.result.NotChecked, verb+t.name+": the broker takes no messages of QoS 2, which can be offered without being sent")
			return nil
		}
	}
	reason, err := ask(t.topic)
	switch {
	case err != nil:
		return err
	case !t.allowed && mqttconnect.Denied(reason):
		p.result.Refused = append(p.result.Refused, verb+t.name)
	case !t.allowed && mqttconnect.Done(reason):
		return patchbay.Errorf(patchbay.RightsExcess, "it may %s%s, which nobody gave it", verb, t.name)
	case t.allowed && mqttconnect.Done(reason):
		p.result.Allowed = append(p.result.Allowed, verb+t.name)
	case t.allowed && mqttconnect.Denied(reason):
		return patchbay.Errorf(patchbay.RightsMissing, "it may not %s%s", verb, t.name)
	default:
		return patchbay.Errorf(patchbay.TargetUnreachable, "the broker does not let anybody %s%s (reason code %d)", verb, t.name, reason)
	}
	return nil
}

// subscribe tries a subscription and takes it back.
func (p *prober) subscribe(filter string) (byte, error) {
	reasons, err := p.conn.Subscribe(false, filter)
	if err != nil || !mqttconnect.Done(reasons[0]) {
		return first(reasons), err
	}
	return reasons[0], p.conn.Unsubscribe(filter)
}

// order sends the plugin a message without a command in it.
func (p *prober) order(topic string) (byte, error) {
	return p.conn.Publish(topic, []byte(`{"commands":[]}`))
}

func first(reasons []byte) byte {
	if len(reasons) == 0 {
		return 0
	}
	return reasons[0]
}
