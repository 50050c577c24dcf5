package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	clientv3 "go.etcd.io/etcd/client/v3"

	"patchbay.dev/patchbay/internal/testenv"
)

// targetRounds are measured of each target.
const targetRounds = 15

// targetBench is a product: how it starts, how it is registered, and its work by hand.
type targetBench struct {
	name  string
	kind  string // of the registration, with its provider
	below string // what is connected to, below the registration
	start func(ctx context.Context) (*targetServer, error)
}

// targetServer is one that runs. By hand is the product's own library on an open
// connection of the administrator.
type targetServer struct {
	registration           map[string]any
	create, signIn, remove func(ctx context.Context, name, password string) error
	stop                   func() error
}

var targetBenches = []targetBench{
	{"MariaDB", "Microsoft.DBforMySQL/flexibleServers", "/databases/shop", startMariaDBTarget},
	{"Redis", "Microsoft.Cache/redis", "/databases/0", startRedisTarget},
	{"etcd", "Patchbay.Services/etcdServers", "", startEtcdTarget},
}

// benchTargets measures one target after the other, beside the same work by hand. What
// fails is said in its row.
func benchTargets(ctx context.Context, out io.Writer) error {
	t := newTable(out, "medians", "create", "by hand", "ratio", "validate", "by hand", "ratio", "delete", "by hand", "ratio")
	for _, one := range targetBenches {
		times, err := one.measure(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			said, _, _ := strings.Cut(err.Error(), "\n")
			t.row(one.name, "not measured: "+said)
			continue
		}
		var cells []string
		for _, step := range []string{"create", "validate", "delete"} {
			ours, theirs := quantile(times[step], .5), quantile(times[step+" by hand"], .5)
			cells = append(cells, ms(ours), ms(theirs), fmt.Sprintf("%.2f", float64(ours)/float64(theirs)))
		}
		t.row(one.name, cells...)
	}
	return t.flush()
}

func (one targetBench) measure(ctx context.Context) (times map[string][]time.Duration, err error) {
	err = inTemp(ctx, func(ctx context.Context, _ io.Writer, dir string) (err error) {
		s, err := one.start(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		b := &connectionBench{dir: dir, steps: map[string][]time.Duration{}}
		stop, err := b.start(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		times, err = b.measureTarget(ctx, one, s)
		return err
	})
	return times, err
}

func (b *connectionBench) measureTarget(ctx context.Context, one targetBench, s *targetServer) (map[string][]time.Duration, error) {
	if err := b.findGroup(ctx); err != nil {
		return nil, err
	}
	id := b.group + "/providers/" + one.kind + "/target"
	if err := b.call(ctx, "PUT", id, map[string]any{"properties": s.registration}, nil); err != nil {
		return nil, err
	}
	if err := b.call(ctx, "PUT", b.group+"/providers/Microsoft.Web/sites/web", map[string]any{"properties": map[string]any{
		"driver": "envfile", "endpoint": filepath.Join(b.dir, "web.env"),
	}}, nil); err != nil {
		return nil, err
	}
	linker := b.group + "/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/orders"
	body := map[string]any{"properties": map[string]any{
		"targetService": map[string]any{"type": "AzureResource", "id": id + one.below},
		"authInfo":      map[string]any{"authType": "secret"}, "clientType": "go",
	}}
	times := map[string][]time.Duration{}
	for i := range targetRounds + warmUp {
		if i == warmUp {
			clear(times)
		}
		hand := newByHand(b, filepath.Join(b.dir, "hand.env"))
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"create", func() error { return b.operate(ctx, "PUT", linker, body) }},
			{"create by hand", func() error {
				return inTurn(
					func() error { return s.create(ctx, hand.role, hand.password) },
					func() error { return s.signIn(ctx, hand.role, hand.password) },
					func() error { return hand.replace("PASSWORD='" + hand.password + "'\n") })
			}},
			{"validate", func() error { return b.operate(ctx, "POST", linker+"/providers/Patchbay.Connector/validate", nil) }},
			{"validate by hand", func() error { return s.signIn(ctx, hand.role, hand.password) }},
			{"delete", func() error { return b.operate(ctx, "DELETE", linker, nil) }},
			{"delete by hand", func() error {
				return inTurn(
					func() error { return hand.replace("") },
					func() error { return s.remove(ctx, hand.role, hand.password) })
			}},
		} {
			start := time.Now()
			if err := step.do(); err != nil {
				return nil, fmt.Errorf("%s: %w", step.name, err)
			}
			times[step.name] = append(times[step.name], time.Since(start))
		}
	}
	return times, nil
}

// inTurn does one thing after the other, until one fails.
func inTurn(all ...func() error) error {
	for _, do := range all {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

func startMariaDBTarget(ctx context.Context) (*targetServer, error) {
	s, err := testenv.StartMariaDB(ctx, false)
	if err != nil {
		return nil, err
	}
	admin, err := s.Open(s.Super, s.Password, "")
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if _, err := admin.ExecContext(ctx, "CREATE TABLE shop.t0 (id int PRIMARY KEY, v text)"); err != nil {
		return nil, errors.Join(err, admin.Close(), s.Stop())
	}
	return &targetServer{
		registration: map[string]any{"driver": "mysql", "endpoint": s.Addr(), "sslmode": "disable", "admin": map[string]string{"username": s.Super, "password": s.Password}},
		create: func(ctx context.Context, name, password string) error {
			_, err := admin.ExecContext(ctx, fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", name, password))
			if err == nil {
				_, err = admin.ExecContext(ctx, fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO %s@'%%'", name))
			}
			return err
		},
		signIn: func(ctx context.Context, name, password string) error {
			db, err := s.Open(name, password, "shop")
			if err != nil {
				return err
			}
			var n int
			err = db.QueryRowContext(ctx, "SELECT count(*) FROM t0").Scan(&n)
			return errors.Join(err, db.Close())
		},
		remove: func(ctx context.Context, name, _ string) error {
			_, err := admin.ExecContext(ctx, fmt.Sprintf("DROP USER %s@'%%'", name))
			return err
		},
		stop: func() error { return errors.Join(admin.Close(), s.Stop()) },
	}, nil
}

func startRedisTarget(ctx context.Context) (*targetServer, error) {
	s, err := testenv.StartRedis(ctx, testenv.RedisOptions{})
	if err != nil {
		return nil, err
	}
	admin := redis.NewClient(&redis.Options{Addr: s.Addr(), Username: "admin", Password: s.Password})
	return &targetServer{
		registration: map[string]any{"driver": "redis", "endpoint": "redis://" + s.Addr(), "admin": map[string]string{"username": "admin", "password": s.Password}},
		create: func(ctx context.Context, name, password string) error {
			return errors.Join(admin.Do(ctx, "ACL", "SETUSER", name, "on", ">"+password, "~*", "+@read", "+@write").Err(), admin.Do(ctx, "ACL", "SAVE").Err())
		},
		signIn: func(ctx context.Context, name, password string) error {
			c := redis.NewClient(&redis.Options{Addr: s.Addr(), Username: name, Password: password})
			return errors.Join(c.Do(ctx, "EXISTS", "k").Err(), c.Close())
		},
		remove: func(ctx context.Context, name, _ string) error {
			return errors.Join(admin.Do(ctx, "ACL", "DELUSER", name).Err(), admin.Do(ctx, "ACL", "SAVE").Err())
		},
		stop: func() error { return errors.Join(admin.Close(), s.Stop()) },
	}, nil
}

func startEtcdTarget(ctx context.Context) (*targetServer, error) {
	s, err := testenv.StartEtcd(ctx, testenv.EtcdOptions{})
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	admin, err := s.Client(s.User, s.Password)
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	const prefix = "/orders/"
	return &targetServer{
		registration: map[string]any{"driver": "etcd", "endpoint": s.URL(), "prefixes": []string{prefix}, "admin": map[string]string{"username": s.User, "password": s.Password}},
		create: func(ctx context.Context, name, password string) error {
			return inTurn(
				func() error { _, err := admin.RoleAdd(ctx, name); return err },
				func() error {
					_, err := admin.RoleGrantPermission(ctx, name, prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
					return err
				},
				func() error { _, err := admin.UserAdd(ctx, name, password); return err },
				func() error { _, err := admin.UserGrantRole(ctx, name, name); return err })
		},
		signIn: func(ctx context.Context, name, password string) error {
			c, err := s.Client(name, password)
			if err != nil {
				return err
			}
			_, err = c.Get(ctx, prefix+"k")
			return errors.Join(err, c.Close())
		},
		remove: func(ctx context.Context, name, _ string) error {
			return inTurn(
				func() error { _, err := admin.UserDelete(ctx, name); return err },
				func() error { _, err := admin.RoleDelete(ctx, name); return err })
		},
		stop: func() error { return errors.Join(admin.Close(), s.Stop()) },
	}, nil
}
