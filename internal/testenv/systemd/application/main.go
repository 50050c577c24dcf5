// Command application is what the tests of units run: it writes down what it was
// started with, says that it is ready, and fails when it is told to by its
// environment.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// What is written down.
type seen struct {
	Environment map[string]string            `json:"environment"`
	Files       map[string]map[string]string `json:"files"` // below $SERVICE_BINDING_ROOT
}

func main() {
	out := flag.String("out", "", "`FILE` for what it sees, as JSON")
	starts := flag.String("starts", "", "`FILE` that gets a line for each start, and each SIGHUP")
	crash := flag.String("crash", "", "`NAME=VALUE` in the environment with which it fails before it is ready")
	mute := flag.String("mute", "", "`NAME=VALUE` with which it never says that it is ready")
	later := flag.String("later", "", "`NAME=VALUE` with which it fails right after it was ready")
	once := flag.Bool("once", false, "end when all is written")
	flag.Parse()
	must(look(*out))
	must(note(*starts, "start"))
	if told(*crash) {
		fmt.Fprintln(os.Stdout, "refused: password="+os.Getenv(strings.Split(*crash, "=")[0]))
		fmt.Fprintln(os.Stdout, "no database, no application")
		os.Exit(3)
	}
	if told(*mute) {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
		return
	}
	must(ready())
	if told(*later) {
		<-time.NewTimer(50 * time.Millisecond).C
		fmt.Fprintln(os.Stdout, "it was not to last")
		os.Exit(4)
	}
	if *once {
		return
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	for s := range signals {
		if s == syscall.SIGTERM {
			return
		}
		must(look(*out))
		must(note(*starts, "reload"))
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// told reports whether the environment has that NAME=VALUE.
func told(what string) bool {
	name, value, ok := strings.Cut(what, "=")
	return ok && os.Getenv(name) == value
}

func look(out string) error {
	s := seen{Environment: map[string]string{}, Files: map[string]map[string]string{}}
	for _, item := range os.Environ() {
		name, value, _ := strings.Cut(item, "=")
		s.Environment[name] = value
	}
	if root := os.Getenv("SERVICE_BINDING_ROOT"); root != "" {
		connections, _ := os.ReadDir(root) // none, when the last one has gone
		for _, c := range connections {
			entries, err := os.ReadDir(filepath.Join(root, c.Name()))
			if err != nil {
				return err
			}
			s.Files[c.Name()] = map[string]string{}
			for _, e := range entries {
				content, err := os.ReadFile(filepath.Join(root, c.Name(), e.Name()))
				if err != nil {
					content = []byte(err.Error())
				}
				s.Files[c.Name()][e.Name()] = string(content)
			}
		}
	}
	b, err := json.Marshal(s)
	if err != nil || out == "" {
		return err
	}
	next := fmt.Sprintf("%s.%d", out, os.Getpid())
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return err
	}
	return os.Rename(next, out)
}

func note(name, what string) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, what); err != nil {
		return err
	}
	return f.Close()
}

// ready tells the manager, where it waits for that (sd_notify(3)).
func ready() error {
	at := os.Getenv("NOTIFY_SOCKET")
	if at == "" {
		return nil
	}
	c, err := net.Dial("unixgram", at)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("READY=1"))
	return err
}
