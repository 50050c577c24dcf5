package rabbitmq

import (
	"context"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Beyond implements [driver.WarnedLogins]: what the product's permissions can't keep a
// login from.
func (t *target) Beyond(_ context.Context, r driver.LoginRequest) ([]string, error) {
	s, err := scopeOf(r.Access, r.Options)
	if err != nil {
		return nil, err
	}
	switch {
	case s.all && r.Access == patchbay.Writer:
		return []string{"who may publish to every exchange may also bind and unbind every queue of the virtual host"}, nil
	case s.all:
		return nil, nil
	}
	list := []string{
		"RabbitMQ's permissions are for names: what the login may do with a queue, it may do with an exchange of that name, and the other way round",
		"who may enter a virtual host learns how many messages and consumers a queue there has, whose name it knows",
	}
	if r.Access != patchbay.Reader && slices.Contains(s.exchanges, defaultExchange) {
		list = append(list, "RabbitMQ checks that a login may use the default exchange, not which queue it sends to: this login can send messages to every queue of the virtual host whose name it knows; give applications that may not a virtual host each, or name an exchange with --option exchanges=…")
	}
	return list, nil
}
