// Command app is the application that the tests run in pods. It says what it reads:
//
//	GET /env     its environment, as a JSON object
//	GET /files   the files below $SERVICE_BINDING_ROOT, as a JSON object
//	GET /healthz whether it is ready
//	GET /dial?to=HOST:PORT opens a connection from its pod
//
// With the argument pause it does nothing, as a pod's first container does.
// Variables make it misbehave: APP_CRASH ends it, with $APP_CRASH and the password
// that it was given as its last words; APP_UNREADY keeps it from being ready, and
// APP_SLOW from listening for so many seconds. APP_DRAIN is how long it goes on when
// it is told to end (200ms).
//
// With APP_FORWARD=HOST:PORT, whoever connects to port 5432 is connected to that.
//
// With APP_SIGN_IN=HOST:PORT, and the settings of a connection, it signs in to PostgreSQL
// all the time, and tells the listener there of each time, a line: "as", a space and
// who it is, or what it was answered.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	if len(os.Args) > 1 && os.Args[1] == "pause" {
		<-ended
		return
	}
	if why := os.Getenv("APP_CRASH"); why != "" {
		fmt.Fprintf(os.Stderr, "starting\nfatal: %s: can't sign in with %s\n", why, os.Getenv("APP_PASSWORD"))
		os.Exit(3)
	}
	if seconds, err := strconv.Atoi(os.Getenv("APP_SLOW")); err == nil {
		select {
		case <-ended:
			return
		case <-time.After(time.Duration(seconds) * time.Second):
		}
	}
	if to := os.Getenv("APP_SIGN_IN"); to != "" && os.Getenv(connectionString) != "" {
		go signInAgainAndAgain(to)
	}
	if to := os.Getenv("APP_FORWARD"); to != "" {
		l, err := net.Listen("tcp", ":5432")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go forward(l, to)
	}
	drain := 200 * time.Millisecond // whoever still has its address may finish
	if text := os.Getenv("APP_DRAIN"); text != "" {
		var err error
		if drain, err = time.ParseDuration(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	answers := http.NewServeMux()
	answers.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		all := map[string]string{}
		for _, one := range os.Environ() {
			name, value, _ := strings.Cut(one, "=")
			all[name] = value
		}
		_ = json.NewEncoder(w).Encode(all)
	})
	answers.HandleFunc("/files", func(w http.ResponseWriter, _ *http.Request) {
		all := map[string]string{}
		root := os.Getenv("SERVICE_BINDING_ROOT")
		found, _ := filepath.Glob(filepath.Join(root, "*", "*"))
		for _, path := range found {
			if b, err := os.ReadFile(path); err == nil && !strings.HasPrefix(filepath.Base(path), "..") {
				all[strings.TrimPrefix(path, root+"/")] = string(b)
			}
		}
		_ = json.NewEncoder(w).Encode(all)
	})
	answers.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("APP_UNREADY") != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	answers.HandleFunc("/dial", func(w http.ResponseWriter, r *http.Request) {
		conn, err := net.DialTimeout("tcp", r.FormValue("to"), 5*time.Second)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_ = conn.Close()
	})
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: answers, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ended
		select {
		case <-ended:
		case <-time.After(drain):
		}
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// forward ends with the program.
func forward(l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = in.Close() }()
			out, err := net.DialTimeout("tcp", to, 5*time.Second)
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(out, in)
				_ = out.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(in, out)
			_ = out.Close()
		}()
	}
}

const connectionString = "AZURE_POSTGRESQL_CONNECTIONSTRING"

// signInAgainAndAgain ends with the program, or with who listens.
func signInAgainAndAgain(to string) {
	told, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for err == nil {
		who, failed := signIn()
		if failed != nil {
			who = strings.ReplaceAll(failed.Error(), "\n", " ")
		}
		_, err = fmt.Fprintln(told, who)
	}
}

func signIn() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, os.Getenv(connectionString))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	var who string
	err = conn.QueryRow(ctx, "SELECT session_user").Scan(&who)
	return "as " + who, err
}
