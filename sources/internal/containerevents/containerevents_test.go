package containerevents

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is an engine that says what it is told to. What real ones say, the drivers'
// own tests hear.
type scripted struct {
	said  *io.PipeReader
	say   *io.PipeWriter
	asked atomic.Int64
	since string
}

func newScripted() *scripted {
	s := &scripted{}
	s.said, s.say = io.Pipe()
	return s
}

func (s *scripted) engine() Engine {
	return Engine{
		Key: Key{Address: "engine", Host: s},
		Now: func(context.Context) (time.Time, error) { return time.Unix(12, 5), nil },
		Get: func(_ context.Context, path string, query url.Values) (io.ReadCloser, error) {
			if path == "/events" {
				s.asked.Add(1)
				s.since = query.Get("since")
				return s.said, nil
			}
			return io.NopCloser(strings.NewReader(`[{"Id":"id1","Names":["/db/alias","/web"],"Labels":{"of":"list"}}]`)), nil
		},
	}
}

// tells are the events, one after the other, each as what a watcher of all is told by it.
func tells(t *testing.T, lines ...string) ([]Container, error) {
	t.Helper()
	s := newScripted()
	var all []Container
	begun := false
	go func() {
		for _, line := range lines {
			_, _ = io.WriteString(s.say, line+"\n")
		}
		_ = s.say.Close()
	}()
	err := s.engine().follow(t.Context(), func(c *Container) {
		if c == nil {
			begun = true
			return
		}
		all = append(all, *c)
	})
	if !begun || s.since != "12.000000005" {
		t.Errorf("it has begun: %t, with what happened since %s", begun, s.since)
	}
	return all, err
}

func TestWhatConcernsAContainerIsTold(t *testing.T) {
	const health = `{"Type":"container","Action":"health_status","HealthStatus":"healthy","Actor":{"ID":"id1","Attributes":{"name":"web"}}}`
	for what, c := range map[string]struct {
		lines []string
		want  string // names, with those before
	}{
		"a start":              {[]string{`{"Type":"container","Action":"start","Actor":{"ID":"id2","Attributes":{"name":"other","of":"event"}}}`}, "other"},
		"a new name":           {[]string{`{"Type":"container","Action":"rename","Actor":{"ID":"id1","Attributes":{"name":"web2"}}}`}, "web2<web"},
		"a network":            {[]string{`{"Type":"network","Action":"connect","Actor":{"ID":"n","Attributes":{"container":"id1","name":"bridge"}}}`}, "web"},
		"an unknown's network": {[]string{`{"Type":"network","Action":"connect","Actor":{"ID":"n","Attributes":{"container":"id9"}}}`}, ""},
		"a network that is made": {
			[]string{`{"Type":"network","Action":"create","Actor":{"ID":"n","Attributes":{"container":"id1"}}}`}, "",
		},
		"a health check":          {[]string{`{"Type":"container","Action":"exec_start: sh","Actor":{"ID":"id1","Attributes":{"name":"web"}}}`}, ""},
		"the same health, thrice": {[]string{health, health, health}, "web"},
		"another health":          {[]string{health, strings.ReplaceAll(health, `"healthy"`, `"unhealthy"`)}, "web web"},
		"a network of one that has gone": {[]string{
			`{"Type":"container","Action":"destroy","Actor":{"ID":"id1","Attributes":{"name":"web"}}}`,
			`{"Type":"network","Action":"disconnect","Actor":{"ID":"n","Attributes":{"container":"id1"}}}`,
		}, "web"},
	} {
		all, err := tells(t, c.lines...)
		var names []string
		for _, one := range all {
			if one.Was != "" {
				one.Name += "<" + one.Was
			}
			names = append(names, one.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: told of %q, want %q", what, got, c.want)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: an engine that stops is %v", what, err)
		}
	}
}

func TestAnEngineThatSaysTooMuchIsNotRead(t *testing.T) {
	name, _ := json.Marshal(strings.Repeat("x", 2*maxEvent))
	all, err := tells(t, `{"Type":"container","Action":"start","Actor":{"ID":"i","Attributes":{"name":`+string(name)+`}}}`)
	if err == nil || !strings.Contains(err.Error(), "larger") || len(all) > 0 {
		t.Errorf("%v, %d events", err, len(all))
	}
}

func TestManyShareOneStream(t *testing.T) {
	s := newScripted()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const many = 100
	begun, ended := make(chan struct{}, many), make(chan error, many)
	for range many {
		go func() {
			ended <- Watch(ctx, s.engine(), func(Container) bool { return true }, func() { begun <- struct{}{} })
		}()
	}
	for range many {
		<-begun
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("a hundred have %d streams", n)
	}
	_ = s.say.CloseWithError(errors.New("gone"))
	for range many {
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "gone") {
			t.Errorf("Watch = %v", err)
		}
	}
}
