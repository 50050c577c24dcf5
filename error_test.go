package patchbay_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

func TestWhatTheOtherSideSaidIsInTheLogAlone(t *testing.T) {
	err := patchbay.Errorf(patchbay.AdminRights, "it may not").WithFix("let it").WithSaid("permission denied")
	body, jsonErr := json.Marshal(err)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	for _, shown := range []string{err.Error(), string(body), fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%q", err)} {
		if strings.Contains(shown, "denied") {
			t.Errorf("%s", shown)
		}
	}
	var log bytes.Buffer
	var none *patchbay.Error
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("step failed", "error", err, "other", none)
	}
	if n := strings.Count(log.String(), "it may not; it says: permission denied"); n != 2 || strings.Contains(log.String(), "panic") {
		t.Errorf("%s", log.String())
	}
}
