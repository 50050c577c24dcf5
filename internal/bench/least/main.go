// Command least is the least program that could do what Patchbay's server does
// when nobody calls: it keeps records in the same SQLite, and answers over HTTPS.
// The benchmark weighs Patchbay against it.
package main

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"syscall"

	_ "modernc.org/sqlite"
)

func main() {
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve serves the database in file until it is told to end.
func serve(file string) error {
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return err
	}
	if _, err := db.Exec("CREATE TABLE records (id INTEGER PRIMARY KEY, body TEXT)"); err != nil {
		return err
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var records int
		if err := db.QueryRowContext(r.Context(), "SELECT count(*) FROM records").Scan(&records); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintln(w, records)
	}))
	defer server.Close()
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	<-end
	return db.Close()
}
