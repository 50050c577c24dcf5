package driver_test

import (
	"net/url"
	"reflect"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// What the products to come look like.
var (
	anyForm   = driver.EndpointForm{Servers: 32, Path: true, Query: true}
	mysqlForm = driver.EndpointForm{Schemes: map[string]uint16{"": 3306, "mysql": 3306}, Path: true}
	kafkaForm = driver.EndpointForm{Schemes: map[string]uint16{"": 9092, "kafka": 9092, "kafka+tls": 9093}, Servers: 32}
	mustSay   = driver.EndpointForm{Schemes: map[string]uint16{"redis": 6379, "rediss": 6379}}
)

func TestEndpoints(t *testing.T) {
	one := func(scheme, host string, port uint16) []driver.Server { return []driver.Server{{scheme, host, port}} }
	for _, c := range []struct {
		form driver.EndpointForm
		text string
		want driver.Endpoint
	}{
		{anyForm, "db.example", driver.Endpoint{Servers: one("", "db.example", 0)}},
		{anyForm, " 10.0.0.5:5432 ", driver.Endpoint{Servers: one("", "10.0.0.5", 5432)}},
		{anyForm, "::1", driver.Endpoint{Servers: one("", "::1", 0)}},
		{anyForm, "[::1]", driver.Endpoint{Servers: one("", "::1", 0)}},
		{anyForm, "[2001:db8::1]:1", driver.Endpoint{Servers: one("", "2001:db8::1", 1)}},
		{anyForm, "S3+HTTPS://a_b.c/x/y?region=eu&region=us", driver.Endpoint{
			Servers: one("s3+https", "a_b.c", 0), Path: "/x/y", Query: url.Values{"region": {"eu", "us"}}}},
		{anyForm, "h/?u=a@b", driver.Endpoint{Servers: one("", "h", 0), Path: "/", Query: url.Values{"u": {"a@b"}}}},
		{anyForm, "https://h/", driver.Endpoint{Servers: one("https", "h", 0), Path: "/"}},
		{anyForm, "nats://a/,b/", driver.Endpoint{Servers: []driver.Server{{"nats", "a", 0}, {"nats", "b", 0}}, Path: "/"}},
		{anyForm, "mongodb://a,b:2,[::1]:3/shop", driver.Endpoint{
			Servers: []driver.Server{{"mongodb", "a", 0}, {"mongodb", "b", 2}, {"mongodb", "::1", 3}}, Path: "/shop", Query: url.Values{}}},
		{mysqlForm, "h", driver.Endpoint{Servers: one("", "h", 3306)}},
		{mysqlForm, "mysql://[::1]/shop", driver.Endpoint{Servers: one("mysql", "::1", 3306), Path: "/shop", Query: url.Values{}}},
		{kafkaForm, "kafka+tls://a, b:1, kafka://c", driver.Endpoint{
			Servers: []driver.Server{{"kafka+tls", "a", 9093}, {"kafka+tls", "b", 1}, {"kafka", "c", 9092}}}},
		{mustSay, "rediss://h", driver.Endpoint{Servers: one("rediss", "h", 6379)}},
	} {
		got, err := c.form.Parse("the endpoint", c.text)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q = %+v, %v, want %+v", c.text, got, err, c.want)
		}
	}
}

func TestEndpointsThatAreNone(t *testing.T) {
	const canary = "ca-na-ry"
	for form, texts := range map[*driver.EndpointForm][]string{
		&anyForm: {
			"", " ", "a\nb", "a\x00", "a\xffb", strings.Repeat("a", 5000), strings.Repeat("a", 254), strings.Repeat("h,", 32) + "h",
			"://h", "a b://h", "http:///x", ":1", "h:", "h:0", "h:65536", "h:x", "h:1:2", "a,,b", "-h", ".h", "h h", "h;h", "h\"", "größe",
			"[::1", "::1]", "[h]:1", "[10.0.0.1]:1", "fe80::1%eth0", "[fe80::1%a b]:1",
			"u:" + canary + "@h", "x://u:" + canary + "@h", "x://" + canary + "@h:1/x", "a,u:" + canary + "@b", "x://u:" + canary + "/x@h/", "x://u:1/" + canary + "@h",
			"x://h#" + canary, "x://h/%zz" + canary, "x://h/%0a" + canary, "x://h?%zz=" + canary, "h?a=\xff", "h?a=" + strings.Repeat("x", 4096), "x://a/1,b/2", "x://a?b=1,c/2",
		},
		&mysqlForm: {"a,b", "postgres://h", "mysql://h?x=1"},
		&kafkaForm: {"kafka://a,https://b", "kafka://a/x", "a,b/x"},
		&mustSay:   {"h", "h:1", "redis://a,redis://b"},
	} {
		for _, text := range texts {
			_, err := form.Parse("the endpoint", text)
			if patchbay.CodeOf(err) != patchbay.InvalidArgument || strings.Contains(err.Error(), canary) {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

// The right sentence, and what to do: a login in an endpoint is where others look first.
func TestWhatIsWrongWithAnEndpointIsSaid(t *testing.T) {
	unbound := driver.EndpointForm{Servers: 100}
	for _, c := range []struct {
		form      driver.EndpointForm
		text, why string
	}{
		{anyForm, "u:p@h", "a login in it"}, {anyForm, "x://u:p/q@h", "a login in it"},
		{mysqlForm, "a,b", "is one server"}, {kafkaForm, strings.Repeat("h,", 32) + "h", "more than 32 servers"}, {unbound, strings.Repeat("h,", 32) + "h", "more than 32 servers"},
		{mustSay, "h", "has no scheme, and needs redis://, rediss://"}, {mustSay, "http://h", "a scheme that it can't have"},
		{anyForm, "h:", "no port behind its colon"}, {anyForm, "h:0", "a number from 1 to 65535"}, {anyForm, "-h", "a host that can't be one"},
	} {
		_, err := c.form.Parse("the endpoint", c.text)
		if e := patchbay.AsError(err); e == nil || !strings.Contains(e.Message, c.why) || strings.Contains(c.why, "login") != (e.Fix != "") {
			t.Errorf("%q: %v, want %s", c.text, err, c.why)
		}
	}
}

func TestServersAreWrittenAsTheyAreRead(t *testing.T) {
	for _, c := range [][3]string{
		{"nats://h:4222", "h:4222", "nats://h:4222"}, {"tls://[::1]:1", "[::1]:1", "tls://[::1]:1"}, {"a://::1", "::1", "a://[::1]"}, {"a://h", "h", "a://h"},
	} {
		e, err := anyForm.Parse("", c[0])
		if err != nil || e.Servers[0].Address() != c[1] || e.Servers[0].URL() != c[2] {
			t.Errorf("%v: %+v, %v", c, e, err)
		}
	}
}

func FuzzEndpoints(f *testing.F) {
	for _, text := range []string{"h", "a:1,b:2", "x://u:p@h", "[::1]:5", "nats://a,tls://b/", "postgres://h/db?sslmode=require", "x://h/a%2fb?c=d,e"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := anyForm.Parse("the endpoint", text)
		if err != nil {
			if patchbay.CodeOf(err) != patchbay.InvalidArgument {
				t.Fatal(err)
			}
			return
		}
		for _, s := range e.Servers {
			if !driver.IsHost(s.Host) || strings.ContainsAny(s.Address()+s.Scheme, "@/ ,") {
				t.Fatalf("%q is %+v", text, s)
			}
			again, err := anyForm.Parse("", s.Address())
			if err != nil || again.Servers[0].Host != s.Host || again.Servers[0].Port != s.Port {
				t.Fatalf("%+v is read as %+v, %v", s, again, err)
			}
		}
	})
}

func TestAnEndpointMovesAsAWhole(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"10.0.0.5:5432", "db:1"},
		{"10.0.0.5", "db:1"}, // the driver's own port
		{"postgres://10.0.0.5:5432/shop?sslmode=require", "postgres://db:1/shop?sslmode=require"},
		{"nats://10.0.0.5:5432,b:4222", "nats://db:1,nats://b:4222"},
		{"10.0.0.6:5432", ""},
		{"10.0.0.5:5433", ""},
		{"", ""},
	} {
		got, err := driver.MoveEndpoint(test.text, map[string]string{"10.0.0.5:5432": "db:1"})
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s moves to %q, %v; want %q", test.text, got, err, test.want)
		}
	}
	nodes := map[string]string{"10.0.0.5:31432": "db:5432", "10.0.0.6:31432": "db:5432"}
	if got, err := driver.MoveEndpoint("pg://10.0.0.5:31432,10.0.0.6:31432/shop", nodes); got != "pg://db:5432/shop" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := driver.MoveEndpoint("[::1]:5432", map[string]string{"[::1]:5432": "db:1"}); got != "db:1" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
