package clienttest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
)

// lineClient is a client in a process of its own, which is asked for one thing
// a line and answers with one line of JSON.
type lineClient struct {
	mu      sync.Mutex
	in      io.WriteCloser
	answers *bufio.Reader
}

type question struct {
	Do   string `json:"do"`
	Args []any  `json:"args"`
}

type reply struct {
	Result json.RawMessage `json:"result"`
	Error  *wireError      `json:"error"`
}

// spawn starts a client whose requests go to the server; it ends with the test.
func (cp *controlPlane) spawn(env []string, program string, args ...string) *lineClient {
	cp.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		cp.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		cp.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		cp.t.Fatal(err)
	}
	cp.t.Cleanup(func() {
		// Without anything more to read it ends by itself, unless it hangs in a
		// request of a test that was given up.
		_ = in.Close()
		if cp.t.Failed() {
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
	})
	return &lineClient{in: in, answers: bufio.NewReader(out)}
}

// ask has the client do something; into may be nil.
func (c *lineClient) ask(ctx context.Context, into any, do string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	q, err := json.Marshal(question{do, args})
	if err != nil {
		return err
	}
	if _, err := c.in.Write(append(q, '\n')); err != nil {
		return err
	}
	type read struct {
		line []byte
		err  error
	}
	done := make(chan read, 1)
	go func() {
		line, err := c.answers.ReadBytes('\n')
		done <- read{line, err}
	}()
	var got read
	select {
	case got = <-done:
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", do, ctx.Err())
	}
	if got.err != nil {
		return fmt.Errorf("%s: the client ended: %w", do, got.err)
	}
	var r reply
	if err := json.Unmarshal(got.line, &r); err != nil {
		return fmt.Errorf("%s: the client said %s", do, got.line)
	}
	if r.Error != nil {
		return r.Error
	}
	if into == nil || len(r.Result) == 0 {
		return nil
	}
	return json.Unmarshal(r.Result, into)
}

// serveLines is the other side, for a client in Go.
func serveLines(in io.Reader, out io.Writer, answer func(do string, args []json.RawMessage) (any, error)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q struct {
			Do   string
			Args []json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return err
		}
		var r struct {
			Result any        `json:"result,omitempty"`
			Error  *wireError `json:"error,omitempty"`
		}
		result, err := answer(q.Do, q.Args)
		if err != nil {
			r.Error = asWireError(err)
		}
		r.Result = result
		if err := json.NewEncoder(out).Encode(r); err != nil {
			return err
		}
	}
	return lines.Err()
}
