package settings

import "testing"

func TestServicesAreKnownByImageUnitAndPort(t *testing.T) {
	for _, c := range []struct {
		image, unit string
		ports       []uint16
		kind, title string
		by          string
	}{
		{image: "postgres:16-alpine", kind: "postgresql", title: "PostgreSQL", by: "image postgres"},
		{image: "postgres", kind: "postgresql", title: "PostgreSQL", by: "image postgres"},
		{image: "registry.internal:5000/mirror/postgres@sha256:0123", kind: "postgresql", title: "PostgreSQL", by: "image mirror/postgres"},
		{image: "docker.io/library/postgres:16", kind: "postgresql", title: "PostgreSQL", by: "image postgres"},
		{image: "localhost/postgres", kind: "postgresql", title: "PostgreSQL", by: "image postgres"},
		{image: "docker.io/bitnami/postgresql:17", kind: "postgresql", title: "PostgreSQL", by: "image bitnami/postgresql"},
		{image: "mariadb:11", kind: "mysql", title: "MySQL", by: "image mariadb"},
		{image: "valkey/valkey:8", kind: "redis", title: "Redis", by: "image valkey/valkey"},
		{image: "rabbitmq:4-management", kind: "rabbitmq", title: "RabbitMQ", by: "image rabbitmq"},
		{image: "clickhouse/clickhouse-server:25", title: "ClickHouse", by: "image clickhouse/clickhouse-server"},
		{image: "acme/shop-db:3", ports: []uint16{5432}, kind: "postgresql", title: "PostgreSQL", by: "port 5432"},
		// The image knows better than a port.
		{image: "redis:7", ports: []uint16{5432}, kind: "redis", title: "Redis", by: "image redis"},
		{unit: "postgresql@15-main.service", kind: "postgresql", title: "PostgreSQL", by: "unit postgresql@15-main.service"},
		{unit: "redis-server.service", kind: "redis", title: "Redis", by: "unit redis-server.service"},
		// What only has such a word in it, or a port that anything may have, is none.
		{image: "prometheuscommunity/postgres-exporter"},
		{image: "acme/web:1", ports: []uint16{8080, 9000}},
		{unit: "postgresql-web.timer"},
		{image: "postgres/"}, {image: ":"}, {image: "@"}, {image: "["},
	} {
		s, ok := Recognize(c.image, c.unit, c.ports)
		if ok != (c.title != "") || s.Kind != c.kind || s.Title != c.title || s.By != c.by {
			t.Errorf("%q %q %v: %v, %+v", c.image, c.unit, c.ports, ok, s)
		}
	}
}

func TestACredentialIsThereInWholeOrNot(t *testing.T) {
	s, _ := Recognize("postgres", "", nil)
	fits := func(variables ...string) (n int) {
		for i, k := range s.Admin {
			if k.In(variables) {
				return i
			}
		}
		return -1
	}
	for want, variables := range map[int][]string{
		0:  {"POSTGRES_PASSWORD_FILE"},
		1:  {"POSTGRESQL_POSTGRES_PASSWORD", "POSTGRESQL_USERNAME", "POSTGRESQL_PASSWORD"},
		2:  {"POSTGRESQL_PASSWORD"},
		-1: {"POSTGRES_USER", "PGPASSWORD"},
	} {
		if got := fits(variables...); got != want {
			t.Errorf("%v: set %d, not %d", variables, got, want)
		}
	}
	if s.Endpoint("10.0.0.5:5432") != "10.0.0.5:5432" {
		t.Error(s.Endpoint("10.0.0.5:5432"))
	}
	if s, _ := Recognize("redis", "", nil); s.Endpoint("10.0.0.5:6379") != "redis://10.0.0.5:6379" {
		t.Error(s.Endpoint("10.0.0.5:6379"))
	}
}
