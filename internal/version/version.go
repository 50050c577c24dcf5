// Package version says which build of Patchbay this is.
package version

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// The linker sets these in `make build` and `make release`:
//
//	-X patchbay.dev/patchbay/internal/version.version=v1.2.3
//	-X patchbay.dev/patchbay/internal/version.commit=0123abcd…
//
// A binary of `go install` or `go build` takes them from what the go command
// recorded instead.
var (
	version string
	commit  string
)

// Info is a build.
type Info struct {
	// Version is v1.2.3, a pseudo-version, or "devel" when nobody said.
	Version string `json:"version"`
	// Commit is the full hash, with "-dirty" behind it when the tree had
	// changes; "" when it isn't known.
	Commit string `json:"commit,omitempty"`
	// Go is the toolchain's version: go1.26.8.
	Go string `json:"go"`
	// Platform is os/arch.
	Platform string `json:"platform"`
}

// Get is the build that runs.
func Get() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = nil
	}
	return read(version, commit, build)
}

// read prefers what the linker was told to what the go command recorded.
func read(version, commit string, build *debug.BuildInfo) Info {
	info := Info{
		Version:  version,
		Commit:   commit,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if build != nil {
		if info.Version == "" && build.Main.Version != "(devel)" {
			info.Version = build.Main.Version
		}
		if info.Commit == "" {
			info.Commit = revision(build.Settings)
		}
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	return info
}

func revision(settings []debug.BuildSetting) string {
	var hash, dirty string
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			hash = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if hash == "" {
		return ""
	}
	return hash + dirty
}

// String is one line for people: "v1.2.3 (0123abcd4567, go1.26.8,
// linux/amd64)".
func (i Info) String() string {
	details := []string{i.Go, i.Platform}
	if i.Commit != "" {
		hash, dirty, changed := strings.Cut(i.Commit, "-")
		hash = hash[:min(len(hash), 12)]
		if changed {
			hash += "-" + dirty
		}
		details = append([]string{hash}, details...)
	}
	return i.Version + " (" + strings.Join(details, ", ") + ")"
}
