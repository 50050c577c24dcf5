package external

import (
	"context"
	"errors"
	"strconv"

	"github.com/gomodule/redigo/redis"
)

func probeRedis(ctx context.Context, s *session) error {
	database, err := strconv.Atoi(s.value("database"))
	if err != nil || database < 0 {
		return invalid("the database of Redis is not a number")
	}
	conn, err := s.secured(ctx, "tcp", s.at)
	if err != nil {
		return err
	}
	c := redis.NewConn(conn, 0, 0)
	defer func() { _ = c.Close() }()
	err = signInToRedis(ctx, c, s.value("username"), s.value("password"), database)
	switch {
	case err == nil:
		return nil
	case says(err, "wrongpass", "noauth", "invalid password", "without any password configured", "invalid username-password"):
		return s.refused(err)
	case says(err, "noperm"):
		return nil // it signed in, and may not ping
	case says(err, "db index is out of range"):
		return missing("database", strconv.Itoa(database))
	case errors.As(err, new(redis.Error)):
		return busy(s, "error of Redis")
	}
	return err
}

// signInToRedis does what an application's client does on a new connection.
func signInToRedis(ctx context.Context, c redis.Conn, user, password string, database int) error {
	login := []any{user, password}
	if user == "" {
		login = []any{password}
	}
	if _, err := redis.DoContext(c, ctx, "AUTH", login...); err != nil {
		return err
	}
	if database != 0 { // where every connection begins, and Redis Enterprise knows no other
		if _, err := redis.DoContext(c, ctx, "SELECT", database); err != nil {
			return err
		}
	}
	answer, err := redis.String(redis.DoContext(c, ctx, "PING"))
	if err == nil && answer != "PONG" {
		err = errors.New("not what Redis answers")
	}
	return err
}
