package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// preference is what a request prefers about waiting (RFC 7240): to be answered
// at once, or so many seconds of patience.
type preference struct {
	async   bool
	wait    time.Duration
	waiting bool // wait was said
}

// maxPrefer bounds what is read of the header, in bytes.
const maxPrefer = 1024

// preferenceOf reads the header Prefer. What is not understood is no
// preference, as the RFC has it; of two that are the same the first counts.
func preferenceOf(h http.Header) preference {
	var p preference
	text := strings.Join(h.Values("Prefer"), ",")
	if len(text) > maxPrefer {
		return p
	}
	for item := range strings.SplitSeq(text, ",") {
		item, _, _ = strings.Cut(item, ";") // its parameters
		name, value, _ := strings.Cut(item, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "respond-async":
			p.async = true
		case "wait":
			seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil || p.waiting {
				continue
			}
			p.waiting = true
			p.wait = min(time.Duration(seconds)*time.Second, maxWait)
		}
	}
	return p
}
