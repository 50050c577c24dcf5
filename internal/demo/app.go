package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/joho/godotenv"
	"github.com/nats-io/nats.go"
)

// AppCommand is the hidden first argument that makes this program the
// demonstration's application.
const AppCommand = "demo-app"

// event is one line of what the application says.
type event struct {
	Kind string `json:"kind"` // loaded, signedIn, refused, stopped
	User string `json:"user,omitempty"`
	Text string `json:"text,omitempty"`
}

// pace is how often the application signs in anew. An application keeps its
// connection; this one does not, so that a login that is refused even for a
// moment is seen.
const pace = 20 * time.Millisecond

// App is a small application: it reads its settings from a .env file at start
// and on SIGHUP, and then signs in and works, over and over. It knows nothing
// of Patchbay.
//
//	demo-app nats|postgres FILE.env FILE.pid
func App(ctx context.Context, args []string, out io.Writer) int {
	if len(args) != 3 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: demo-app nats|postgres FILE.env FILE.pid")
		return 2
	}
	work, needs := workNATS, natsSetting
	if args[0] == "postgres" {
		work, needs = workPostgres, postgresSetting
	}
	lines := json.NewEncoder(out)
	say := func(e event) { _ = lines.Encode(e) } // nobody listens: nothing to be done

	env, err := godotenv.Read(args[1])
	if err != nil {
		env = map[string]string{}
	}
	if _, err := work(ctx, env); err != nil {
		say(event{Kind: "stopped", Text: err.Error()})
		return 1
	}
	if err := os.WriteFile(args[2], []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		say(event{Kind: "stopped", Text: err.Error()})
		return 1
	}
	defer func() { _ = os.Remove(args[2]) }()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	ticks := time.NewTicker(pace)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return 0
		case <-reload:
			// An application that finds no settings goes on with those it has.
			if anew, err := godotenv.Read(args[1]); err == nil && anew[needs] != "" {
				env = anew
			}
			say(event{Kind: "loaded"})
		case <-ticks.C:
			user, err := work(ctx, env)
			if err != nil {
				say(event{Kind: "refused", Text: err.Error()})
			} else {
				say(event{Kind: "signedIn", User: user})
			}
		}
	}
}

// workNATS sends a message and receives it.
func workNATS(_ context.Context, env map[string]string) (string, error) {
	if env[natsSetting] == "" {
		return "", fmt.Errorf("%s is not set", natsSetting)
	}
	refused := make(chan error, 1)
	nc, err := nats.Connect(env[natsSetting], nats.NoReconnect(), nats.Timeout(2*time.Second),
		nats.UserJWTAndSeed(env["NATS_USER_JWT"], env["NATS_NKEY_SEED"]),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case refused <- err:
			default:
			}
		}))
	if err != nil {
		return "", err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync(Subject)
	if err != nil {
		return "", err
	}
	if err := nc.Publish(Subject, []byte("an order")); err != nil {
		return "", err
	}
	if _, err := sub.NextMsg(2 * time.Second); err != nil {
		select {
		case err = <-refused:
		default:
		}
		return "", err
	}
	return env["NATS_USER_JWT"], nil
}

// workPostgres writes a row and reads it.
func workPostgres(ctx context.Context, env map[string]string) (string, error) {
	if env[postgresSetting] == "" {
		return "", fmt.Errorf("%s is not set", postgresSetting)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, env[postgresSetting])
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var user string
	err = conn.QueryRow(ctx, "INSERT INTO "+Table+" (what) VALUES ('an order') RETURNING current_user").Scan(&user)
	return user, err
}

// The settings that the application reads first, and what it works on.
const (
	natsSetting     = "NATS_URL"
	postgresSetting = "AZURE_POSTGRESQL_CONNECTIONSTRING"

	Subject = "orders.demo"
	Table   = "patchbay_demo_orders"
)
