package mysql

import (
	"context"
	"encoding/json"
)

// MySQL keeps a JSON object beside each account, which only ALTER USER changes: the
// mark is its member patchbay.

// attribute is the mark as CREATE USER and ALTER USER take it.
func (m mark) attribute() string {
	b, _ := json.Marshal(map[string]mark{"patchbay": m}) // never fails
	return literal(string(b))
}

// attributeMark reads the mark of an account's attributes.
func attributeMark(attributes string) *mark {
	var all struct {
		Patchbay json.RawMessage `json:"patchbay"`
	}
	if json.Unmarshal([]byte(attributes), &all) != nil {
		return nil
	}
	return asMark(all.Patchbay)
}

// accountsMySQL is where accounts stand, and then their marks.
func (s *session) accountsMySQL(found *state) []asked {
	return []asked{{"*", "mysql.user", "User", func(row map[string]string) error {
		a := &accountState{host: row["host"], plugin: row["plugin"], locked: row["account_locked"] == "Y", expired: row["password_expired"] == "Y", ssl: row["ssl_type"], bound: true}
		a.add("*.*", privileges(row)...)
		// A second factor, or a second password that RETAIN CURRENT PASSWORD has kept.
		var more map[string]json.RawMessage
		if json.Unmarshal([]byte(row["user_attributes"]), &more) == nil {
			a.another = more["additional_password"] != nil || more["Multi_factor_authentication"] != nil
		}
		found.accounts = append(found.accounts, a)
		return nil
	}}, {"USER, HOST, ATTRIBUTE", "information_schema.user_attributes", "USER", func(row map[string]string) error {
		if a := found.at(row["host"]); a != nil {
			a.mark = attributeMark(row["attribute"])
		}
		return nil
	}}}
}

// markedMySQL lists the accounts that bear a mark.
func (s *session) markedMySQL(ctx context.Context) ([]marked, error) {
	rows, err := s.query(ctx, `select USER, HOST, ATTRIBUTE from information_schema.user_attributes where ATTRIBUTE like '%"patchbay"%' order by 1, 2`)
	var all []marked
	for _, row := range rows {
		if m := attributeMark(row[2]); m != nil && account(m.Name) == row[0] {
			all = append(all, marked{row[0], row[1], *m})
		}
	}
	return all, err
}
