package s3

import (
	"context"
	"encoding/xml"
	"net/http"
	"net/url"

	"patchbay.dev/patchbay"
)

// roleUser is the role of a user that has what policies give it.
const roleUser = "user"

// user is an account of the gateway's.
type user struct {
	XMLName xml.Name `xml:"Account"`
	Access  string
	Secret  string
	Role    string
}

// account is a user in a list.
type account struct {
	Access string
	Secret string
	Role   string
}

// bucketOwner is a bucket with the user that it belongs to.
type bucketOwner struct {
	Name  string
	Owner string
}

// call makes a request to the admin API. in is what is sent, nil for nothing. An answer
// that refuses with one of the codes is none of its errors.
func (t *target) call(ctx context.Context, what, path string, query url.Values, in any, codes ...string) (answer, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = xml.Marshal(in); err != nil {
			return answer{}, patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
		}
	}
	got, err := t.admin.do(ctx, what, request{method: http.MethodPatch, path: path, query: query, body: body})
	if err != nil || got.ok() {
		return got, err
	}
	for _, code := range codes {
		if got.code == code {
			return got, nil
		}
	}
	return got, t.admin.refused(what, got)
}

// createUser makes a user; made is false where there is one of that name.
func (t *target) createUser(ctx context.Context, what, name string, secret patchbay.Secret) (made bool, err error) {
	got, err := t.call(ctx, what, "/create-user", nil, user{Access: name, Secret: secret.Reveal(), Role: roleUser}, userExists)
	return err == nil && got.ok(), err
}

// resetUser gives a user its secret and the role of one who has what policies give it.
func (t *target) resetUser(ctx context.Context, what, name string, secret patchbay.Secret) error {
	type properties struct {
		XMLName xml.Name `xml:"MutableProps"`
		Secret  string
		Role    string
	}
	_, err := t.call(ctx, what, "/update-user", url.Values{"access": {name}}, properties{Secret: secret.Reveal(), Role: roleUser})
	return err
}

// deleteUser removes a user; absent is success.
func (t *target) deleteUser(ctx context.Context, what, name string) error {
	_, err := t.call(ctx, what, "/delete-user", url.Values{"access": {name}}, nil, noUser)
	return err
}

// hasUsers asks whether the gateway has users that can be made, by changing nothing about
// one that there is not.
func (t *target) hasUsers(ctx context.Context, what string) error {
	type properties struct {
		XMLName xml.Name `xml:"MutableProps"`
	}
	_, err := t.call(ctx, what, "/update-user", url.Values{"access": {"patchbay-asks-whether-there-are-users"}}, properties{}, noUser)
	return err
}

// users are all that there are. The API has nothing to ask for one.
func (t *target) users(ctx context.Context, what string) ([]account, error) {
	got, err := t.call(ctx, what, "/list-users", nil, nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		XMLName  xml.Name  `xml:"ListUserAccountsResult"`
		Accounts []account `xml:"Accounts"`
	}
	if xml.Unmarshal(got.body, &list) != nil {
		return nil, t.admin.refused(what, answer{status: got.status, server: got.server})
	}
	return list.Accounts, nil
}

// userOf is the user of a name; nil where there is none.
func (t *target) userOf(ctx context.Context, what, name string) (*account, error) {
	all, err := t.users(ctx, what)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Access == name {
			return &all[i], nil
		}
	}
	return nil, nil
}

// buckets are all that there are.
func (t *target) buckets(ctx context.Context, what string) ([]bucketOwner, error) {
	got, err := t.call(ctx, what, "/list-buckets", nil, nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		XMLName xml.Name      `xml:"ListBucketsResult"`
		Buckets []bucketOwner `xml:"Buckets"`
	}
	if xml.Unmarshal(got.body, &list) != nil {
		return nil, t.admin.refused(what, answer{status: got.status, server: got.server})
	}
	return list.Buckets, nil
}
