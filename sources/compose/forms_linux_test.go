package compose

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// form of a project: its files, and how who runs it does so.
type composition struct {
	files      map[string]string
	args       []string // of docker compose, before its command
	properties map[string]any
	has        map[string]string // what the service has without a connection
}

var composed = map[string]composition{
	"include": {
		files: map[string]string{
			"compose.yaml":     "include: [parts/web.yaml, {path: parts/db.yaml, env_file: parts/db.vars}]\n",
			"parts/web.yaml":   "services:\n  web:\n    image: app\n    env_file: [{path: web.env}]\n    environment: {THEIRS: \"1\"}\n    depends_on: [db]\n",
			"parts/web.env":    "BESIDE=2\n",
			"parts/db.yaml":    "services:\n  db:\n    image: ${IMAGE}\n",
			"parts/db.vars":    "IMAGE=app\n",
			"parts/unused.env": "PB_A=never\n",
		},
		has: map[string]string{"THEIRS": "1", "BESIDE": "2"},
	},
	"include, env file": {
		files: map[string]string{
			"compose.yaml":   "include: [parts/web.yaml]\n",
			"parts/web.yaml": "services:\n  web:\n    image: app\n    env_file: [{path: web.patchbay.env, required: false}]\n",
		},
		properties: map[string]any{"deliver": byEnvFile},
		has:        map[string]string{},
	},
	"extends": {
		files: map[string]string{
			"compose.yaml": "services:\n  web:\n    extends: {file: common.yaml, service: base}\n    environment: {OWN: \"2\", PB_A: theirs}\n  worker:\n    extends: web\n",
			"common.yaml":  "services:\n  base:\n    image: app\n    environment: [THEIRS=1, OWN=1]\n    env_file: common.env\n",
			"common.env":   "BESIDE=3\n",
		},
		has: map[string]string{"THEIRS": "1", "OWN": "2", "BESIDE": "3", "PB_A": "theirs"},
	},
	"several files": {
		files: map[string]string{
			"base.yaml": "services:\n  web:\n    image: nobody\n    environment: {THEIRS: \"1\"}\n    env_file: [{path: ./web.patchbay.env, required: false}]\n",
			"prod.yaml": "services:\n  web:\n    image: app\n    environment: {THEIRS: \"2\"}\n",
		},
		args:       []string{"--file", "base.yaml", "--file", "prod.yaml"},
		properties: map[string]any{"files": []string{"base.yaml", "prod.yaml"}, "deliver": byEnvFile},
		has:        map[string]string{"THEIRS": "2"},
	},
	"several files of another directory": {
		files: map[string]string{
			"deploy/base.yaml": "services:\n  web:\n    image: app\n    env_file: [{path: ./web.patchbay.env, required: false}]\n",
			"prod.yaml":        "services:\n  web:\n    environment: {THEIRS: \"2\"}\n",
		},
		args:       []string{"--file", "deploy/base.yaml", "--file", "prod.yaml"},
		properties: map[string]any{"files": []string{"deploy/base.yaml", "prod.yaml"}, "deliver": byEnvFile},
		has:        map[string]string{"THEIRS": "2"},
	},
	"files that the .env names": {
		files: map[string]string{
			"a.yaml": "services:\n  web:\n    image: app\n    env_file: [{path: ./web.patchbay.env, required: false}]\n",
			"b.yaml": "services:\n  web:\n    environment: {THEIRS: \"2\"}\n",
			".env":   "COMPOSE_FILE=a.yaml:b.yaml\n",
		},
		properties: map[string]any{"files": []string{"a.yaml", "b.yaml"}, "deliver": byEnvFile},
		has:        map[string]string{"THEIRS": "2"},
	},
	"an override of theirs": {
		files: map[string]string{
			"compose.yaml":          "services:\n  web:\n    image: app\n    environment: {THEIRS: \"1\"}\n    env_file: [{path: ./web.patchbay.env, required: false}]\n",
			"compose.override.yaml": "services:\n  web:\n    environment: {THEIRS: \"2\"}\n",
		},
		properties: map[string]any{"deliver": byEnvFile},
		has:        map[string]string{"THEIRS": "2"},
	},
	"a profile": {
		files: map[string]string{
			"compose.yaml": "services:\n  web:\n    image: app\n    profiles: [front]\n    depends_on: [db]\n  db:\n    image: app\n    profiles: [back]\n  other:\n    image: nobody\n    profiles: [never]\n",
		},
		args:       []string{"--profile", "front", "--profile", "back"},
		properties: map[string]any{"profiles": []string{"front", "back"}},
		has:        map[string]string{},
	},
	"a profile of the .env": {
		files: map[string]string{
			"compose.yaml": "services:\n  web:\n    image: app\n    profiles: [front]\n",
			".env":         "COMPOSE_PROFILES=front\n",
		},
		has: map[string]string{},
	},
	"a .env": {
		files: map[string]string{
			"compose.yaml": "services:\n  web:\n    image: ${IMAGE:-nobody}\n    environment:\n      THEIRS: ${SAID?}\n      PRICE: \"$$5\"\n      PASSED:\n",
			".env":         "IMAGE=app\nSAID='it is $IMAGE \"so\"'\nPASSED=on\n",
		},
		has: map[string]string{"THEIRS": `it is $IMAGE "so"`, "PRICE": "$5", "PASSED": "on"},
	},
	"a .env with the project's name": {
		files: map[string]string{
			"compose.yaml": "services:\n  web:\n    image: app\n",
			".env":         "COMPOSE_PROJECT_NAME=renamed\n",
		},
		has: map[string]string{},
	},
	"another file of variables": {
		files: map[string]string{
			"compose.yaml": "services:\n  web:\n    image: ${IMAGE}\n    environment: {THEIRS: \"${SAID}\"}\n",
			"prod.vars":    "IMAGE=app\nSAID=prod\n",
			".env":         "IMAGE=nobody\nSAID=dev\n",
		},
		args:       []string{"--env-file", "prod.vars"},
		properties: map[string]any{"envFiles": []string{"prod.vars"}},
		has:        map[string]string{"THEIRS": "prod"},
	},
	"env files that are missing": {
		files: map[string]string{
			"compose.yaml": "services:\n  web:\n    image: app\n    env_file:\n      - path: ./missing.env\n        required: false\n      - ./there.env\n",
			"there.env":    "THEIRS=1\nPB_A=theirs\n",
		},
		has: map[string]string{"THEIRS": "1", "PB_A": "theirs"},
	},
	"env files that are missing, and ours": {
		files: map[string]string{
			"compose.yaml": "services:\n  web:\n    image: app\n    env_file:\n      - ./there.env\n      - path: ./missing.env\n        required: false\n      - path: ./web.patchbay.env\n        required: false\n",
			"there.env":    "THEIRS=1\nPB_A=theirs\n",
		},
		properties: map[string]any{"deliver": byEnvFile},
		has:        map[string]string{"THEIRS": "1", "PB_A": "theirs"},
	},
	"anchors, a name and an extension": {
		files: map[string]string{
			"docker-compose.yml": "name: named\nx-env: &env {THEIRS: \"1\"}\nservices:\n  web: &web\n    image: app\n    environment: {<<: *env, OWN: \"2\"}\n  other:\n    <<: *web\n    scale: 0\n",
		},
		has: map[string]string{"THEIRS": "1", "OWN": "2"},
	},
	"an image that Compose builds": {
		files: map[string]string{
			"compose.yaml": "services:\n  web:\n    build: .\n    environment: {THEIRS: \"1\"}\n",
			"Dockerfile":   "FROM app\nENV OF_THE_IMAGE=3\nENTRYPOINT [\"/app\"]\n",
		},
		has: map[string]string{"THEIRS": "1", "OF_THE_IMAGE": "3"},
	},
}

// TestProjectsOfEveryForm: a connection comes, changes and goes, and each time who runs
// the project as before finds nothing to do; the project's own files stay byte for byte.
func TestProjectsOfEveryForm(t *testing.T) {
	w := start(t)
	for _, what := range slices.Sorted(maps.Keys(composed)) {
		form := composed[what]
		if !*all && what != "include" { // each makes containers anew four times
			continue
		}
		t.Run(what, func(t *testing.T) {
			s := w.shop(t)
			s.lay(t, form)
			s.must(t, "up", "--detach")
			s.has(t, form.has)
			content, err := s.content()
			must(t, err)
			source := s.open(t, form.properties)
			info, err := source.Inspect(t.Context())
			must(t, err)
			if len(info.Warnings) > 0 {
				t.Errorf("it is warned of %q", info.Warnings)
			}
			with := func(value string) map[string]string {
				all := map[string]string{"PB_A": value}
				for name, value := range form.has {
					if name != "PB_A" {
						all[name] = value
					}
				}
				return all
			}
			first := change("u1", "PB_A", "it's $1")
			connect(t, source, first)
			must(t, source.Restart(t.Context()))
			s.has(t, with("it's $1"))
			s.settled(t)
			second := change("u1", "PB_A", "2")
			second.Mark.Generation, second.Had = 2, first.Set
			before := connect(t, source, second)
			must(t, source.Restart(t.Context()))
			s.has(t, with("2"))
			must(t, source.RestoreSettings(t.Context(), second, before))
			must(t, source.Restart(t.Context()))
			s.has(t, with("it's $1"))
			s.settled(t)
			connect(t, source, gone(first))
			must(t, source.Restart(t.Context()))
			s.has(t, form.has)
			s.settled(t)
			if after, _ := s.content(); after != content {
				t.Errorf("after a delete the project is\n%s\nwant\n%s", after, content)
			}
		})
	}
}

// lay writes a project of that form in place of the one that is there.
func (s *shop) lay(t testing.TB, form composition) {
	t.Helper()
	must(t, os.Remove(filepath.Join(s.dir, "compose.yaml")))
	for name, text := range form.files {
		path := filepath.Join(s.dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	s.args = form.args
	name, err := s.compose("config", "--format", "json")
	must(t, err)
	if m := projectName.FindStringSubmatch(name); m != nil {
		s.name = m[1]
	}
}

var projectName = regexp.MustCompile(`(?m)^  "name": "([^"]+)"`)

// TestAServiceOfAProfile that is not active is not there, and what helps is said.
func TestAServiceOfAProfile(t *testing.T) {
	whole(t)
	s := start(t).shop(t)
	s.lay(t, composed["a profile"])
	s.must(t, "up", "--detach")
	refused(t, s.open(t, nil).CheckChange(t.Context(), change("u1", "PB_A", "1")), patchbay.SourceNotFound, "--profiles")
}

// TestComposeOfBefore is Debian's, a program in Python of before 2021: it is refused,
// and nothing is done.
func TestComposeOfBefore(t *testing.T) {
	program := "/usr/bin/docker-compose"
	out, err := exec.Command(program, "version", "--short").Output()
	if err != nil || !strings.HasPrefix(string(out), "1.") {
		t.Skipf("NOT CHECKED: Debian's Compose of before is not at %s: `apt-get install docker-compose` installs it", program)
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte("services: {web: {image: app}}\n"), 0o600))
	s := &shop{world: &world{program: program, Engine: &testdocker.Engine{Socket: "/nobody/is/asked"}, deliver: byOverride}, dir: dir}
	source := s.open(t, nil)
	_, err = source.Inspect(t.Context())
	refused(t, err, patchbay.NotSupported, "is "+strings.TrimSpace(string(out))+", and 2.24 or a later one is needed")
	refused(t, source.CheckChange(t.Context(), change("u1", "PB_A", "1")), patchbay.NotSupported, "docker-compose-plugin")
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 1 {
		t.Errorf("something was done: %q, %v", names, err)
	}
}
