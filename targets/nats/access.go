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
	optionBuckets  = "buckets"
	optionObjects  = "objects"
	optionDirect   = "direct"
	optionAnswers  = "answers"

	// sharedInbox is where clients wait for answers, unless they are told to wait
	// elsewhere.
	sharedInbox = "_INBOX.>"
	// privateInboxes are below a token of their own: a login can be allowed to
	// answer into all of them, and nobody to listen there but each to its own.
	privateInboxes = "_INBOX_pb"
	// importReplies is where requests of other accounts wait for answers.
	importReplies = "_R_.>"
)

// The words of optionAnswers.
const (
	answersInbox = "inbox"
	answersAny   = "any"
)

// A responder to any request answers once, within the product's own default time.
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
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "NATS has no roles to give: use access, subjects, streams and buckets")
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
	var streams, buckets, objects []string
	for name, value := range options {
		items := strings.Split(value, ",")
		for i := range items {
			items[i] = strings.TrimSpace(items[i])
		}
		switch name {
		case optionSubjects:
			named.subjects = items
		case optionStreams:
			streams = items
		case optionBuckets:
			buckets = items
		case optionObjects:
			objects = items
		case optionDirect:
			named.direct = sorted(items)
		case optionAnswers:
			if value != answersInbox && value != answersAny {
				return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "%s is %q, and can be %s or %s", optionAnswers, short(value), answersInbox, answersAny)
			}
			named.anyAnswer = value == answersAny
		default:
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "NATS has no option %q, only %s, %s, %s, %s, %s and %s", short(name),
				optionSubjects, optionStreams, optionBuckets, optionObjects, optionDirect, optionAnswers)
		}
	}
	var err error
	if named.streams, err = streamsOf(streams, buckets, objects); err != nil {
		return scope{}, err
	}
	s := t.scope
	switch {
	case !named.empty():
		if s, err = newScope(named.subjects, named.streams); err != nil {
			return scope{}, err
		}
		if err := s.within(t.scope); err != nil {
			return scope{}, err
		}
	case s.empty():
		return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "neither the connection nor the registration says which subjects, streams or buckets may be used").
			WithFix("repeat with --option subjects=orders.>, streams=ORDERS, buckets=config or objects=files")
	}
	s.direct, s.anyAnswer = named.direct, named.anyAnswer
	for _, stream := range s.direct {
		if !slices.Contains(s.streams, stream) {
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "%s names the stream %q, which is none of the connection's: %s", optionDirect, short(stream), listing(s.streams))
		}
	}
	if s.anyAnswer && access == patchbay.Reader {
		return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "a reader answers nobody: %s is for writers and owners", optionAnswers)
	}
	return s, nil
}

// privateInbox is below what a login alone may listen for answers.
func privateInbox(name string) string { return privateInboxes + "." + name }

// formerInbox is what privateInbox was in the releases before: nobody but the
// server could be allowed to answer there.
func formerInbox(name string) string { return "_INBOX_" + name }

// rights are permissions in a form that can be compared.
type rights struct {
	pub, sub         []string
	pubDeny, subDeny []string
	responses        int
}

// rightsOf is exactly what an access gives. captured are the subjects of the
// scope's streams.
//
// The server checks what a login publishes, and not where the login has the answer
// sent: each right to ask something is one to have the answer published anywhere.
// So there is none that the access does not need ([target.Beyond] has the rest).
func (t *target) rightsOf(name string, access patchbay.Access, s scope, captured []string) rights {
	writes, owns := access != patchbay.Reader, access == patchbay.Owner
	var pub []string
	sub := slices.Clone(s.subjects)
	if asks := writes || len(s.streams) > 0; t.private {
		sub = append(sub, privateInbox(name)+".>", formerInbox(name)+".>")
	} else if asks {
		sub = append(sub, sharedInbox)
	}
	if len(s.streams) > 0 {
		pub = append(pub, "$JS.API.INFO") // which clients ask before anything else
	}
	for _, stream := range s.streams {
		pub = append(pub, consumeSubjects(t.account, stream)...)
		taken, isBucket := bucket(stream)
		if isBucket || slices.Contains(s.direct, stream) {
			pub = append(pub, directSubjects(stream)...)
		}
		if isBucket && writes {
			// Clients purge what they delete.
			pub = append(append(pub, taken...), "$JS.API.STREAM.PURGE."+stream)
		}
		if owns {
			pub = append(pub, manageSubjects(stream)...)
		}
	}
	r := rights{}
	if writes {
		pub = append(pub, s.subjects...)
		pub = append(pub, captured...)
		// Not the server's own allow_responses: a login that may publish to a subject
		// and listen to it asks itself, with any subject to answer to.
		pub = append(pub, sharedInbox, privateInboxes+".>", importReplies)
		if s.anyAnswer {
			r.responses = responseMessages
		}
	}
	if len(pub) == 0 {
		r.pubDeny = []string{">"} // nothing allowed would be everything
	}
	r.pub, r.sub = sorted(pub), sorted(sub)
	return r
}

// streamsOf are those streams, and the ones that clients keep buckets of keys and values,
// and of objects, in.
func streamsOf(streams, buckets, objects []string) ([]string, error) {
	all := slices.Clone(streams)
	for _, kept := range []struct {
		prefix string
		names  []string
	}{{keyValues, buckets}, {objectStore, objects}} {
		for _, name := range kept.names {
			if !bucketForm.MatchString(name) {
				return nil, patchbay.Errorf(patchbay.InvalidArgument, "%q is not the name of a bucket: letters, digits, _ and -", short(name))
			}
			all = append(all, kept.prefix+name)
		}
	}
	return all, nil
}

// What the names of buckets' streams begin with, and what clients take for the name of a
// bucket: https://github.com/nats-io/nats-architecture-and-design, ADR-8 and ADR-20.
const (
	keyValues   = "KV_"
	objectStore = "OBJ_"
)

var bucketForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// bucket reports whether a stream is a client's key-value or object store, and
// the subjects that it takes: clients find it by the names of both.
func bucket(stream string) (subjects []string, ok bool) {
	if name, ok := strings.CutPrefix(stream, keyValues); ok && name != "" {
		return []string{"$KV." + name + ".>"}, true
	}
	if name, ok := strings.CutPrefix(stream, objectStore); ok && name != "" {
		return []string{"$O." + name + ".C.>", "$O." + name + ".M.>"}, true // chunks, and what is known of each object
	}
	return nil, false
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

// directSubjects get single messages as they are. The answer is the message, and
// JetStream's API takes one that is sent there for a request: it may be any.
func directSubjects(stream string) []string {
	return []string{"$JS.API.DIRECT.GET." + stream, "$JS.API.DIRECT.GET." + stream + ".>"}
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
	l.Pub.Deny, l.Sub.Deny = r.pubDeny, r.subDeny
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
	list := func(verb string, want, have, wantDeny, haveDeny []string) {
		missing = append(missing, phrases(verb, haveDeny, wantDeny)...)
		// An empty list of a template allows everything.
		if len(have) == 0 && !slices.Contains(haveDeny, ">") {
			excess = append(excess, verb+" everything")
			return
		}
		missing = append(missing, phrases(verb, want, have)...)
		excess = append(excess, phrases(verb, have, want)...)
	}
	list("publish to", want.pub, have.pub, want.pubDeny, have.pubDeny)
	list("subscribe to", want.sub, have.sub, want.subDeny, have.subDeny)
	switch {
	case have.responses < 0:
		excess = append(excess, "answer requests without end")
	case want.responses > have.responses:
		missing = append(missing, "answer any request")
	case have.responses > want.responses:
		excess = append(excess, fmt.Sprintf("answer any request, its own too, with messages to any subject (%d each)", have.responses))
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
