package mongodb

import (
	"context"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay/driver"
)

// maxOps bounds the operations of one login that are ended one by one.
const maxOps = 1000

// operation is what $currentOp tells of one: a shard's has a text for its number.
type operation struct {
	ID     any  `bson:"opid"`
	Active bool `bson:"active"`
}

// operations are those of a login on one server; idle ones are its open connections.
func (l *link) operations(ctx context.Context, r driver.LoginRequest, idle bool) ([]operation, error) {
	var told struct {
		Cursor struct {
			First []operation `bson:"firstBatch"`
		} `bson:"cursor"`
	}
	err := l.run(ctx, adminDatabase, bson.D{
		{Key: "aggregate", Value: 1},
		{Key: "pipeline", Value: bson.A{
			bson.D{{Key: "$currentOp", Value: bson.D{{Key: "allUsers", Value: true}, {Key: "idleConnections", Value: idle}, {Key: "idleSessions", Value: false}, {Key: "localOps", Value: idle}}}},
			bson.D{{Key: "$match", Value: bson.D{{Key: "effectiveUsers", Value: bson.D{{Key: "$elemMatch", Value: bson.D{{Key: "user", Value: r.Name}, {Key: "db", Value: r.Sub}}}}}}}},
			bson.D{{Key: "$limit", Value: maxOps}},
			bson.D{{Key: "$project", Value: bson.D{{Key: "opid", Value: 1}, {Key: "active", Value: 1}}}},
		}},
		{Key: "cursor", Value: bson.D{{Key: "batchSize", Value: maxOps}}},
	}, &told)
	return told.Cursor.First, err
}

// sessions counts the connections that a login has open; 0 where the administrator may
// not look.
func (t *target) sessions(ctx context.Context, l *link, r driver.LoginRequest) (int, error) {
	open, err := l.operations(ctx, r, true)
	switch {
	case is(err, codeUnauthorized):
		return 0, nil
	case err != nil:
		return 0, l.fault("count the sessions", err)
	}
	var beside atomic.Int64
	t.onOthers(ctx, l, func(ctx context.Context, other *link) {
		if open, err := other.operations(ctx, r, true); err == nil {
			beside.Add(int64(len(open)))
		}
	})
	return len(open) + int(beside.Load()), nil
}

// endSessions ends what a login that was dropped has under way: its sessions, with their
// cursors and transactions, and what is not in one. An administrator that may not is
// told so when the server is looked at; what is under way then ends by itself, and
// nothing follows it.
func (t *target) endSessions(ctx context.Context, l *link, r driver.LoginRequest) error {
	if err := l.endSessions(ctx, r); err != nil {
		return l.fault("end the sessions", err)
	}
	t.onOthers(ctx, l, func(ctx context.Context, other *link) { _ = other.endSessions(ctx, r) })
	return nil
}

func (l *link) endSessions(ctx context.Context, r driver.LoginRequest) error {
	err := l.run(ctx, adminDatabase, bson.D{{Key: "killAllSessions", Value: bson.A{bson.D{{Key: "user", Value: r.Name}, {Key: "db", Value: r.Sub}}}}}, nil)
	if err != nil && !is(err, codeUnauthorized) {
		return err
	}
	under, err := l.operations(ctx, r, false)
	if is(err, codeUnauthorized) {
		return nil
	} else if err != nil {
		return err
	}
	for _, op := range under {
		if !op.Active || op.ID == nil {
			continue
		}
		err := l.run(ctx, adminDatabase, bson.D{{Key: "killOp", Value: 1}, {Key: "op", Value: op.ID}}, nil)
		if err != nil && !is(err, codeUnauthorized) {
			return err
		}
	}
	return nil
}
