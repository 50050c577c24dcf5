package identity

import "testing"

// What each request of a service principal costs.
func BenchmarkVerify(b *testing.B) {
	s := newBench(b)
	p, _, err := s.Create(b.Context(), NewPrincipal{Tenant: contoso, Name: "deployer"})
	if err != nil {
		b.Fatal(err)
	}
	token := s.token(p)
	for b.Loop() {
		if _, err := s.Verify(b.Context(), token, base); err != nil {
			b.Fatal(err)
		}
	}
}

// What each sign-in costs.
func BenchmarkSignIn(b *testing.B) {
	s := newBench(b)
	p, secret, err := s.Create(b.Context(), NewPrincipal{Tenant: contoso, Name: "deployer"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.authenticate(b.Context(), "", p.AppID, secret, "192.0.2.1"); err != nil {
			b.Fatal(err)
		}
	}
}
