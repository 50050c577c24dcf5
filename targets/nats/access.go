package nats

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	optionSubjects = "subjects"
	optionStreams  = "streams"

	userInfoSubject = "$SYS.REQ.USER.INFO"
	sharedInbox     = "_INBOX.>"
)

// A responder answers once, within the product's own default time.
const (
	responseMessages = 1
	responseTime     = 2 * time.Minute
)

var nameForm = regexp.MustCompile(`^pb_[a-z0-9_]{1,37}$`)

// checkRequest checks everything of a request that can be checked without the
// server, and gives the scope that it asks for.
func (t *target) checkRequest(r driver.LoginRequest) (scope, error) {
	if err := checkIdentity(r); err != nil {
		return scope{}, err
	}
	if r.Auth != patchbay.AuthSecret {
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "a NATS login signs in with a secret, not with %q", r.Auth)
	}
	if len(r.Roles) > 0 {
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "NATS has no roles to give: use access, subjects and streams")
	}
	for _, p := range r.Sources {
		if !p.IsValid() {
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "a source address is not one")
		}
	}
	return t.scopeOf(r.Access, r.Options)
}

// checkIdentity checks what a login is found by.
func checkIdentity(r driver.LoginRequest) error {
	switch {
	case !nameForm.MatchString(r.Name):
		return patchbay.Errorf(patchbay.InvalidArgument, "%q is not the name of a login", short(r.Name))
	case r.Mark.UID == "" || r.Mark.Generation <= 0:
		return patchbay.Errorf(patchbay.InvalidArgument, "the login %s has no connection or generation", r.Name)
	case r.Sub != "":
		return patchbay.Errorf(patchbay.InvalidArgument, "a NATS server has no %q to connect to: name the server itself", short(r.Sub))
	}
	return nil
}

func (t *target) scopeOf(access patchbay.Access, options map[string]string) (scope, error) {
	switch access {
	case patchbay.Reader, patchbay.Writer, patchbay.Owner:
	default:
		return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "access is %q, and can be reader, writer or owner", short(string(access)))
	}
	var named scope
	for name, value := range options {
		items := strings.Split(value, ",")
		for i := range items {
			items[i] = strings.TrimSpace(items[i])
		}
		switch name {
		case optionSubjects:
			named.subjects = items
		case optionStreams:
			named.streams = items
		default:
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "NATS has no option %q, only %s and %s", short(name), optionSubjects, optionStreams)
		}
	}
	if named.empty() {
		if t.scope.empty() {
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "neither the connection nor the registration says which subjects or streams may be used").
				WithFix("repeat with --option subjects=orders.>")
		}
		return t.scope, nil
	}
	s, err := newScope(named.subjects, named.streams)
	if err != nil {
		return scope{}, err
	}
	return s, s.within(t.scope)
}

// inboxPrefix is where a login alone may listen for answers.
func inboxPrefix(name string) string { return "_INBOX_" + name }

// rights are permissions in a form that can be compared.
type rights struct {
	pub, sub         []string
	pubDeny, subDeny []string
	responses        int
}

// rightsOf is exactly what an access gives. captured are the subjects of the
// scope's streams.
func (t *target) rightsOf(name string, access patchbay.Access, s scope, captured []string) rights {
	// Everybody may ask the server about itself: the probe reads there what the
	// server really allows.
	pub := []string{userInfoSubject}
	sub := append([]string{inboxPrefix(name) + ".>"}, s.subjects...)
	if !t.private && (access != patchbay.Reader || len(s.streams) > 0) {
		sub = append(sub, sharedInbox)
	}
	for _, stream := range s.streams {
		pub = append(pub, consumeSubjects(t.account, stream)...)
	}
	r := rights{}
	if access != patchbay.Reader {
		pub = append(pub, s.subjects...)
		pub = append(pub, captured...)
		r.responses = responseMessages
	}
	if access == patchbay.Owner {
		for _, stream := range s.streams {
			pub = append(pub, manageSubjects(stream)...)
		}
	}
	r.pub, r.sub = sorted(pub), sorted(sub)
	return r
}

// consumeSubjects are what reading a stream publishes to: looking at it, getting
// single messages, having consumers, acknowledging, and answering flow control,
// both in the old form and in that with domain and account.
func consumeSubjects(account, stream string) []string {
	const api = "$JS.API."
	hash := accountHash(account)
	return []string{
		api + "STREAM.INFO." + stream,
		api + "STREAM.MSG.GET." + stream,
		api + "DIRECT.GET." + stream,
		api + "DIRECT.GET." + stream + ".>",
		api + "CONSUMER.CREATE." + stream,
		api + "CONSUMER.CREATE." + stream + ".>",
		api + "CONSUMER.DURABLE.CREATE." + stream + ".*",
		api + "CONSUMER.DELETE." + stream + ".*",
		api + "CONSUMER.INFO." + stream + ".*",
		api + "CONSUMER.LIST." + stream,
		api + "CONSUMER.NAMES." + stream,
		api + "CONSUMER.MSG.NEXT." + stream + ".*",
		"$JS.ACK." + stream + ".>",
		"$JS.ACK.*." + hash + "." + stream + ".>",
		"$JS.FC." + stream + ".>",
		"$JS.FC.*." + hash + "." + stream + ".>",
	}
}

func manageSubjects(stream string) []string {
	const api = "$JS.API."
	return []string{
		api + "STREAM.CREATE." + stream,
		api + "STREAM.UPDATE." + stream,
		api + "STREAM.DELETE." + stream,
		api + "STREAM.PURGE." + stream,
		api + "STREAM.MSG.DELETE." + stream,
		api + "CONSUMER.PAUSE." + stream + ".*",
		api + "CONSUMER.RESET." + stream + ".*",
		api + "CONSUMER.UNPIN." + stream + ".*",
	}
}

// accountHash is what stands for an account in acknowledgement subjects: eight
// digits to the base of 62 from its SHA-256, as the server makes it.
func accountHash(account string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(account))
	hash := make([]byte, 8)
	for i := range hash {
		hash[i] = digits[int(sum[i])%len(digits)]
	}
	return string(hash)
}

// template is what the account's JWT holds of the rights.
func (r rights) template(sources []netip.Prefix) jwt.UserPermissionLimits {
	var l jwt.UserPermissionLimits
	l.Pub.Allow, l.Sub.Allow = r.pub, r.sub
	if r.responses > 0 {
		l.Resp = &jwt.ResponsePermission{MaxMsgs: r.responses, Expires: responseTime}
	}
	l.NatsLimits = jwt.NatsLimits{Subs: jwt.NoLimit, Data: jwt.NoLimit, Payload: jwt.NoLimit}
	l.Src = prefixes(sources)
	return l
}

func prefixes(sources []netip.Prefix) []string {
	var list []string
	for _, p := range sources {
		list = append(list, p.Masked().String())
	}
	return sorted(list)
}

// rightsIn reads the rights of a template.
func rightsIn(l jwt.UserPermissionLimits) rights {
	r := rights{pub: sorted(l.Pub.Allow), sub: sorted(l.Sub.Allow), pubDeny: sorted(l.Pub.Deny), subDeny: sorted(l.Sub.Deny)}
	if l.Resp != nil {
		// Zero is the server's default of one; below, there is no limit.
		if r.responses = l.Resp.MaxMsgs; r.responses == 0 {
			r.responses = responseMessages
		}
	}
	return r
}

// compare says what have lacks of want, and what it has beyond.
func compare(want, have rights) (missing, excess []string) {
	list := func(verb string, want, have []string) {
		// An empty list of a template allows everything.
		if len(have) == 0 && len(want) > 0 {
			excess = append(excess, verb+" everything")
			return
		}
		missing = append(missing, phrases(verb, want, have)...)
		excess = append(excess, phrases(verb, have, want)...)
	}
	list("publish to", want.pub, have.pub)
	list("subscribe to", want.sub, have.sub)
	missing = append(missing, phrases("publish to", have.pubDeny, want.pubDeny)...)
	missing = append(missing, phrases("subscribe to", have.subDeny, want.subDeny)...)
	switch {
	case have.responses < 0:
		excess = append(excess, "answer requests without end")
	case want.responses > have.responses:
		missing = append(missing, "answer requests")
	case have.responses > want.responses:
		excess = append(excess, fmt.Sprintf("answer requests with %d messages", have.responses))
	}
	return missing, excess
}

// compareTemplate is compare, with what a template can say beyond rights.
func compareTemplate(want, have jwt.UserPermissionLimits) (missing, excess []string) {
	missing, excess = compare(rightsIn(want), rightsIn(have))
	if have.Resp != nil && want.Resp != nil && have.Resp.Expires != want.Resp.Expires {
		if have.Resp.Expires > want.Resp.Expires || have.Resp.Expires < 0 {
			excess = append(excess, "answer requests later than "+want.Resp.Expires.String())
		} else {
			missing = append(missing, "answer requests within "+want.Resp.Expires.String())
		}
	}
	wantSrc, haveSrc := sorted(want.Src), sorted(have.Src)
	switch {
	case len(wantSrc) > 0 && len(haveSrc) == 0:
		excess = append(excess, "sign in from everywhere")
	case len(wantSrc) == 0 && len(haveSrc) > 0:
		missing = append(missing, "sign in from everywhere")
	default:
		missing = append(missing, phrases("sign in from", wantSrc, haveSrc)...)
		excess = append(excess, phrases("sign in from", haveSrc, wantSrc)...)
	}
	if have.BearerToken {
		excess = append(excess, "sign in without its key")
	}
	if have.ProxyRequired {
		missing = append(missing, "sign in without a proxy")
	}
	if len(have.AllowedConnectionTypes) > 0 {
		missing = append(missing, "connect in other ways than "+listing(have.AllowedConnectionTypes))
	}
	if len(have.Times) > 0 || have.Locale != "" {
		missing = append(missing, "sign in at any time")
	}
	if have.NatsLimits != want.NatsLimits {
		missing = append(missing, "use the server without limits of its own")
	}
	return missing, excess
}

// phrases are the items that a has and b does not, each with its verb.
func phrases(verb string, a, b []string) []string {
	var list []string
	for _, item := range a {
		if !slices.Contains(b, item) {
			list = append(list, verb+" "+item)
		}
	}
	return list
}
