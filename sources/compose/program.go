package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// The oldest Compose that has all that is asked of it: env files that may be missing.
const oldestMajor, oldestMinor = 2, 24

// programPath is where programs are looked for. Nothing of this process's own
// environment is handed on: a project's file could show it to an application, and
// could read otherwise than for those who run Compose in its directory.
const programPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"

// run runs Compose in the project's directory.
func (s *source) run(ctx context.Context, l layout, stdin []byte, args ...string) (hosts.Result, error) {
	program, err := s.findProgram(ctx)
	if err != nil {
		return hosts.Result{}, err
	}
	argv := slices.Concat([]string{"env", "-i", programPath, "PWD=" + l.dir, "DOCKER_HOST=unix://" + s.socket}, program, []string{"--ansi", "never", "--progress", "plain"}, args)
	return s.host.Run(ctx, hosts.Command{Argv: argv, Stdin: stdin, MaxOutput: 16 << 20})
}

// findProgram finds out once how Compose is run there, and that it is new enough.
func (s *source) findProgram(ctx context.Context) ([]string, error) {
	if known := s.program.Load(); known != nil {
		return *known, nil
	}
	candidates := [][]string{{"docker", "compose"}, {"docker-compose"}}
	if s.p.Program != "" {
		candidates = [][]string{{s.p.Program}}
	}
	const fix = "install Compose's plug-in for docker for everybody (docker-compose-plugin), or register %s with its program: --program FILE   (one in a home, ~/.docker/cli-plugins/docker-compose, is not looked for)"
	old := ""
	for _, program := range candidates {
		result, err := s.host.Run(ctx, hosts.Command{Argv: slices.Concat([]string{"env", "-i", programPath}, program, []string{"version", "--short"})})
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, patchbay.Errorf(patchbay.SettingsUnreadable, "Compose can't be run: %w", err)
		}
		version := versionForm.FindStringSubmatch(strings.TrimSpace(string(result.Output)))
		if result.Exit != 0 || version == nil {
			continue
		}
		major, _ := strconv.Atoi(version[1])
		minor, _ := strconv.Atoi(version[2])
		if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
			old = version[0]
			continue
		}
		s.program.Store(&program)
		return program, nil
	}
	if old != "" {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the Compose of that machine is %s, and %d.%d or a later one is needed", old, oldestMajor, oldestMinor).WithFix(fix, s.id.Name())
	}
	return nil, patchbay.Errorf(patchbay.NotSupported, "there is no Compose on that machine").WithFix(fix, s.id.Name())
}

var versionForm = regexp.MustCompile(`^v?(\d{1,4})\.(\d{1,4})[^\n ]{0,40}$`)

// model is what of a project Compose says.
type model struct {
	Name     string
	Services map[string]service
}

// service is what of one is needed.
type service struct {
	name          string
	Image         string
	ContainerName string             `json:"container_name"`
	Environment   map[string]*string // nil: not set
	Scale         *int
	Deploy        *struct{ Replicas *int }
	NetworkMode   string `json:"network_mode"`
	Ipc, Pid      string
	VolumesFrom   []string                          `json:"volumes_from"`
	StopGrace     string                            `json:"stop_grace_period"`
	DependsOn     map[string]struct{ Restart bool } `json:"depends_on"`
}

// written is a service as the project's files say it, before env files are read.
type written struct {
	EnvFile     []envFile `json:"env_file"`
	Environment any
}

type envFile struct {
	Path, Format string
	Required     *bool
}

// sets reports whether the service's environment has a name.
func (w written) sets(name string) bool {
	switch all := w.Environment.(type) {
	case map[string]any:
		_, ok := all[name]
		return ok
	case []any:
		return slices.ContainsFunc(all, func(entry any) bool {
			text, _ := entry.(string)
			key, _, _ := strings.Cut(text, "=")
			return key == name
		})
	}
	return false
}

func (f envFile) required() bool { return f.Required == nil || *f.Required }

func (sv service) scale() int {
	switch {
	case sv.Scale != nil:
		return *sv.Scale
	case sv.Deploy != nil && sv.Deploy.Replicas != nil:
		return *sv.Deploy.Replicas
	}
	return 1
}

func (sv service) values() map[string]string {
	all := map[string]string{}
	for name, value := range sv.Environment {
		if value != nil {
			all[name] = *value
		}
	}
	return all
}

// read has Compose read the project. candidate stands in the place of the override,
// on its standard input.
func (s *source) read(ctx context.Context, l layout, candidate *file) (model, error) {
	args, stdin := s.flags(l), []byte(nil)
	if candidate != nil {
		args = s.flagsWith(l, *candidate)
		stdin = []byte(candidate.text)
	}
	var m model
	err := s.ask(ctx, l, &m, stdin, append(args, "config", "--format", "json")...)
	if err != nil {
		return model{}, err
	}
	for name, sv := range m.Services {
		sv.name = name
		m.Services[name] = sv
	}
	return m, nil
}

// written has Compose say which services the project's files have.
func (s *source) written(ctx context.Context, l layout) (map[string]written, error) {
	var m struct{ Services map[string]written }
	err := s.ask(ctx, l, &m, nil, append(s.flags(l), "config", "--format", "json", "--no-interpolate", "--no-normalize", "--no-consistency")...)
	return m.Services, err
}

// ask reads what Compose says of a project.
func (s *source) ask(ctx context.Context, l layout, into any, stdin []byte, args ...string) error {
	result, err := s.run(ctx, l, stdin, args...)
	if err != nil {
		return err
	}
	// Warnings may stand before it and behind it.
	_, text, found := bytes.Cut(slices.Insert(bytes.Clone(result.Output), 0, '\n'), []byte("\n{"))
	if result.Exit != 0 || !found {
		return s.refusedProject(ctx, l, result.Output)
	}
	text = bytes.ReplaceAll(text, []byte("$$"), []byte("$")) // Compose doubles each
	if err := json.NewDecoder(bytes.NewReader(slices.Insert(text, 0, '{'))).Decode(into); err != nil {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "what Compose says of the project in %s can't be read: %s", l.dir, driver.Quoted(err.Error()))
	}
	return nil
}

// refusedProject is Compose's own error about a project.
func (s *source) refusedProject(ctx context.Context, l layout, said []byte) error {
	return patchbay.Errorf(patchbay.SettingsUnreadable, "Compose does not read the project in %s: %s", l.dir, words(said, s.suspects(ctx, l))).
		WithFix("cd %s && docker compose config --quiet   (and mend what it says)", quoted(l.dir))
}

// suspects are what stands for a value in the project's files: an error may quote it,
// and what of it is a secret nobody knows of a file that can't be read.
func (s *source) suspects(ctx context.Context, l layout) map[string]patchbay.Secret {
	all := map[string]patchbay.Secret{}
	for _, name := range slices.Concat([]string{l.base, l.over, path.Join(l.dir, ".env")}, l.files, s.p.EnvFiles) {
		if name == "" {
			continue
		}
		f, _ := s.readFile(ctx, l.abs(name)) // as much as there is
		for line := range strings.Lines(f.text) {
			if at := strings.IndexAny(line, ":="); at >= 0 {
				value := strings.Trim(line[at+1:], " \t\r\n\"'")
				all[fmt.Sprint(len(all))] = patchbay.NewSecret(value)
			}
		}
	}
	return all
}

// words are the end of what Compose said, harmless. It may quote what it read.
func words(said []byte, secrets map[string]patchbay.Secret) string {
	var kept []byte
	for line := range bytes.Lines(said) {
		if !bytes.Contains(line, []byte("level=warning")) {
			kept = append(kept, line...)
		}
	}
	if text := driver.LastWords(kept, secrets); text != "" {
		return text
	}
	return "it says nothing"
}

// flags say which project is meant, as it is for who runs Compose in its directory.
func (s *source) flags(l layout) []string {
	var args []string
	if l.files == nil {
		args = []string{"--project-directory", l.dir}
	}
	for _, f := range l.files {
		args = append(args, "--file", f)
	}
	return append(args, s.common(l)...)
}

// flagsWith is the same with a file on the standard input in place of the override.
func (s *source) flagsWith(l layout, candidate file) []string {
	args := []string{"--project-directory", l.dir, "--file", l.base}
	if candidate.exists {
		args = append(args, "--file", "-")
	}
	return append(args, s.common(l)...)
}

func (s *source) common(l layout) []string {
	var args []string
	if s.p.Project != "" {
		args = append(args, "--project-name", s.p.Project)
	}
	for _, f := range s.p.EnvFiles {
		args = append(args, "--env-file", l.abs(f))
	}
	for _, name := range s.p.Profiles {
		args = append(args, "--profile", name)
	}
	return args
}

// invocation is how a person runs Compose on the project.
func (s *source) invocation(l layout, rest string) string {
	text := fmt.Sprintf("cd %s && docker compose", quoted(l.dir))
	for _, f := range l.files {
		text += " --file " + quoted(f)
	}
	if s.p.Project != "" {
		text += " --project-name " + s.p.Project
	}
	for _, f := range s.p.EnvFiles {
		text += " --env-file " + quoted(f)
	}
	for _, name := range s.p.Profiles {
		text += " --profile " + quoted(name)
	}
	return text + " " + rest
}

// quoted is a word for a shell that a person copies it into.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=-]+$`)
