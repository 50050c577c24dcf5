package ssh

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"patchbay.dev/patchbay/hosts"
)

// The file transfer protocol, version 3, as OpenSSH speaks it
// (draft-ietf-secsh-filexfer-02, and its PROTOCOL file for the extensions): the few
// requests that a [hosts.FileSystem] needs. A file or directory is made with its
// mode, which no library's client can say: what is for one reader alone must not
// have been open to another for a moment.
const (
	fxInit, fxVersion                 = 1, 2
	fxOpen, fxClose, fxRead, fxWrite  = 3, 4, 5, 6
	fxLstat, fxFstat                  = 7, 8
	fxSetstat, fxFsetstat             = 9, 10
	fxOpendir, fxReaddir              = 11, 12
	fxRemove, fxMkdir, fxRmdir        = 13, 14, 15
	fxRealpath, fxStat                = 16, 17
	fxReadlink, fxSymlink             = 19, 20
	fxStatus, fxHandle, fxData        = 101, 102, 103
	fxName, fxAttrs                   = 104, 105
	fxExtended, fxExtendedReply       = 200, 201
	openRead, openWrite               = 0x01, 0x02
	openCreate, openTruncate, openNew = 0x08, 0x10, 0x20
)

// The answers that are a status.
const (
	statusOK, statusEOF               = 0, 1
	statusNoSuchFile, statusForbidden = 2, 3
	statusFailure, statusBadMessage   = 4, 5
	statusUnsupported                 = 8
)

// The extensions that are used.
const (
	extRename  = "posix-rename@openssh.com"
	extSync    = "fsync@openssh.com"
	extSpace   = "statvfs@openssh.com"
	extSetstat = "lsetstat@openssh.com"
)

const (
	maxPacket = 1 << 20  // of an answer; OpenSSH's are at most 256 KiB
	chunk     = 32 << 10 // of a file; every server takes so much at once
)

// errFailure is what a server says where it has no better word: a full disk, a file
// that is there already.
var errFailure = errors.New("the file server says only that it failed")

// sftp is one session with a file server.
type sftp struct {
	stream     io.ReadWriteCloser
	lost       func() bool // whether the next answer is lost; tests lose some
	extensions map[string]bool

	writing sync.Mutex

	mu      sync.Mutex
	next    uint32
	waiting map[uint32]chan answer // by request; nil for one that nobody waits for any more
	ended   error
	done    chan struct{}
}

type answer struct {
	kind byte
	data []byte
}

// newSFTP greets the server at the other end of a stream.
func newSFTP(stream io.ReadWriteCloser, lost func() bool) (*sftp, error) {
	c := &sftp{stream: stream, lost: lost, extensions: map[string]bool{}, waiting: map[uint32]chan answer{}, done: make(chan struct{})}
	if _, err := stream.Write(packet(fxInit, uint32Bytes(3))); err != nil {
		return nil, err
	}
	kind, data, err := readPacket(stream)
	if err != nil {
		return nil, err
	}
	in := decoder{data}
	if version := in.uint32(); kind != fxVersion || in.data == nil || version != 3 {
		return nil, errors.New("it speaks no SFTP of version 3")
	}
	for len(in.data) > 0 {
		name, _ := in.text(), in.text()
		c.extensions[name] = true
	}
	go c.receive()
	return c, nil
}

func packet(kind byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	return append(append(b, kind), body...)
}

func readPacket(r io.Reader) (kind byte, data []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:4])
	if length < 1 || length > maxPacket {
		return 0, nil, fmt.Errorf("a packet of %d bytes is none of SFTP's", length)
	}
	data = make([]byte, length-1)
	_, err = io.ReadFull(r, data)
	return head[4], data, err
}

// receive hands out answers until the stream ends.
func (c *sftp) receive() {
	var err error
	for {
		var kind byte
		var data []byte
		if kind, data, err = readPacket(c.stream); err != nil {
			break
		}
		in := decoder{data}
		id := in.uint32()
		if in.data == nil || c.lost != nil && c.lost() {
			err = errors.New("an answer without its number")
			break
		}
		c.mu.Lock()
		to, known := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		switch {
		case !known:
		case to != nil:
			to <- answer{kind, in.data}
		case kind == fxHandle: // whoever opened it has left
			handle := in.text()
			go c.abandon(handle)
		}
	}
	c.mu.Lock()
	c.ended = err
	c.mu.Unlock()
	close(c.done)
	_ = c.stream.Close()
}

// asked is a request that was sent.
type asked struct {
	c  *sftp
	id uint32
	to chan answer
}

// ask sends a request.
func (c *sftp) ask(kind byte, body ...[]byte) (asked, error) {
	a := asked{c: c, to: make(chan answer, 1)}
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return a, hosts.ErrCut
	}
	a.id = c.next
	c.next++
	c.waiting[a.id] = a.to
	c.mu.Unlock()
	all := uint32Bytes(a.id)
	for _, part := range body {
		all = append(all, part...)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if _, err := c.stream.Write(packet(kind, all)); err != nil {
		_ = c.stream.Close()
		<-c.done
		return a, hosts.ErrCut
	}
	return a, nil
}

// over reports whether the session has ended.
func (c *sftp) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// answer waits for the answer, which has one of two kinds: want, or a status.
func (a asked) answer(ctx context.Context, want byte) (decoder, error) {
	var got answer
	select {
	case got = <-a.to:
	case <-ctx.Done():
		a.c.mu.Lock()
		if _, open := a.c.waiting[a.id]; open {
			a.c.waiting[a.id] = nil
		}
		a.c.mu.Unlock()
		return decoder{}, ctx.Err()
	case <-a.c.done:
		select {
		case got = <-a.to:
		default:
			return decoder{}, hosts.ErrCut
		}
	}
	in := decoder{got.data}
	if got.kind == want && want != fxStatus {
		return in, nil
	}
	if got.kind != fxStatus {
		return decoder{}, fmt.Errorf("the file server answers with %d where %d is due", got.kind, want)
	}
	status := in.uint32()
	if in.data == nil {
		return decoder{}, errors.New("the file server's status can't be read")
	}
	if err := statusError(status); err != nil || want == fxStatus {
		return decoder{}, err
	}
	return decoder{}, errors.New("the file server answers with no more than that it went well")
}

func statusError(status uint32) error {
	switch status {
	case statusOK:
		return nil
	case statusEOF:
		return io.EOF
	case statusNoSuchFile:
		return syscall.ENOENT
	case statusForbidden:
		return syscall.EACCES
	case statusBadMessage:
		return syscall.EINVAL
	case statusUnsupported:
		return syscall.ENOTSUP
	case 6, 7: // no connection, or lost, to what is behind it
		return hosts.ErrCut
	}
	return errFailure
}

// do sends a request and waits for its answer.
func (c *sftp) do(ctx context.Context, want, kind byte, body ...[]byte) (decoder, error) {
	if err := ctx.Err(); err != nil {
		return decoder{}, err
	}
	a, err := c.ask(kind, body...)
	if err != nil {
		return decoder{}, err
	}
	return a.answer(ctx, want)
}

func (c *sftp) extended(ctx context.Context, want byte, name string, body ...[]byte) (decoder, error) {
	if !c.extensions[name] {
		return decoder{}, syscall.ENOTSUP
	}
	return c.do(ctx, want, fxExtended, append([][]byte{text(name)}, body...)...)
}

// abandon closes a handle that nobody waits for.
func (c *sftp) abandon(handle string) { _, _ = c.ask(fxClose, text(handle)) }

// attributes are what a request says of a file; nil members are left as they are.
type attributes struct {
	size  *uint64
	owner *[2]int
	mode  *fs.FileMode // permission bits
}

func (a attributes) bytes() []byte {
	var flags uint32
	var b []byte
	if a.size != nil {
		flags |= 1
		b = binary.BigEndian.AppendUint64(b, *a.size)
	}
	if a.owner != nil {
		flags |= 2
		b = binary.BigEndian.AppendUint32(b, uint32(a.owner[0]))
		b = binary.BigEndian.AppendUint32(b, uint32(a.owner[1]))
	}
	if a.mode != nil {
		flags |= 4
		b = binary.BigEndian.AppendUint32(b, uint32(a.mode.Perm()))
	}
	return append(uint32Bytes(flags), b...)
}

// stat is what the server says of a file.
type stat struct {
	hosts.Info
	modified uint32
}

func (d *decoder) stat() (s stat, err error) {
	flags := d.uint32()
	if flags&1 != 0 {
		s.Size = int64(d.uint64())
	}
	if flags&2 != 0 {
		s.UID, s.GID = int(d.uint32()), int(d.uint32())
	}
	if flags&4 != 0 {
		s.Mode = fileMode(d.uint32())
	}
	if flags&8 != 0 {
		_ = d.uint32()
		s.modified = d.uint32()
	}
	if d.data == nil || flags&7 != 7 || s.Size < 0 {
		return stat{}, errors.New("the file server's attributes can't be read")
	}
	return s, nil
}

// fileMode is a mode of POSIX as package fs has it.
func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for bit, means := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= means
		}
	}
	switch m & 0o170000 {
	case 0o100000:
	case 0o040000:
		mode |= fs.ModeDir
	case 0o120000:
		mode |= fs.ModeSymlink
	case 0o010000:
		mode |= fs.ModeNamedPipe
	case 0o140000:
		mode |= fs.ModeSocket
	case 0o060000:
		mode |= fs.ModeDevice
	case 0o020000:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	default:
		mode |= fs.ModeIrregular
	}
	return mode
}

func (c *sftp) statOf(ctx context.Context, kind byte, what string) (stat, error) {
	in, err := c.do(ctx, fxAttrs, kind, text(what))
	if err != nil {
		return stat{}, err
	}
	return in.stat()
}

func (c *sftp) open(ctx context.Context, path string, flags uint32, a attributes) (string, error) {
	in, err := c.do(ctx, fxHandle, fxOpen, text(path), uint32Bytes(flags), a.bytes())
	if err != nil {
		return "", err
	}
	return in.handle()
}

func (d *decoder) handle() (string, error) {
	handle := d.text()
	if d.data == nil {
		return "", errors.New("the file server's handle can't be read")
	}
	return handle, nil
}

func (c *sftp) close(ctx context.Context, handle string) error {
	_, err := c.do(ctx, fxStatus, fxClose, text(handle))
	return err
}

// name is the first name of an answer.
func (d *decoder) name() (string, error) {
	count, name := d.uint32(), d.text()
	if d.data == nil || count < 1 {
		return "", errors.New("the file server's names can't be read")
	}
	return name, nil
}

// list names what is in a directory.
func (c *sftp) list(ctx context.Context, path string) ([]string, error) {
	in, err := c.do(ctx, fxHandle, fxOpendir, text(path))
	if err != nil {
		return nil, err
	}
	handle, err := in.handle()
	if err != nil {
		return nil, err
	}
	defer c.abandon(handle)
	names := []string{}
	for {
		in, err := c.do(ctx, fxName, fxReaddir, text(handle))
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		found, err := in.names()
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
}

// names are those of a part of a directory, without itself and the one above.
func (d *decoder) names() ([]string, error) {
	var names []string
	for range d.uint32() {
		name, _ := d.text(), d.text()
		if d.skipStat(); d.data == nil {
			return nil, errors.New("the file server's names can't be read")
		}
		if name != "." && name != ".." {
			names = append(names, name)
		}
	}
	return names, nil
}

func (d *decoder) skipStat() {
	flags := d.uint32()
	for bit, size := range map[uint32]int{1: 8, 2: 8, 4: 4, 8: 8} {
		if flags&bit != 0 {
			d.skip(size)
		}
	}
	if flags&0x80000000 != 0 {
		for range d.uint32() {
			_, _ = d.text(), d.text()
			if d.data == nil {
				return
			}
		}
	}
}

// read reads so much of an open file, or all.
func (c *sftp) read(ctx context.Context, handle string, most int64) ([]byte, error) {
	var content []byte
	for int64(len(content)) < most {
		size := uint32(min(most-int64(len(content)), chunk))
		in, err := c.do(ctx, fxData, fxRead, text(handle), binary.BigEndian.AppendUint64(nil, uint64(len(content))), uint32Bytes(size))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		data := in.text()
		if in.data == nil || len(data) > int(size) || data == "" {
			return nil, errors.New("the file server's data can't be read")
		}
		content = append(content, data...)
	}
	return content, nil
}

// write writes an open file from its beginning, all parts at once.
func (c *sftp) write(ctx context.Context, handle string, content []byte) error {
	var sent []asked
	for at := 0; at < len(content); at += chunk {
		part := content[at:min(at+chunk, len(content))]
		a, err := c.ask(fxWrite, text(handle), binary.BigEndian.AppendUint64(nil, uint64(at)), text(string(part)))
		if err != nil {
			return err
		}
		sent = append(sent, a)
	}
	var first error
	for _, a := range sent {
		if _, err := a.answer(ctx, fxStatus); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// space is how much may still be written to a file system.
type space struct {
	free, files uint64 // bytes, and files
	counted     bool   // files are
	readOnly    bool
}

func (c *sftp) space(ctx context.Context, path string) (space, error) {
	in, err := c.extended(ctx, fxExtendedReply, extSpace, text(path))
	if err != nil {
		return space{}, err
	}
	var v [11]uint64 // bsize, frsize, blocks, bfree, bavail, files, ffree, favail, fsid, flag, namemax
	for i := range v {
		v[i] = in.uint64()
	}
	if in.data == nil {
		return space{}, errors.New("the file server's space can't be read")
	}
	return space{free: v[1] * v[4], files: v[7], counted: v[5] > 0, readOnly: v[9]&1 != 0}, nil
}

func uint32Bytes(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// text is a string with its length.
func text(s string) []byte { return append(uint32Bytes(uint32(len(s))), s...) }

// decoder reads an answer; data is nil once it was too short.
type decoder struct{ data []byte }

func (d *decoder) take(n int) []byte {
	if d.data == nil || n < 0 || n > len(d.data) {
		d.data = nil
		return nil
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) skip(n int) { d.take(n) }

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) text() string { return string(d.take(int(d.uint32()))) }
