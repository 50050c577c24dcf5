package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
)

// Limits on a body. They bound what one caller can make the server hold.
const (
	MaxBody   = 1 << 20 // bytes
	maxDepth  = 32
	maxString = 64 << 10 // bytes of one string
	maxKey    = 260      // bytes of a name in a map
	maxItems  = 200      // of a map or an array: settings, keys, roles
)

// invalid is a complaint about a body. It never repeats a value: the value may
// be a secret in the wrong place.
func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidRequestContent, format, args...)
}

// parse reads exactly one JSON value: no second one behind it, no name twice in
// an object (readers differ on which counts), no text that is not UTF-8, no
// NUL, which no setting, id or login can hold. Objects are map[string]any,
// numbers json.Number.
func parse(body []byte) (any, error) {
	if len(body) > MaxBody {
		return nil, patchbay.Errorf(BodyTooLarge, "the body is larger than %d bytes", MaxBody)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, invalid("the request needs a JSON body")
	}
	if !utf8.Valid(body) {
		return nil, invalid("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v, err := parseValue(d, "", 0)
	if err != nil {
		var known *patchbay.Error
		if errors.As(err, &known) {
			return nil, err
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, invalid("the body ends in the middle of a JSON value")
		}
		return nil, invalid("the body is not JSON at byte %d", d.InputOffset())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid("the body has something behind its JSON value")
	}
	return v, nil
}

func parseValue(d *json.Decoder, path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, invalid("the body is nested deeper than %d levels", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case string:
		return t, checkText(path, t)
	case json.Delim:
		if t == '[' {
			list := []any{}
			for d.More() {
				v, err := parseValue(d, fmt.Sprintf("%s[%d]", path, len(list)), depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err := d.Token()
			return list, err
		}
		m := map[string]any{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, ok := k.(string)
			if !ok {
				return nil, invalid("the body is not JSON at byte %d", d.InputOffset())
			}
			if err := checkText(path, name); err != nil {
				return nil, err
			}
			at := join(path, name)
			if _, twice := m[name]; twice {
				return nil, invalid("%s is there twice", at)
			}
			if m[name], err = parseValue(d, at, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return m, err
	}
	return t, nil
}

// checkText refuses what a JSON string can hold and nothing behind it can.
// U+FFFD is what the decoder makes of half a surrogate pair: text that was
// damaged on its way.
func checkText(path, s string) error {
	where := path
	if where == "" {
		where = "the body"
	}
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return invalid("%s holds a NUL character", where)
	case strings.ContainsRune(s, utf8.RuneError):
		return invalid("%s holds text that is not Unicode", where)
	case len(s) > maxString:
		return invalid("%s is longer than %d bytes", where, maxString)
	}
	return nil
}

// join is the path of a member, for messages: properties.authInfo, or
// customizedKeys["A B"] when the name is not a plain word.
func join(path, name string) string {
	plain := name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z')
	})
	switch {
	case !plain:
		return path + "[" + quote(name) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

// decoding is one body read for one version. The first complaint counts; what
// is read after it does not matter.
type decoding struct {
	version Version
	err     error
}

func (d *decoding) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// object is a JSON object being read strictly: every member that it has must
// be asked for, under a version that knows it, before end.
type object struct {
	*decoding
	path  string
	m     map[string]any
	known map[string]Version
}

func newObject(d *decoding, path string, v any) *object {
	m, ok := v.(map[string]any)
	if !ok {
		what := path
		if what == "" {
			what = "the body"
		}
		d.fail(invalid("%s must be an object, not %s", what, kind(v)))
	}
	return &object{decoding: d, path: path, m: m, known: map[string]Version{}}
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case []any:
		return "an array"
	}
	return "an object"
}

// value is the member of that name, which versions from since on know; nil when
// it is absent or null.
func (o *object) value(since Version, name string) any {
	o.known[name] = since
	v, there := o.m[name]
	if there && o.version < since {
		o.fail(invalid("%s is not known to api-version %s; it is from %s on", join(o.path, name), o.version, since.next()))
		return nil
	}
	return v
}

// ignore takes a read-only member as it is.
func (o *object) ignore(names ...string) {
	for _, n := range names {
		o.value("", n)
	}
}

func (o *object) wrong(name, want string, v any) {
	o.fail(invalid("%s must be %s, not %s", join(o.path, name), want, kind(v)))
}

// str sets *dst when the member is there.
func (o *object) str(since Version, name string, dst *string) bool {
	switch v := o.value(since, name).(type) {
	case nil:
	case string:
		*dst = v
		return true
	default:
		o.wrong(name, "a string", v)
	}
	return false
}

// secret sets *dst when the member is there and not empty.
func (o *object) secret(since Version, name string, dst *patchbay.Secret) {
	var s string
	if o.str(since, name, &s) && s != "" {
		*dst = patchbay.NewSecret(s)
	}
}

// flag sets *dst when the member is there.
func (o *object) flag(since Version, name string, dst **bool) {
	switch v := o.value(since, name).(type) {
	case nil:
	case bool:
		*dst = &v
	default:
		o.wrong(name, "true or false", v)
	}
}

// choice is one value of an enumeration and the first version that has it.
type choice struct {
	value string
	since Version
}

func since(v Version, values ...string) []choice {
	list := make([]choice, len(values))
	for i, s := range values {
		list[i] = choice{s, v}
	}
	return list
}

// oneOf sets *dst to the documented spelling of one of the choices, which are
// taken in any case. A word that nobody knows is an error: it would be promised
// and not done.
func (o *object) oneOf(from Version, name string, dst *string, choices []choice) bool {
	var s string
	if !o.str(from, name, &s) {
		return false
	}
	if s == "" { // azurerm's word for what its user took out
		*dst = ""
		return false
	}
	var known []string
	for _, c := range choices {
		if strings.EqualFold(c.value, s) {
			if o.version < c.since {
				o.fail(invalid("%s is %q, which is not known to api-version %s; it is from %s on", join(o.path, name), c.value, o.version, c.since))
				return false
			}
			*dst = c.value
			return true
		}
		if o.version >= c.since {
			known = append(known, c.value)
		}
	}
	o.fail(invalid("%s is %s; api-version %s knows %s", join(o.path, name), quote(s), o.version, strings.Join(known, ", ")))
	return false
}

// strings sets *dst when the member is there; an empty array empties it.
func (o *object) strings(since Version, name string, dst *[]string) {
	v := o.value(since, name)
	if v == nil {
		return
	}
	list, ok := v.([]any)
	if !ok {
		o.wrong(name, "an array of strings", v)
		return
	}
	if !o.count(name, len(list)) {
		return
	}
	out := make([]string, 0, len(list))
	for i, item := range list {
		s, ok := item.(string)
		if !ok {
			o.fail(invalid("%s[%d] must be a string, not %s", join(o.path, name), i, kind(item)))
			return
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		out = nil
	}
	*dst = out
}

// stringMap sets *dst when the member is there; an empty object empties it.
func (o *object) stringMap(since Version, name string, dst *map[string]string) {
	v := o.value(since, name)
	if v == nil {
		return
	}
	m, ok := v.(map[string]any)
	if !ok {
		o.wrong(name, "an object of strings", v)
		return
	}
	if !o.count(name, len(m)) {
		return
	}
	out := make(map[string]string, len(m))
	for _, k := range sortedKeys(m) {
		at := join(join(o.path, name), k)
		if k == "" || len(k) > maxKey {
			o.fail(invalid("%s: a name has 1 to %d bytes", at, maxKey))
			return
		}
		switch s := m[k].(type) {
		case nil:
		case string:
			out[k] = s
		default:
			o.fail(invalid("%s must be a string, not %s", at, kind(s)))
			return
		}
	}
	if len(out) == 0 {
		out = nil
	}
	*dst = out
}

func (o *object) count(name string, n int) bool {
	if n > maxItems {
		o.fail(invalid("%s has %d items; at most %d are taken", join(o.path, name), n, maxItems))
		return false
	}
	return true
}

// id sets *dst to an ARM id, checked, when the member is there and not empty.
func (o *object) id(since Version, name string, dst *string) {
	var s string
	if !o.str(since, name, &s) {
		return
	}
	if s == "" {
		*dst = ""
		return
	}
	id, err := patchbay.ParseID(s)
	if err != nil {
		e := patchbay.AsError(err)
		o.fail(&patchbay.Error{Code: e.Code, Subject: join(o.path, name), Message: e.Message, Err: err})
		return
	}
	*dst = string(id)
}

// child reads a member that is itself an object. Absent, null and {} are the
// same: nothing is read.
func (o *object) child(since Version, name string, read func(*object)) {
	v := o.value(since, name)
	if v == nil || o.err != nil {
		return
	}
	c := newObject(o.decoding, join(o.path, name), v)
	if o.err != nil || len(c.m) == 0 {
		return
	}
	read(c)
	c.end()
}

// end complains of the first member that nobody asked for.
func (o *object) end() {
	if o.err != nil {
		return
	}
	for _, name := range sortedKeys(o.m) {
		if _, ok := o.known[name]; ok {
			continue
		}
		e := invalid("%s is not known to api-version %s", join(o.path, name), o.version)
		for _, k := range sortedKeys(o.known) {
			if strings.EqualFold(k, name) {
				e.Message += fmt.Sprintf("; it is spelled %s", k)
			}
		}
		o.fail(e)
		return
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
