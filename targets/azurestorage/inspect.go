package azurestorage

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// maxListed is how many of each service's children are listed.
const maxListed = 1000

// keyText is the account's key as clients are told it.
func (t *target) keyText() patchbay.Secret {
	return patchbay.NewSecret(base64.StdEncoding.EncodeToString(t.api.key))
}

// Inspect implements [driver.Target]. What a connection is for is asked for by its
// name; all are listed for the account as a whole alone.
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	const what = "look at the storage account"
	if sub == "" {
		return t.inspectAll(ctx, what)
	}
	s, name, err := serviceOf(sub)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	at, err := t.placeOf(s)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	info := driver.TargetInfo{Values: map[string]string{"account": t.account, "endpoint": at.url()}}
	q := t.listRequest(s, 1)
	if name != "" {
		c := child{s, name}
		q = t.policyRequest(http.MethodGet, c, http.StatusNotFound)
		info.Values[s.option] = name
	}
	got, err := t.api.do(ctx, what, q)
	switch {
	case err != nil:
		return driver.TargetInfo{}, err
	case got.status == http.StatusNotFound:
		return driver.TargetInfo{}, missing(what, child{s, name})
	}
	t.describe(&info, at, got)
	return info, nil
}

func (t *target) describe(info *driver.TargetInfo, at place, got answer) {
	info.Version = got.name()
	info.TLS, _ = t.api.protocol.Load().(string)
	if at.server.Scheme == "http" && !loopback(at.server) {
		info.Warnings = append(info.Warnings, "connections to the account are not encrypted: whoever is in between reads what the key signs, and every signature")
	}
}

func (t *target) inspectAll(ctx context.Context, what string) (driver.TargetInfo, error) {
	at := t.at["blob"]
	info := driver.TargetInfo{Values: map[string]string{"account": t.account, "endpoint": at.url()}}
	for _, s := range services {
		if _, err := t.placeOf(s); err != nil {
			continue
		}
		got, err := t.api.do(ctx, what, t.listRequest(s, maxListed))
		switch {
		case err != nil && s.name == "blob", err != nil && ctx.Err() != nil:
			return driver.TargetInfo{}, err
		case err != nil:
			info.Warnings = append(info.Warnings, fmt.Sprintf("the account's %s do not answer (%s): some accounts have none", s.plural, patchbay.CodeOf(err)))
			continue
		}
		if s.name == "blob" {
			t.describe(&info, at, got)
		}
		for _, name := range listed(s, got.body) {
			if (s.name != "blob" || name != noteContainer) && s.check(name) == nil {
				info.Subs = append(info.Subs, child{s, name}.sub())
			}
		}
	}
	return info, nil
}

// listRequest asks for a service's children.
func (c config) listRequest(s *service, most int) request {
	q := request{method: http.MethodGet, at: c.at[s.name], path: "/", query: url.Values{"comp": {"list"}, "maxresults": {fmt.Sprint(most)}}}
	if s.name == "table" {
		q.table, q.path, q.query = true, "/Tables", url.Values{"$top": {fmt.Sprint(most)}}
		q.header = map[string]string{"Accept": "application/json;odata=nometadata"}
	}
	return q
}

// listed are the names in a list of children; none in what is no list.
func listed(s *service, body []byte) (names []string) {
	if s.name == "table" {
		var page struct {
			Value []struct{ TableName string } `json:"value"`
		}
		_ = json.Unmarshal(body, &page)
		for _, one := range page.Value {
			names = append(names, one.TableName)
		}
		return names
	}
	var page struct {
		Containers []string `xml:"Containers>Container>Name"`
		Queues     []string `xml:"Queues>Queue>Name"`
		Shares     []string `xml:"Shares>Share>Name"`
	}
	_ = xml.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), &page)
	return append(append(page.Containers, page.Queues...), page.Shares...)
}

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	s, _, err := serviceOf(r.Sub)
	if err != nil {
		return r, err
	}
	at, err := t.placeOf(s)
	if err != nil {
		return r, err
	}
	r.Servers = []string{at.server.Address()}
	return r, nil
}

// Given implements [driver.GivenLogins]: a key of the account, a signature, or a
// connection string as Azure shows it.
func (t *target) Given(sub, name string, secret patchbay.Secret) (driver.Credential, error) {
	if _, _, err := serviceOf(sub); err != nil {
		return driver.Credential{}, err
	}
	if name != "" {
		return driver.Credential{}, patchbay.Errorf(patchbay.InvalidArgument, "a login of a storage account has no name; leave it out")
	}
	text := strings.TrimSpace(secret.Reveal())
	pairs := map[string]string{}
	for part := range strings.SplitSeq(text, ";") {
		if property, value, ok := strings.Cut(part, "="); ok {
			pairs[strings.ToLower(strings.TrimSpace(property))] = strings.TrimSpace(value)
		}
	}
	if account := pairs["accountname"]; account != "" && account != t.account {
		return driver.Credential{}, patchbay.Errorf(patchbay.InvalidArgument, "the login's connection string is of another account")
	}
	switch {
	case pairs["accountkey"] != "":
		text = pairs["accountkey"]
	case pairs["sharedaccesssignature"] != "":
		text = pairs["sharedaccesssignature"]
	}
	if strings.Contains(text, "sig=") {
		_, err := parseSignature(text)
		return driver.Credential{Public: map[string]string{}, Secret: driver.Secrets{"sas": patchbay.NewSecret(strings.TrimPrefix(text, "?"))}}, err
	}
	_, err := parseKey(patchbay.NewSecret(text))
	return driver.Credential{Public: map[string]string{}, Secret: driver.Secrets{"key": patchbay.NewSecret(text)}}, err
}
