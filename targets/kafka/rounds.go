package kafka

import (
	"bytes"
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/sasl"

	"patchbay.dev/patchbay/driver"
)

// mostRounds bounds what a broker may have us compute at a sign-in: Kafka's tools give a
// credential at most 16,384.
const mostRounds = 100_000

// boundedRounds is a mechanism that refuses a broker that asks for more: the library
// computes as many as it is told.
type boundedRounds struct {
	sasl.Mechanism
	budget *driver.Budget
}

// Authenticate implements [sasl.Mechanism].
func (m boundedRounds) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	s, first, err := m.Mechanism.Authenticate(ctx, host)
	return boundedSession{s, m.budget}, first, err
}

type boundedSession struct {
	sasl.Session
	budget *driver.Budget
}

// Challenge implements [sasl.Session].
func (s boundedSession) Challenge(said []byte) (bool, []byte, error) {
	for part := range bytes.SplitSeq(said, []byte(",")) {
		if text, ok := bytes.CutPrefix(part, []byte("i=")); ok {
			if n, err := strconv.Atoi(string(text)); err != nil || n > mostRounds {
				return false, nil, s.budget.Refuse("asks for more than %d rounds of SCRAM", mostRounds)
			}
		}
	}
	return s.Session.Challenge(said)
}
