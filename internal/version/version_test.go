package version

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestWhatTheLinkerWasToldGoesBeforeWhatTheGoCommandRecorded(t *testing.T) {
	recorded := &debug.BuildInfo{Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "89abcdef0123456789abcdef0123456789abcdef"},
		{Key: "vcs.modified", Value: "true"},
	}}
	recorded.Main.Version = "v0.9.0"
	devel := &debug.BuildInfo{}
	devel.Main.Version = "(devel)"

	tests := []struct {
		name            string
		version, commit string
		build           *debug.BuildInfo
		wantVersion     string
		wantCommit      string
	}{
		{"stamped", "v1.2.3", "abc", recorded, "v1.2.3", "abc"},
		{"only recorded", "", "", recorded, "v0.9.0", "89abcdef0123456789abcdef0123456789abcdef-dirty"},
		{"go run", "", "", devel, "devel", ""},
		{"no build info", "", "", nil, "devel", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := read(tt.version, tt.commit, tt.build)
			if got.Version != tt.wantVersion || got.Commit != tt.wantCommit {
				t.Errorf("read = %q, %q, want %q, %q", got.Version, got.Commit, tt.wantVersion, tt.wantCommit)
			}
			if got.Go == "" || !strings.Contains(got.Platform, "/") {
				t.Errorf("toolchain %q or platform %q is not told", got.Go, got.Platform)
			}
		})
	}
}

func TestTheLineForPeopleShortensTheCommit(t *testing.T) {
	info := Info{Version: "v1.2.3", Commit: "89abcdef0123456789abcdef-dirty", Go: "go1.26.8", Platform: "linux/amd64"}
	if got, want := info.String(), "v1.2.3 (89abcdef0123-dirty, go1.26.8, linux/amd64)"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	info.Commit = ""
	if got, want := info.String(), "v1.2.3 (go1.26.8, linux/amd64)"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}
