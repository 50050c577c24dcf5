package mosquitto

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/mqttconnect"
)

// Where the plugin is spoken to.
const (
	controlTopics = "$CONTROL/#"
	controlTopic  = "$CONTROL/dynamic-security/v1"
	answerTopic   = controlTopic + "/response"
	versionTopic  = "$SYS/broker/version"
)

// maxValues bounds what is in the JSON that is read of a broker in one call: a value
// of two bytes is a hundred of memory.
const maxValues = 1 << 21

// command is one of the plugin's, with what it is told.
type command map[string]any

func do(name string, more ...any) command {
	c := command{"command": name}
	for i := 0; i+1 < len(more); i += 2 {
		c[more[i].(string)] = more[i+1]
	}
	return c
}

// answer is what the plugin says of a command.
type answer struct {
	Command     string          `json:"command"`
	Error       string          `json:"error"`
	Data        json.RawMessage `json:"data"`
	Correlation string          `json:"correlationData"`
}

// session is the administrator's, for one call.
type session struct {
	config
	conn     *mqttconnect.Conn
	budget   *driver.Budget
	protocol string // of TLS
	answered bool   // the plugin did, so that it is there and may be heard
	values   int
}

// administer runs a call with a session of the administrator's. what is what was tried,
// for people.
func (t *target) administer(ctx context.Context, what string, call func(*session) error) error {
	budget := t.budget(ctx)
	defer budget.End()
	return t.fault(ctx, what, t.asAdmin(ctx, budget, call), budget, patchbay.AdminRefused)
}

func (t *target) asAdmin(ctx context.Context, budget *driver.Budget, call func(*session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, protocol, err := t.connect(ctx, t.dialer, budget, mqttconnect.Login{Username: t.admin.Username, Password: t.admin.Password.Reveal()})
	if err != nil {
		return err
	}
	defer conn.Close()
	s := &session{config: t.config, conn: conn, budget: budget, protocol: protocol}
	reasons, err := conn.Subscribe(false, answerTopic)
	switch {
	case err != nil:
		return err
	case !mqttconnect.Done(reasons[0]):
		return s.lacks("it may not subscribe to %s", answerTopic)
	}
	return call(s)
}

// run has the plugin carry out commands, and gives its answer to each. Those of other
// administrators come here too, and are passed over. A command that the plugin refuses is an answer
// with an error in it.
func (s *session) run(commands ...command) ([]answer, error) {
	id := rand.Text()
	for i := range commands {
		commands[i]["correlationData"] = fmt.Sprintf("%s-%d", id, i)
	}
	text, err := json.Marshal(map[string]any{"commands": commands})
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "the commands can't be written: %w", err)
	}
	reason, err := s.conn.Publish(controlTopic, text)
	switch {
	case err != nil:
		return nil, err
	case mqttconnect.Denied(reason):
		return nil, s.lacks("it may not publish to %s", controlTopic)
	case !mqttconnect.Done(reason):
		return nil, patchbay.Errorf(patchbay.TargetUnreachable, "the broker does not take commands (reason code %d)", reason)
	}
	// The answer is sent before anything is read that we send from now on.
	for range 5 {
		if err := s.conn.Ping(); err != nil {
			return nil, err
		}
		for _, m := range s.conn.Received() {
			answers, err := s.parse(m, id, len(commands))
			if answers != nil || err != nil {
				return answers, err
			}
		}
	}
	if s.answered {
		return nil, patchbay.Errorf(patchbay.Timeout, "the broker took the commands, and its answer was lost").AsTransient()
	}
	return nil, s.silent()
}

// parse reads answers, nil when they are another's.
func (s *session) parse(m mqttconnect.Message, id string, n int) ([]answer, error) {
	if m.Topic != answerTopic || !bytes.Contains(m.Payload, []byte(id)) {
		return nil, nil
	}
	for _, sign := range []string{",", "[", "{"} {
		s.values += bytes.Count(m.Payload, []byte(sign))
	}
	if s.values > maxValues {
		return nil, s.budget.Refuse("tells more than %d values for one question", maxValues)
	}
	var all struct {
		Responses []answer `json:"responses"`
	}
	if err := json.Unmarshal(m.Payload, &all); err != nil {
		return nil, unreadable()
	}
	answers := make([]answer, n)
	for _, a := range all.Responses {
		var i int
		if _, err := fmt.Sscanf(a.Correlation, id+"-%d", &i); err == nil && i >= 0 && i < n {
			answers[i] = a
		}
	}
	for _, a := range answers {
		if a.Command == "" {
			return nil, unreadable()
		}
	}
	s.answered = true
	return answers, nil
}

func unreadable() error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "the plugin's answer can't be read").AsTransient()
}

// silent says why no answer came: nobody gave one, or it may not be heard. The broker takes what is
// published to a topic of its own that it does not know when it has no plugin that decides.
func (s *session) silent() error {
	reason, err := s.conn.Publish("$CONTROL/patchbay/"+rand.Text(), nil)
	if err != nil {
		return err
	}
	if mqttconnect.Denied(reason) {
		return s.lacks("the broker took a command, and no answer came: it may not receive %s, or the broker has no dynamic security plugin", answerTopic)
	}
	return patchbay.Errorf(patchbay.NotSupported, "the broker took a command, and nobody answered: it has no dynamic security plugin").
		WithFix("run mosquitto_ctrl dynsec init FILE admin, and put into mosquitto.conf: plugin …/mosquitto_dynamic_security.so, and plugin_opt_config_file FILE; or register it as external")
}

// lacks is what the administrator may not do, with what gives it.
func (s *session) lacks(format string, args ...any) error {
	return patchbay.Errorf(patchbay.AdminRights, "the administrator %s lacks rights: %s", driver.Quoted(s.admin.Username), fmt.Sprintf(format, args...)).
		WithFix("%s", grant(s.admin.Username))
}

// grant gives a client what an administrator needs and nothing else, as commands of whoever may
// change the plugin's clients.
func grant(username string) string {
	const role = "patchbay-administrator"
	lines := []string{"mosquitto_ctrl dynsec createRole " + role}
	for _, right := range [][2]string{
		{aclSend, controlTopic}, {"subscribeLiteral", answerTopic}, {aclReceive, answerTopic},
		{"subscribeLiteral", versionTopic}, {aclReceive, versionTopic},
	} {
		lines = append(lines, fmt.Sprintf("mosquitto_ctrl dynsec addRoleACL %s %s '%s' allow 100", role, right[0], right[1]))
	}
	lines = append(lines, fmt.Sprintf("mosquitto_ctrl dynsec addClientRole %s %s 100", quoteShell(username), role))
	return strings.Join(lines, "; ")
}

// quoteShell makes a text one word of a shell.
func quoteShell(text string) string {
	return "'" + strings.ReplaceAll(driver.Quoted(text), "'", `'\''`) + "'"
}

// refuse is the plugin's no to a command.
func (a answer) refuse() error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "the plugin did not carry out %s", a.Command).WithSaid(a.Error)
}

// absent reports whether the plugin says that there is no such client or role.
func (a answer) absent() bool { return strings.HasSuffix(a.Error, " not found") }

// version is what the broker calls itself, "" when it does not say or the administrator
// may not hear it.
func (s *session) version() (string, error) {
	reasons, err := s.conn.Subscribe(true, versionTopic)
	if err != nil || !mqttconnect.Done(reasons[0]) {
		return "", err
	}
	if err := s.conn.Ping(); err != nil {
		return "", err
	}
	for _, m := range s.conn.Received() {
		if m.Topic == versionTopic {
			return string(m.Payload[:min(len(m.Payload), 100)]), nil
		}
	}
	return "", nil
}

var errChanged = errors.New("somebody else changes it at the same time")
