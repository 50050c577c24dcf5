package driver

import (
	"strings"

	"patchbay.dev/patchbay"
)

// UserPassword is what signs in to most products.
type UserPassword struct {
	Username string
	Password patchbay.Secret // may be zero: a certificate signs in, or nothing is asked
}

// UserPassword takes username and password. Who has no name, or a zero byte, which ends a
// text in many protocols, is InvalidArgument.
func (s Secrets) UserPassword() (UserPassword, error) {
	l := UserPassword{Username: s["username"].Reveal(), Password: s["password"]}
	switch {
	case l.Username == "":
		return UserPassword{}, patchbay.Errorf(patchbay.InvalidArgument, "the login has no username")
	case strings.ContainsRune(l.Username+l.Password.Reveal(), 0):
		return UserPassword{}, patchbay.Errorf(patchbay.InvalidArgument, "the login has a zero byte")
	}
	return l, nil
}
