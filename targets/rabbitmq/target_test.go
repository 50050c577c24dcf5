package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/rabbitmq"
)

var dialer = &net.Dialer{}

// as is an action on a channel of the login.
func as(s *testenv.RabbitMQServer, do func(context.Context, *amqp.Channel) error) func(context.Context, string, driver.Credential) error {
	return asIn(s, "", do)
}

// asIn is one in another virtual host than its own.
func asIn(s *testenv.RabbitMQServer, elsewhere string, do func(context.Context, *amqp.Channel) error) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, sub string, c driver.Credential) error {
		at := vhostIn(sub)
		if elsewhere != "" {
			at = elsewhere
		}
		conn, err := enter(ctx, s, at, c.Public["username"], c.Secret["password"].Reveal())
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		ended := ch.NotifyClose(make(chan *amqp.Error, 1))
		err = do(ctx, ch)
		if errors.Is(err, amqp.ErrClosed) { // which may be all that the library says of it
			if said := <-ended; said != nil {
				err = said
			}
		}
		return refused(err)
	}
}

func get(queue string) func(context.Context, *amqp.Channel) error {
	return func(_ context.Context, ch *amqp.Channel) error { _, _, err := ch.Get(queue, true); return err }
}

// publish sends a message and waits until the server has it.
func publish(exchange, key string) func(context.Context, *amqp.Channel) error {
	return func(ctx context.Context, ch *amqp.Channel) error {
		if err := ch.PublishWithContext(ctx, exchange, key, false, false, amqp.Publishing{Body: []byte("x")}); err != nil {
			return err
		}
		return ch.Qos(1, 0, false)
	}
}

func bind(queue, key, exchange string) func(context.Context, *amqp.Channel) error {
	return func(_ context.Context, ch *amqp.Channel) error {
		if err := ch.QueueBind(queue, key, exchange, false, nil); err != nil {
			return err
		}
		return ch.QueueUnbind(queue, key, exchange, nil)
	}
}

// subscribe binds a queue that the server names.
func subscribe(key, exchange string) func(context.Context, *amqp.Channel) error {
	return func(ctx context.Context, ch *amqp.Channel) error {
		q, err := ch.QueueDeclare("", false, true, true, false, nil)
		if err != nil {
			return err
		}
		if err := ch.QueueBind(q.Name, key, exchange, false, nil); err != nil {
			return err
		}
		_, err = ch.ConsumeWithContext(ctx, q.Name, "", true, false, false, false, nil)
		return err
	}
}

// declare makes a queue and takes it away again.
func declare(queue string) func(context.Context, *amqp.Channel) error {
	return func(_ context.Context, ch *amqp.Channel) error {
		if _, err := ch.QueueDeclare(queue, false, false, false, false, nil); err != nil {
			return err
		}
		_, err := ch.QueueDelete(queue, false, false, false)
		return err
	}
}

func declareExchange(name string) func(context.Context, *amqp.Channel) error {
	return func(_ context.Context, ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare(name, "direct", false, false, false, false, nil); err != nil {
			return err
		}
		return ch.ExchangeDelete(name, false, false)
	}
}

// manage asks the management API as the login.
func manage(s *testenv.RabbitMQServer, path string) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, _ string, c driver.Credential) error {
		login := *s
		login.User, login.Password = c.Public["username"], c.Secret["password"].Reveal()
		err := login.Do(ctx, http.MethodGet, path, nil, nil)
		if statusOf(err) == http.StatusUnauthorized {
			return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
		}
		return err
	}
}

func actions(s *testenv.RabbitMQServer, private string) []drivertest.Action {
	all := []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	writers, owners := all[1:], all[2:]
	return []drivertest.Action{
		{Name: "take a message of a queue", Allowed: all, Do: as(s, get("jobs"))},
		{Name: "subscribe to an exchange", Allowed: all, Do: as(s, subscribe("orders.#", "events"))},
		{Name: "publish to an exchange", Allowed: writers, Do: as(s, publish("events", "orders.new"))},
		{Name: "publish to a queue", Allowed: writers, Do: as(s, publish("", "jobs"))},
		{Name: "bind a queue", Allowed: writers, Do: as(s, bind("jobs", "orders.#", "events"))},
		{Name: "make and delete a queue", Allowed: owners, Do: as(s, declare("mine"))},
		{Name: "make and delete an exchange", Allowed: owners, Do: as(s, declareExchange("mine"))},
		{Name: "take a message elsewhere", Do: asIn(s, private, get("jobs"))},
		{Name: "publish elsewhere", Do: asIn(s, private, publish("events", "orders.new"))},
		{Name: "enter the default virtual host", Do: asIn(s, "/", get("jobs"))},
		{Name: "sign in to the management API", Do: manage(s, "/api/whoami")},
		{Name: "list the users", Do: manage(s, "/api/users")},
	}
}

type session struct {
	conn   *amqp.Connection
	closed <-chan struct{}
}

// ending is closed when the connection is, whoever ends it and why.
func ending(conn *amqp.Connection) <-chan struct{} {
	told, ended := conn.NotifyClose(make(chan *amqp.Error, 1)), make(chan struct{})
	go func() {
		defer close(ended)
		for range told { // why, if there is a reason
		}
	}()
	return ended
}

func (s session) Close() { _ = s.conn.Close() }

func (s session) Wait(ctx context.Context) error {
	select {
	case <-s.closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drifts are what somebody does to a login with rabbitmqctl or the management pages.
func drifts(s *testenv.RabbitMQServer, private string) []drivertest.Drift {
	one := func(name string, access patchbay.Access, missing, excess bool, method string, path func(r driver.LoginRequest) string, in any) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: access, Missing: missing, Excess: excess, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return s.Do(ctx, method, path(r), in, nil)
		}}
	}
	permissions := func(r driver.LoginRequest) string { return "/api/permissions/" + esc(vhostIn(r.Sub)) + "/" + r.Name }
	elsewhere := func(r driver.LoginRequest) string { return "/api/permissions/" + esc(private) + "/" + r.Name }
	topics := func(r driver.LoginRequest) string {
		return "/api/topic-permissions/" + esc(vhostIn(r.Sub)) + "/" + r.Name
	}
	user := func(r driver.LoginRequest) string { return "/api/users/" + r.Name }
	limit := func(r driver.LoginRequest) string { return "/api/user-limits/" + r.Name + "/max-connections" }
	perms := func(configure, write, read string) map[string]string {
		return map[string]string{"configure": configure, "write": write, "read": read}
	}
	return []drivertest.Drift{
		one("may not read", patchbay.Writer, true, false, http.MethodPut, permissions, perms(`(?s)\A(?:amq\.gen-.*)\z`, ".*", "")),
		one("may configure everything", patchbay.Writer, false, true, http.MethodPut, permissions, perms(".*", ".*", ".*")),
		one("may write something", patchbay.Reader, true, true, http.MethodPut, permissions, perms(`(?s)\A(?:amq\.gen-.*)\z`, "^jobs$", ".*")),
		one("has no permissions", patchbay.Reader, true, false, http.MethodDelete, permissions, nil),
		one("may enter another virtual host", patchbay.Reader, false, true, http.MethodPut, elsewhere, perms("", "", ".*")),
		one("is bound to routing keys", patchbay.Writer, true, false, http.MethodPut, topics, map[string]string{"exchange": "events", "write": "^a$", "read": "^a$"}),
		one("has lost its note", patchbay.Writer, true, false, http.MethodDelete, topics, nil),
		one("may open no connection", patchbay.Writer, true, false, http.MethodPut, limit, map[string]int{"value": 0}),
		one("has another password", patchbay.Owner, false, false, http.MethodPut, user, map[string]string{"password": "another", "tags": "patchbay"}),
		one("has no password", patchbay.Owner, true, false, http.MethodPut, user, map[string]string{"password_hash": "", "tags": "patchbay"}),
		one("administers the server", patchbay.Reader, false, true, http.MethodPut, user, map[string]string{"password": "another", "tags": "patchbay,administrator"}),
	}
}

// foreign makes a user of that name that is somebody else's.
func foreign(s *testenv.RabbitMQServer) func(testing.TB, string, string) func() error {
	return func(t testing.TB, sub, name string) func() error {
		t.Helper()
		do(t, s, http.MethodPut, "/api/users/"+name, map[string]string{"password": "theirs", "tags": "monitoring"}, nil)
		t.Cleanup(func() { do(t, s, http.MethodDelete, "/api/users/"+name, nil, nil) })
		at := "/api/permissions/" + esc(vhostIn(sub)) + "/" + name
		do(t, s, http.MethodPut, at, map[string]string{"configure": "", "write": "^theirs$", "read": ""}, nil)
		var before, after map[string]any
		do(t, s, http.MethodGet, "/api/users/"+name, nil, &before)
		return func() error {
			if err := s.Do(context.Background(), http.MethodGet, "/api/users/"+name, nil, &after); err != nil {
				return err
			}
			var rights map[string]string
			if err := s.Do(context.Background(), http.MethodGet, at, nil, &rights); err != nil {
				return err
			}
			if fmt.Sprint(before) != fmt.Sprint(after) || rights["write"] != "^theirs$" {
				return fmt.Errorf("it is %v with %v, and was %v", after, rights, before)
			}
			return nil
		}
	}
}

func wrong(c driver.Credential) map[string]driver.Credential {
	with := func(username, password string) driver.Credential {
		return driver.Credential{Public: map[string]string{"username": username}, Secret: driver.Secrets{"password": patchbay.NewSecret(password)}}
	}
	name, password := c.Public["username"], c.Secret["password"].Reveal()
	return map[string]driver.Credential{
		"an altered password": with(name, password[1:]+"x"),
		"another's name":      with("admin", password),
		"no password":         with(name, ""),
		"a name of no user":   with("pb_nobody_g1", password),
	}
}

func TestTheDriverPassesTheSuite(t *testing.T) {
	s := shared(t)
	vhost(t, s, "orders")
	vhost(t, s, "/bills of 100%")
	private := vhost(t, s, "private")
	hostile := map[string]string{
		"/": "~2F", `it's "quoted" $HOME ;`: `it's "quoted" $HOME ;`, "line\nbreak": "line~0Abreak", "Größe 名前": "Größe 名前", "a+b?c#d&e~f": "a+b~3Fc~23d~26e~7Ef", "...": "...",
	}
	var subs []string
	for name, sub := range hostile {
		if name != "/" {
			do(t, s, http.MethodPut, "/api/vhosts/"+esc(name), nil, nil)
			t.Cleanup(func() { do(t, s, http.MethodDelete, "/api/vhosts/"+esc(name), nil, nil) })
		}
		subs = append(subs, sub)
	}
	drivertest.Target(t, drivertest.TargetHarness{
		Driver:  rabbitmq.Driver(),
		Product: "RabbitMQ", Release: 2, Config: register(s),
		Subs: []string{"orders", "~2Fbills of 100~25"}, HostileSubs: subs, MissingSub: "nobodys",
		SignIn: func(ctx context.Context, sub string, c driver.Credential) error {
			conn, err := enter(ctx, s, vhostIn(sub), c.Public["username"], c.Secret["password"].Reveal())
			if err == nil {
				err = conn.Close()
			}
			return err
		},
		OpenSession: func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
			conn, err := enter(ctx, s, vhostIn(sub), c.Public["username"], c.Secret["password"].Reveal())
			if err != nil {
				return nil, err
			}
			return session{conn, ending(conn)}, nil
		},
		Actions: actions(s, private),
		Wrong:   wrong,
		Foreign: foreign(s),
		Drifts:  drifts(s, private),
	})
	// Nothing is left that a login of ours had.
	var users []map[string]any
	do(t, s, http.MethodGet, "/api/users", nil, &users)
	if len(users) != 1 {
		t.Errorf("there are users besides the administrator: %v", users)
	}
}
