package patchbay

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every printer shows in place of a secret.
const redacted = "[redacted]"

// Secret is a value that must not be printed. Every way of showing one by
// accident (fmt in all its verbs, encoding/json, log/slog) shows
// "[redacted]"; only [Secret.Reveal] gives the value.
type Secret struct{ value string }

// NewSecret keeps value from being printed.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal is the value itself. Each call is a place to look at in a review.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.value == "" }

func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return redacted
}

// Format implements [fmt.Formatter], so that %#v and %x show nothing either.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements [encoding.TextMarshaler]: JSON, YAML and map keys.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as the secret.
func (s *Secret) UnmarshalText(text []byte) error {
	s.value = string(text)
	return nil
}

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Sealed is a ciphertext: what a record keeps of a secret. It may be stored
// and logged; package keyring makes and opens it.
type Sealed []byte
