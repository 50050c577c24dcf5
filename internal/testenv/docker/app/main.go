// Command app is the application in the containers of tests: it answers over
// HTTP with its environment, and fails when it is told to.
//
//	app          serve on $PORT (8080)
//	app once     print the environment and end
//	app health   end with 0 unless $UNHEALTHY is set or the file /tmp/unhealthy is there
//
// With CRASH=n it says so and ends with n; with CRASH_AFTER=100ms only then. What
// LEAK names is printed before, as applications do with what they can't use.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "once":
			_, _ = fmt.Fprintln(os.Stdout, strings.Join(os.Environ(), "\n"))
			return
		case "health":
			health()
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if name := os.Getenv("LEAK"); name != "" {
		fmt.Fprintf(os.Stderr, "can't use %s=%s\n", name, os.Getenv(name))
	}
	if text := os.Getenv("CRASH"); text != "" {
		code, _ := strconv.Atoi(text)
		if after, err := time.ParseDuration(os.Getenv("CRASH_AFTER")); err == nil {
			timer := time.NewTimer(after)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		fmt.Fprintln(os.Stderr, "told to crash")
		os.Exit(code)
	}
	if err := serve(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func health() {
	_, err := os.Stat("/tmp/unhealthy")
	if os.Getenv("UNHEALTHY") != "" || err == nil {
		_, _ = fmt.Fprintln(os.Stdout, "the database does not answer")
		os.Exit(1)
	}
	_, _ = fmt.Fprintln(os.Stdout, "fine")
}

func serve(ctx context.Context) error {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{
		Addr: ":" + port, ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			host, _ := os.Hostname()
			_, _ = fmt.Fprintf(w, "%s\n%s\n", host, strings.Join(os.Environ(), "\n"))
		}),
	}
	_, _ = fmt.Fprintln(os.Stdout, "serving on", server.Addr)
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stopped()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
