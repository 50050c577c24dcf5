package mongodb

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(ctx context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	var err error
	r.Servers, err = t.reachable(ctx)
	return r, err
}

// tryLogin is the driver's Probe. What would change something is asked of the server
// without being done (explain), or of a collection that is not there.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	cfg, err := parse(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	cfg.tls = cfg.tls.ReadBy(r.Reading)
	if cfg.secured != nil {
		if cfg.secured, err = cfg.tls.Config(""); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	if err := checkDatabase(r.Sub); err != nil {
		return driver.ProbeResult{}, err
	}
	values := r.Credential.Values()
	who := login{UserPassword: driver.UserPassword{Username: values["username"].Reveal(), Password: values["password"]},
		database: cmp.Or(values["authSource"].Reveal(), r.Sub), strong: r.Access != ""}
	if who.Username == "" || who.Password.IsZero() || strings.ContainsRune(who.Username+who.database+who.Password.Reveal(), 0) {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "the login has no name or no password, or a zero byte in it")
	}
	if len(r.Servers) == 0 {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.Internal, "the probe was not prepared")
	}
	ctx, cancel := within(ctx)
	defer cancel()
	l, err := find(ctx, &cfg, r.Dialer, r.Servers[:min(len(r.Servers), maxServers+maxMembers)], who, patchbay.LoginRefused)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer l.close()
	if err := l.signIn(ctx); err != nil {
		return driver.ProbeResult{}, err
	}
	p := &probe{link: l, database: r.Sub, result: driver.ProbeResult{TLS: l.protocol, Allowed: []string{"sign in"}}}
	if r.Access != "" {
		if err := p.try(ctx, r.Access); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	p.result.Took = time.Since(started)
	return p.result, nil
}

// probe is one sign-in as the application.
type probe struct {
	*link
	database string
	result   driver.ProbeResult
}

// trial is a command that shows a right.
type trial struct {
	what     string
	database string
	command  bson.D
	wanted   bool
}

// explained is a command that the server judges, and says how it would do.
func explained(command bson.D) bson.D {
	return bson.D{{Key: "explain", Value: command}, {Key: "verbosity", Value: "queryPlanner"}}
}

// trials are those of an access.
func (p *probe) trials(access patchbay.Access) []trial {
	writes, owns := access != patchbay.Reader, access == patchbay.Owner
	nobodys := "patchbay_probe_" + strings.ToLower(rand.Text())
	elsewhere := "patchbay_" + strings.ToLower(rand.Text()[:12])
	find := bson.D{{Key: "find", Value: nobodys}, {Key: "limit", Value: 1}, {Key: "singleBatch", Value: true}}
	none := bson.D{{Key: "_id", Value: nobodys}}
	remove := bson.D{{Key: "delete", Value: nobodys}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: none}, {Key: "limit", Value: 1}}}}}
	put := bson.D{{Key: "update", Value: nobodys}, {Key: "updates", Value: bson.A{bson.D{
		{Key: "q", Value: none}, {Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "x", Value: 1}}}}}, {Key: "upsert", Value: true}}}}}
	return []trial{
		{"read", p.database, find, true},
		{"list collections", p.database, bson.D{{Key: "listCollections", Value: 1}, {Key: "nameOnly", Value: true}, {Key: "filter", Value: bson.D{{Key: "name", Value: nobodys}}}}, true},
		{"delete", p.database, remove, writes},
		{"insert and update", p.database, explained(put), writes},
		{"administer collections", p.database, bson.D{{Key: "collMod", Value: nobodys}}, owns},
		{"read another database", elsewhere, find, false},
		{"write another database", elsewhere, explained(put), false},
		{"read the server's users", adminDatabase, bson.D{{Key: "find", Value: "system.users"}, {Key: "limit", Value: 1}, {Key: "singleBatch", Value: true}}, false},
		{"list users", p.database, bson.D{{Key: "usersInfo", Value: 1}}, false},
		{"remove users", p.database, bson.D{{Key: "dropUser", Value: nobodys}}, false},
		{"see who is connected", adminDatabase, bson.D{{Key: "aggregate", Value: 1}, {Key: "cursor", Value: bson.D{}},
			{Key: "pipeline", Value: bson.A{bson.D{{Key: "$currentOp", Value: bson.D{{Key: "allUsers", Value: true}}}}, bson.D{{Key: "$limit", Value: 1}}}}}, false},
		{"read the server's parameters", adminDatabase, bson.D{{Key: "getParameter", Value: 1}, {Key: "logLevel", Value: 1}}, false},
	}
}

func (p *probe) try(ctx context.Context, access patchbay.Access) error {
	var told struct {
		Info struct {
			Users []struct {
				User string `bson:"user"`
				DB   string `bson:"db"`
			} `bson:"authenticatedUsers"`
		} `bson:"authInfo"`
	}
	if err := p.run(ctx, p.database, bson.D{{Key: "connectionStatus", Value: 1}}, &told); err != nil {
		return p.fault("ask who it is", err)
	}
	if users := told.Info.Users; len(users) != 1 || users[0].User != p.who.Username || users[0].DB != p.who.database {
		return patchbay.Errorf(patchbay.LoginRefused, "%s lets %s in as somebody else", p.at, p.name())
	}
	for _, t := range p.trials(access) {
		if err := p.judge(t, p.run(ctx, t.database, t.command, nil)); err != nil {
			return err
		}
	}
	return nil
}

// judge says what an answer shows. A server looks at the rights before anything else; an
// error of another kind comes after that.
func (p *probe) judge(t trial, err error) error {
	var said *refused
	refusal := errors.As(err, &said)
	no := refusal && said.Code == codeUnauthorized
	switch {
	case err != nil && !refusal:
		return err
	case passing(err):
		return p.fault(t.what, err)
	case t.wanted && no:
		return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s: %s", p.name(), p.at, t.what)
	case no, !t.wanted && is(err, codeCommandNotFound):
		p.result.Refused = append(p.result.Refused, t.what)
	case !t.wanted:
		return patchbay.Errorf(patchbay.RightsExcess, "%s may do more than it should on %s: %s", p.name(), p.at, t.what)
	case err == nil, said.Code == codeNamespaceNotFound:
		p.result.Allowed = append(p.result.Allowed, t.what)
	default:
		p.result.NotChecked = append(p.result.NotChecked, t.what+": something else stops it")
	}
	return nil
}
