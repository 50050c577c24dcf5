package hosts

// maxOutput is how much of a command's output is kept when nobody says.
const maxOutput = 64 << 10

// Tail keeps the end of what is written to it, from one goroutine at a time.
type Tail struct {
	max   int
	bytes []byte
}

// NewTail keeps so many bytes, as [Command] says them.
func NewTail(most int) *Tail {
	if most <= 0 {
		most = maxOutput
	}
	return &Tail{max: most}
}

func (t *Tail) Write(b []byte) (int, error) {
	t.bytes = append(t.bytes, b...)
	if over := len(t.bytes) - t.max; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
	return len(b), nil
}

// Bytes are what is kept.
func (t *Tail) Bytes() []byte { return t.bytes }
