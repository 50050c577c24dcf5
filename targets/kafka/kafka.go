// Package kafka administers Kafka clusters as targets.
//
// A login is a SCRAM credential, and rules (ACLs) of its principal. The password never
// reaches the cluster: what is sent is salted here. Kafka has no place for a comment,
// so the mark is a rule too: one that denies the login everything on a consumer group
// whose name is the mark. It gives nothing to anybody, whoever makes such a group, and
// only who may change rules can make or remove it ([mark]).
//
// Kafka has no compare-and-swap either. What has our name and not our mark is left
// alone, and looked for once more after the mark is there and before the credential is:
// whoever makes a credential of exactly that name in the instant between loses it.
//
// # Access
//
//	reader  Read and Describe on the topics, Read on the consumer groups
//	writer  and Write on the topics, Write and Describe on the transactional ids
//	owner   and Create, Alter, Delete, DescribeConfigs and AlterConfigs on the topics, and
//	        Delete on the consumer groups
//
// Whoever may write a topic may write idempotently, from Kafka 2.8 on: nothing on the
// cluster itself is ever given.
//
// # Order
//
// A login is made mark first, then its rights, then the credential; and removed
// credential first, then the rights, then the mark. So what is without our mark is never
// ours, and who can sign in has its rights. A cluster answers before all of its brokers
// know: each is asked until it says so.
package kafka

import (
	"context"

	"patchbay.dev/patchbay/driver"
)

// Driver serves Kafka clusters.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "kafka", Children: []string{""},
		Open: open, Probe: tryLogin,
	}
}

// target is one cluster.
type target struct{ config }

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	cfg, err := parseConfig(c)
	if err == nil {
		err = cfg.parseAdmin(c.Admin)
	}
	if err != nil {
		return nil, err
	}
	return &target{cfg}, nil
}

// Close implements [driver.Target]. Each call has a client of its own.
func (t *target) Close() error { return nil }
