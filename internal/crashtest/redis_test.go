package crashtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// usersTarget is a Redis whose users Patchbay makes.
type usersTarget struct{ *redisTarget }

func startRedisUsers(t *testing.T) target {
	u := &usersTarget{startRedis(t).(*redisTarget)}
	// Somebody else's user, which has to survive everything.
	if err := u.admin(func(ctx context.Context, c *redis.Client) error {
		return c.Do(ctx, "ACL", "SETUSER", theirs, "on", ">theirs", "~theirs:*", "+@read", "(~patchbay:x -@all)").Err()
	}); err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *usersTarget) admin(f func(context.Context, *redis.Client) error) error {
	c := redis.NewClient(&redis.Options{Addr: u.server.Addr(), Username: "admin", Password: u.server.Password})
	defer func() { _ = c.Close() }()
	return f(context.Background(), c)
}

func (u *usersTarget) name() string { return "redis" }

func (u *usersTarget) in(t *testing.T) target {
	return &usersTarget{u.redisTarget.in(t).(*redisTarget)}
}

func (u *usersTarget) administered() bool { return true }

func (u *usersTarget) form(access string) map[string]any { return ownLogin(access) }

func (u *usersTarget) resource() (string, map[string]any) {
	return "Microsoft.Cache/redis/cache", map[string]any{"properties": map[string]any{
		"driver": "redis", "endpoint": "redis://" + u.server.Addr(),
		"admin": map[string]string{"username": "admin", "password": u.server.Password},
	}}
}

func (u *usersTarget) marked() []string {
	u.t.Helper()
	var names []string
	if err := u.admin(func(ctx context.Context, c *redis.Client) error {
		all, err := c.Do(ctx, "ACL", "USERS").StringSlice()
		for _, name := range all {
			if strings.HasPrefix(name, "pb_") {
				names = append(names, name)
			}
		}
		return err
	}); err != nil {
		u.t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func (u *usersTarget) remains() []string { return u.marked() }

func (u *usersTarget) exact(env map[string]string, access string) error {
	return u.with(env, func(ctx context.Context, c *redis.Client) error {
		for _, try := range []struct {
			command []any
			allowed bool
		}{
			{[]any{"GET", theirs}, true},
			{[]any{"SETRANGE", "nobodys", 0, ""}, access != "reader"},
			{[]any{"SORT", "nobodys"}, access == "owner"},
			{[]any{"SELECT", 1}, false}, {[]any{"ACL", "LIST"}, false}, {[]any{"CONFIG", "GET", "x"}, false},
		} {
			err := c.Do(ctx, try.command...).Err()
			refused := err != nil && strings.HasPrefix(err.Error(), "NOPERM")
			if err != nil && !refused && !errors.Is(err, redis.Nil) {
				return err
			}
			if refused == try.allowed {
				return fmt.Errorf("%v as %s: refused %t", try.command, access, refused)
			}
		}
		return nil
	})
}

func (u *usersTarget) untouched() error {
	err := u.admin(func(ctx context.Context, c *redis.Client) error {
		lines, err := c.Do(ctx, "ACL", "LIST").StringSlice()
		if err == nil && !slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "user "+theirs+" on ") && strings.Contains(line, " ~theirs:* ") && strings.Contains(line, "(~patchbay:x ")
		}) {
			err = fmt.Errorf("the user %s is not as it was: %q", theirs, lines)
		}
		return err
	})
	if err != nil {
		return err
	}
	return u.redisTarget.untouched()
}

func (u *usersTarget) secrets(env map[string]string) []string {
	var all []string
	for _, value := range env {
		if at, err := url.Parse(value); err == nil {
			if password, ok := at.User.Password(); ok {
				all = append(all, password)
			}
		}
	}
	return all
}
