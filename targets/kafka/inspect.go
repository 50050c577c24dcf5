package kafka

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const maxBrokers = 1000

// needed are the requests without which nothing here works.
var needed = []int16{29, 30, 31, 50, 51, 60}

// since are requests, and the version that had each first; the oldest comes first.
var since = []struct {
	key     int16
	version string
}{{50, "2.7"}, {60, "2.8"}, {66, "3.0"}, {71, "3.7"}, {75, "3.8"}, {90, "4.1"}}

// advertised is where a broker says that it is.
func advertised(host string, port int32) (string, error) {
	if !driver.IsHost(host) || port < 1 || port > 65535 {
		return "", net.InvalidAddrError("a broker's address")
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port))), nil
}

// Inspect implements [driver.Target].
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	const what = "look at the Kafka cluster"
	if sub != "" {
		return driver.TargetInfo{}, noChild(sub)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := t.session(ctx, what)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	defer s.end()
	info := driver.TargetInfo{Values: map[string]string{
		"servers": strings.Join(t.servers, ","), "mechanism": t.mechanism.name(), "sslmode": string(t.secure.Mode),
	}}
	if t.secure.CA != "" {
		info.Values["ca"] = t.secure.CA
	}
	if t.secure.ServerName != "" {
		info.Values["serverName"] = t.secure.ServerName
	}
	if info.Version, err = s.version(ctx); err == nil {
		err = s.mayAdminister(ctx)
	}
	if err != nil {
		return driver.TargetInfo{}, s.fault(ctx, what, err)
	}
	info.TLS = s.protocol()
	if info.TLS == "" {
		info.Warnings = append(info.Warnings, "connections to the cluster are not encrypted: what is sent and read can be read on the way")
	}
	for i, at := range s.at {
		if !slices.Contains(t.servers, at) && i < 5 {
			info.Warnings = append(info.Warnings, "a broker tells clients that it is at "+driver.Quoted(at)+", which the endpoint does not name: the application has to reach it too, and guards open only the way to what the endpoint names")
		}
	}
	more, err := s.warnings(ctx, t.scope)
	info.Warnings = append(info.Warnings, more...)
	if err != nil {
		return driver.TargetInfo{}, s.fault(ctx, what, err)
	}
	return info, nil
}

// version is the newest whose requests it knows: that is all that a broker says of its
// own.
func (s *session) version(ctx context.Context) (string, error) {
	q := kmsg.NewPtrApiVersionsRequest()
	q.ClientSoftwareName, q.ClientSoftwareVersion = "patchbay", "1" // no broker takes none
	answer, err := q.RequestWith(ctx, s.brokers[0])
	if err == nil {
		err = code(answer.ErrorCode, nil)
	}
	if err != nil {
		return "", err
	}
	knows := func(key int16) bool {
		return slices.ContainsFunc(answer.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == key })
	}
	version := "older than 2.7"
	for _, s := range since {
		if knows(s.key) {
			version = s.version
		}
	}
	for _, key := range needed {
		if !knows(key) {
			return "", patchbay.Errorf(patchbay.NotSupported, "the cluster seems to be %s, and has to have version 2.8 at least: it does not know request %d", version, key)
		}
	}
	return version, nil
}

// mayAdminister tries what can be tried without an effect, and asks for the rest.
func (s *session) mayAdminister(ctx context.Context) error {
	nobody := principalOf("patchbay")
	if _, err := s.rules(ctx, s.brokers[0], kmsg.ACLResourceTypeAny, &nobody); err != nil {
		return err
	}
	q := kmsg.NewPtrDescribeClusterRequest()
	q.IncludeClusterAuthorizedOperations = true
	answer, err := q.RequestWith(ctx, s.brokers[0])
	if err == nil {
		err = code(answer.ErrorCode, answer.ErrorMessage)
	}
	if err != nil {
		return err
	}
	const untold = -1 << 31
	if may := answer.ClusterAuthorizedOperations; may != untold && may&(1<<kmsg.ACLOperationAlter) == 0 {
		return kerr.ClusterAuthorizationFailed
	}
	return nil
}

// openToAll is the setting by which what has no rule is everybody's.
const openToAll = "allow.everyone.if.no.acl.found"

// warnings are what an administrator should know of a cluster.
func (s *session) warnings(ctx context.Context, sc scope) (all []string, err error) {
	q := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	// Without names: of one that Kafka itself does not know it would say nothing.
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(s.nodes[0]))
	q.Resources = append(q.Resources, r)
	configs, err := q.RequestWith(ctx, s.brokers[0])
	if err != nil {
		return nil, err
	}
	for _, r := range configs.Resources { // who may not read it is not told
		for _, c := range r.Configs {
			if c.Name == openToAll && (c.Value == nil || *c.Value != "false") {
				all = append(all, "the brokers set "+openToAll+": unless it is false, what has no rule is everybody's, and the first rule that a connection gets takes a topic away from all who have none. Make rules for them first, or set it to false")
			}
		}
	}
	m := kmsg.NewPtrMetadataRequest()
	m.AllowAutoTopicCreation = false
	m.Topics = []kmsg.MetadataRequestTopic{}
	for _, p := range sc.topics {
		if !p.prefixed {
			m.Topics = append(m.Topics, kmsg.MetadataRequestTopic{Topic: &p.name})
		}
	}
	if len(m.Topics) == 0 {
		return all, nil
	}
	topics, err := m.RequestWith(ctx, s.brokers[0])
	if err != nil {
		return all, err
	}
	for _, topic := range topics.Topics {
		if topic.ErrorCode == kerr.UnknownTopicOrPartition.Code && topic.Topic != nil {
			all = append(all, "the cluster has no topic "+driver.Quoted(*topic.Topic))
		}
	}
	return all, nil
}
