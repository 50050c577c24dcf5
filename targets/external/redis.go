package external

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
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
	defer func() { _ = conn.Close() }()
	err = signInToRedis(conn, s.value("username"), s.value("password"), database)
	switch {
	case err == nil:
		return nil
	case says(err, "wrongpass", "noauth", "invalid password", "without any password configured", "invalid username-password"):
		return s.refused(err)
	case says(err, "noperm"):
		return nil // it signed in, and may not ping
	case says(err, "db index is out of range"):
		return missing("database", strconv.Itoa(database))
	case errors.As(err, new(redisError)):
		return busy(s, "error of Redis")
	}
	return err
}

// redisError is a server's no, in its own words.
type redisError string

func (e redisError) Error() string { return string(e) }

// signInToRedis does what an application's client does on a new connection. A
// client library of Redis has five hundred commands, and this needs three.
func signInToRedis(conn net.Conn, user, password string, database int) error {
	answers := bufio.NewReaderSize(conn, 4096)
	login := []string{"AUTH", user, password}
	if user == "" {
		login = []string{"AUTH", password}
	}
	for _, do := range []struct {
		command []string
		want    string
	}{{login, "+OK"}, {[]string{"SELECT", strconv.Itoa(database)}, "+OK"}, {[]string{"PING"}, "+PONG"}} {
		if do.command[0] == "SELECT" && database == 0 {
			continue // where every connection begins, and Redis Enterprise knows no other
		}
		if _, err := conn.Write(redisCommand(do.command)); err != nil {
			return err
		}
		line, err := answers.ReadSlice('\n') // one that is longer than the buffer is an error
		if err != nil {
			return err
		}
		answer := strings.TrimRight(string(line), "\r\n")
		if no, ok := strings.CutPrefix(answer, "-"); ok {
			return redisError(no)
		}
		if answer != do.want {
			return errors.New("not what Redis answers")
		}
	}
	return nil
}

// redisCommand is an array of strings in RESP, the protocol of Redis:
// https://redis.io/docs/latest/develop/reference/protocol-spec/.
func redisCommand(words []string) []byte {
	text := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		text = fmt.Appendf(text, "$%d\r\n%s\r\n", len(w), w)
	}
	return text
}
