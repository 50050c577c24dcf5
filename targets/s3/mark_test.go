package s3

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func marked(uid string, generation int64, connection patchbay.ID) mark {
	return mark{driver.Mark{UID: uid, Generation: generation, Connection: connection}, loginOf(uid, generation)}
}

func TestASidSaysWhoseAStatementIs(t *testing.T) {
	for _, connection := range []patchbay.ID{
		"", "/", "/a", "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/Shop.EU/providers/Microsoft.Web/sites/Web/providers/Microsoft.ServiceLinker/linkers/orders",
		"/X/S/U/L/W/G/B/P/D/T", "/ä ö\"'$<>&\x00", "/providers/providers/", "/resourcegroups/x",
	} {
		m := marked("q7x2a", 12, connection)
		sid := m.sid(1)
		of, number, ok := markOfSid(sid)
		if !ok || number != 1 || of != m {
			t.Errorf("%q is %s, which says %+v, %d, %v", connection, sid, of, number, ok)
		}
		if strings.ContainsFunc(sid, func(r rune) bool { return !strings.ContainsRune(alphabet, r) }) {
			t.Errorf("%s has something else than letters and digits", sid)
		}
		if !m.marks(sid) || !m.marks(m.sid(2)) || marked("q7x2a", 1, connection).marks(sid) || marked("q7x2", 12, connection).marks(sid) {
			t.Errorf("%s marks another login, or not its own", sid)
		}
	}
	for _, sid := range []string{
		"", "Patchbay", "Patchbay1U", "Patchbay1UaG0", "Patchbay1UaG01", "Patchbay4UaG1", "Patchbay1UAG1", "patchbay1UaG1", "Patchbay1UaG1 ", " Patchbay1UaG1", "Patchbay1UaG1CX", "Patchbay1UaG1CXzz", "Patchbay1UaG1CX61",
		"Patchbay1UaG1CU", "Patchbay1UaG1C-", "Patchbay1UaG99999999999999999999", "Patchbay1UaG1\n", sidOwner,
	} {
		if m, _, ok := markOfSid(sid); ok {
			t.Errorf("%q is of %+v", sid, m)
		}
	}
}

func TestASecretSaysWhoseAUserIs(t *testing.T) {
	m, other := marked("a", 1, ""), marked("a", 2, "")
	secret := m.newSecret().Reveal()
	if len(secret) != secretLength || !m.owns(secret) || other.owns(secret) || m.newSecret().Reveal() == secret {
		t.Errorf("%d letters; owned %v, by another %v", len(secret), m.owns(secret), other.owns(secret))
	}
	for _, not := range []string{"", secret[1:], secret + "x", strings.ToLower(secret), secret[1:] + "x", strings.Repeat("x", secretLength)} {
		if m.owns(not) {
			t.Errorf("another secret is owned: %d letters", len(not))
		}
	}
}

func FuzzSid(f *testing.F) {
	f.Add("Patchbay1Uq7x2aG12CBxGyL1")
	f.Add("Patchbay2UaG1")
	f.Fuzz(func(t *testing.T, sid string) {
		m, number, ok := markOfSid(sid)
		if !ok {
			return
		}
		if m.sid(number) != sid && m.Connection != "" {
			t.Errorf("%q is of %+v, whose is %q", sid, m, m.sid(number))
		}
		if !m.marks(sid) {
			t.Errorf("%q is not marked by %+v", sid, m)
		}
	})
}

// Whatever somebody else wrote: what is read and written again says the same, and what is
// put in comes out.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[{"Sid":"x","Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b"}]}`))
	f.Add([]byte(`{"Statement":{"Principal":{"AWS":["a","pb_a_g1"]},"Condition":{"Bool":{"x":"true"}}},"Id":1}`))
	f.Add([]byte(`{"Statement":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parseDocument(text)
		if err != nil {
			return
		}
		m := marked("a", 1, "/x")
		s := scope{access: patchbay.Writer, sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		mine, err := raw(s.statements(m, "b"))
		if err != nil {
			t.Fatal(err)
		}
		before := d.without(m.marks)
		d.statements = append(slices.Clone(before), mine...)
		written, err := d.text()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseDocument(written)
		if err != nil || !same(again.of(m.marks), mine) {
			t.Fatalf("%s is read as %s, %v", written, again.of(m.marks), err)
		}
		missing, _ := differs(m, s.statements(m, "b"), again)
		if len(missing) > 0 {
			t.Errorf("%s lacks %q", written, missing)
		}
		after := again.without(m.marks)
		if len(after) != len(before) {
			t.Fatalf("%d statements of others, and there were %d", len(after), len(before))
		}
		for i := range after {
			if !equalJSON(t, before[i], after[i]) {
				t.Errorf("%s became %s", before[i], after[i])
			}
		}
		if _, _, err := again.withoutPrincipal(m); err != nil {
			t.Error(err)
		}
	})
}

func equalJSON(t *testing.T, a, b json.RawMessage) bool {
	t.Helper()
	var one, other any
	if err := json.Unmarshal(a, &one); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &other); err != nil {
		t.Fatal(err)
	}
	first, err1 := json.Marshal(one)
	second, err2 := json.Marshal(other)
	return err1 == nil && err2 == nil && string(first) == string(second)
}
