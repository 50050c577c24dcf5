package testenv

import "testing"

func TestEveryInstalledPostgresRuns(t *testing.T) {
	for _, v := range PostgresVersions() {
		s := Postgres(t, PostgresOptions{Version: v})
		c, err := s.Connect(t.Context(), "postgres")
		if err != nil {
			t.Fatal(err)
		}
		var num int
		if err := c.QueryRow(t.Context(), "select current_setting('server_version_num')::int / 10000").Scan(&num); err != nil || num != v {
			t.Errorf("server %d is %d, %v", v, num, err)
		}
		_ = c.Close(t.Context())
	}
}
