package connector

import (
	"encoding/json"
	"maps"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
)

// The structs here are what is stored of secrets: plain inside, and therefore
// only ever marshalled to be sealed. Everything that is shown uses
// patchbay.Secret, which does not marshal.

// holding is what a connection knows and nobody may read.
type holding struct {
	ref                             // what Login is on, or the credential is for
	Given      map[string]string    `json:"given,omitempty"`     // the secrets that the caller gave
	Where      map[string]string    `json:"where,omitempty"`     // whereIs of the target when a login for it was given; none is not known
	Login      *driver.LoginRequest `json:"principal,omitempty"` // its own login; nil when it was given
	LoginKind  loginKind            `json:"login,omitempty"`     // see holding.whose
	Credential credential           `json:"credential"`          // what the application signs in with
	Written    *written             `json:"written,omitempty"`   // nil when the settings were left to the caller
	Reading    *settings.Reading    `json:"reading,omitempty"`   // as plan's
	Openings   []opening            `json:"openings,omitempty"`  // in the order in which they were made
	// Denied says that none was made because public access to the target was denied.
	Denied bool `json:"denied,omitempty"`
	// Last is the highest generation that any operation used, the failed ones
	// too: what one of those left behind must never be named as something new.
	Last int64 `json:"last,omitempty"`
}

// credential is a driver.Credential in the plain.
type credential struct {
	Public map[string]string `json:"public,omitempty"`
	Secret map[string]string `json:"secret,omitempty"`
}

// written is what a connection did to its source's settings. Before is what
// they were: an operation's undo needs it, and nothing that lives longer keeps it.
type written struct {
	Change change   `json:"change"`
	Before snapshot `json:"before,omitzero"`
}

type change struct {
	Mark   driver.Mark         `json:"mark"`
	Name   string              `json:"name"`
	Client patchbay.ClientType `json:"client,omitempty"` // "" when an earlier release wrote it
	Set    []setting           `json:"set"`
	Had    []setting           `json:"had,omitempty"`
	Back   []setting           `json:"back,omitempty"`
	// Remove is what earlier releases kept of Had: names alone. An operation that
	// one of them began may be gone on with here.
	Remove []string `json:"remove,omitempty"`
}

type setting struct {
	patchbay.Setting
	Plain string `json:"value"`
}

type snapshot struct {
	Version  string            `json:"version"`
	Settings map[string]string `json:"settings,omitempty"`
	Content  []byte            `json:"content,omitempty"` // bytes: a file need not be UTF-8
}

func hideCredential(c driver.Credential) credential {
	return credential{Public: c.Public, Secret: revealAll(c.Secret)}
}

func (c credential) equal(o credential) bool {
	return maps.Equal(c.Public, o.Public) && maps.Equal(c.Secret, o.Secret)
}

func (c credential) open() driver.Credential {
	return driver.Credential{Public: maps.Clone(c.Public), Secret: driver.Secrets(concealAll(c.Secret))}
}

func hideChange(c driver.Change) change {
	return change{Mark: c.Mark, Name: c.Name, Client: c.Client, Set: hideSettings(c.Set), Had: hideSettings(c.Had), Back: hideSettings(c.Back)}
}

func hideSettings(list []patchbay.Setting) (hidden []setting) {
	for _, s := range list {
		hidden = append(hidden, setting{Setting: s, Plain: s.Value.Reveal()})
	}
	return hidden
}

func (c change) open() driver.Change {
	return driver.Change{Mark: c.Mark, Name: c.Name, Client: c.Client, Set: openSettings(c.Set), Had: openSettings(c.Had), Back: openSettings(c.Back)}
}

func openSettings(hidden []setting) (list []patchbay.Setting) {
	for _, s := range hidden {
		s.Value = patchbay.NewSecret(s.Plain)
		list = append(list, s.Setting)
	}
	return list
}

// open is the change, with the values of what an earlier release kept the names
// of: those that were there right before.
func (w written) open() driver.Change {
	c := w.Change.open()
	for _, name := range w.Change.Remove {
		if value, ok := w.Before.Settings[name]; ok {
			c.Had = append(c.Had, patchbay.Setting{Name: name, Value: patchbay.NewSecret(value)})
		}
	}
	return c
}

// kept is what a connection's record keeps of w, nil for nothing.
func (w *written) kept() *written {
	if w == nil || len(w.Change.Set) == 0 {
		return nil
	}
	back := slices.DeleteFunc(slices.Clone(w.Change.Back), func(b setting) bool { // what has come back is nobody's to keep
		return !slices.ContainsFunc(w.Change.Set, func(s setting) bool { return !s.File && s.Name == b.Name })
	})
	return &written{Change: change{Mark: w.Change.Mark, Name: w.Change.Name, Client: w.Change.Client, Set: w.Change.Set, Back: back}}
}

// removal is the change that leaves nothing of w.
func (w written) removal() driver.Change {
	return driver.Change{Mark: w.Change.Mark, Name: w.Change.Name, Had: openSettings(w.Change.Set), Back: openSettings(w.Change.Back)}
}

// isIn reports whether something of w is on the source: it was written, in part at
// least, and not taken back.
func (w written) isIn(now driver.Snapshot) bool {
	c := w.open()
	was := w.Before.open().Settings
	set := slices.ContainsFunc(c.Set, func(s patchbay.Setting) bool { return now.Settings[c.Key(s)] == s.Value && was[c.Key(s)] != s.Value })
	return set || slices.ContainsFunc(c.Dropped(), func(s patchbay.Setting) bool {
		_, there := now.Settings[c.Key(s)]
		return !there && !was[c.Key(s)].IsZero()
	})
}

func hideSnapshot(s driver.Snapshot) snapshot {
	return snapshot{Version: s.Version, Settings: revealAll(s.Settings), Content: []byte(s.Content.Reveal())}
}

func (s snapshot) open() driver.Snapshot {
	return driver.Snapshot{Version: s.Version, Settings: concealAll(s.Settings), Content: patchbay.NewSecret(string(s.Content))}
}

func revealAll[M ~map[string]patchbay.Secret](m M) map[string]string {
	if m == nil {
		return nil
	}
	plain := make(map[string]string, len(m))
	for name, value := range m {
		plain[name] = value.Reveal()
	}
	return plain
}

func concealAll(m map[string]string) map[string]patchbay.Secret {
	if m == nil {
		return nil
	}
	secrets := make(map[string]patchbay.Secret, len(m))
	for name, value := range m {
		secrets[name] = patchbay.NewSecret(value)
	}
	return secrets
}

// seal stores v for one record; context says whose.
func (s *Service) seal(v any, context string) (patchbay.Sealed, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "seal %s: %w", context, err)
	}
	return s.keys.Seal(plain, context), nil
}

// unseal is the opposite of seal; nothing sealed leaves v as it is.
func (s *Service) unseal(sealed patchbay.Sealed, context string, v any) error {
	if len(sealed) == 0 {
		return nil
	}
	plain, err := s.keys.Open(sealed, context)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(plain, v); err != nil {
		// Not wrapped: a decoder's error can quote what it read.
		return patchbay.Errorf(patchbay.Internal, "the sealed value of %s is not what this version wrote", context)
	}
	return nil
}

func (s *Service) openHolding(c patchbay.Connection) (holding, error) {
	var h holding
	err := s.unseal(c.Sealed, "connection "+c.UID, &h)
	return h, err
}

func (s *Service) openAdmin(r patchbay.Resource) (driver.Secrets, error) {
	var plain map[string]string
	if err := s.unseal(r.Admin, "resource "+r.ID.Key(), &plain); err != nil {
		return nil, err
	}
	return concealAll(plain), nil
}

// The names under which a spec's secrets are kept in holding.Given.
const (
	givenValue       = "value"
	givenSecret      = "secret"
	givenCertificate = "certificate"
)

// takeSecrets is the secrets that spec holds; afterwards it holds none.
func takeSecrets(spec *patchbay.Spec) map[string]string {
	given := map[string]string{}
	take := func(name string, s *patchbay.Secret) {
		if !s.IsZero() {
			given[name] = s.Reveal()
			*s = patchbay.Secret{}
		}
	}
	if a := spec.Auth; a != nil {
		if a.SecretInfo != nil {
			take(givenValue, &a.SecretInfo.Value)
		}
		take(givenSecret, &a.Secret)
		take(givenCertificate, &a.Certificate)
	}
	return given
}
