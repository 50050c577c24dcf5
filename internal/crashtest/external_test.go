package crashtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"patchbay.dev/patchbay/internal/testenv"
)

// redisTarget is a Redis that nobody administers: its login is registered with
// it, or each connection brings its own. An update goes from one to the other,
// and to other names of settings.
type redisTarget struct {
	t      *testing.T
	server *testenv.RedisServer
	// gives says that a connection begins with a login of its own.
	gives bool
}

const theirs = "theirs"

func startRedis(t *testing.T) target {
	r := &redisTarget{t: t, server: testenv.Redis(t, false)}
	c := redis.NewClient(&redis.Options{Addr: r.server.Addr(), Username: r.server.User, Password: r.server.Password})
	defer func() { _ = c.Close() }()
	if err := c.Set(t.Context(), theirs, original, 0).Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

func startGivenRedis(t *testing.T) target {
	r := startRedis(t).(*redisTarget)
	r.gives = true
	return r
}

func (r *redisTarget) name() string {
	if r.gives {
		return "redis, given login"
	}
	return "redis, registered login"
}

func (r *redisTarget) in(t *testing.T) target {
	of := *r
	of.t = t
	return &of
}

func (r *redisTarget) administered() bool { return false }

func (r *redisTarget) resource() (string, map[string]any) {
	return "Microsoft.Cache/redis/cache", map[string]any{"properties": map[string]any{
		"driver": "external", "endpoint": "redis://" + r.server.Addr(),
		"admin": map[string]string{"username": r.server.User, "secret": r.server.Password},
	}}
}

func (r *redisTarget) id() string { return "Microsoft.Cache/redis/cache/databases/0" }

func (r *redisTarget) form(access string) map[string]any {
	info := map[string]any{"authType": "secret"}
	if r.gives == (access == "writer") {
		info["name"], info["secretInfo"] = r.server.User, map[string]any{"secretType": "rawValue", "value": r.server.Password}
	}
	naming := "azure"
	if access == "reader" {
		naming = "native"
	}
	return map[string]any{"authInfo": info, "patchbay": map[string]any{"naming": naming}}
}

func (r *redisTarget) marked() []string { return nil }

func (r *redisTarget) remains() []string { return nil }

// with runs f signed in with the settings.
func (r *redisTarget) with(env map[string]string, f func(context.Context, *redis.Client) error) error {
	address := env["AZURE_REDIS_CONNECTIONSTRING"] + env["REDIS_URL"]
	options, err := redis.ParseURL(address)
	if err != nil {
		return errors.New("the settings name no Redis, or two")
	}
	c := redis.NewClient(options)
	defer func() { _ = c.Close() }()
	return f(r.t.Context(), c)
}

func (r *redisTarget) signsIn(env map[string]string) (who string, err error) {
	err = r.with(env, func(ctx context.Context, c *redis.Client) error {
		who, err = c.Do(ctx, "ACL", "WHOAMI").Text()
		return err
	})
	return who, err
}

func (r *redisTarget) exact(env map[string]string, access string) error {
	name := "AZURE_REDIS_CONNECTIONSTRING"
	if access == "reader" {
		name = "REDIS_URL"
	}
	if env[name] == "" {
		return fmt.Errorf("%s is not among the settings", name)
	}
	return r.with(env, func(ctx context.Context, c *redis.Client) error {
		if err := c.Do(ctx, "ACL", "LIST").Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			return fmt.Errorf("the login may do more than it could: %w", err)
		}
		return nil
	})
}

// untouched says whether anything was written: there is one key, as it was.
func (r *redisTarget) untouched() error {
	c := redis.NewClient(&redis.Options{Addr: r.server.Addr(), Username: r.server.User, Password: r.server.Password})
	defer func() { _ = c.Close() }()
	keys, err := c.Keys(r.t.Context(), "*").Result()
	if err != nil {
		return err
	}
	value, err := c.Get(r.t.Context(), theirs).Result()
	if err != nil || len(keys) != 1 || value != original {
		return fmt.Errorf("the keys are %q, %s is %q (%w)", keys, theirs, value, err)
	}
	return nil
}

func (r *redisTarget) secrets(env map[string]string) []string {
	if len(env) == 0 {
		return nil
	}
	return []string{r.server.Password}
}
