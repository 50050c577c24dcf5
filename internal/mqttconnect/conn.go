// Package mqttconnect speaks MQTT 5 with a broker, one question after the other,
// for whatever signs in there. What a broker may send is bounded: no packet is made
// room for before its size is judged, none is read in another goroutine, and what the
// library makes of a hostile one ends the connection and not the process.
package mqttconnect

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"patchbay.dev/patchbay/driver"
)

// Bounds on what a broker may send, beside the budget of the connection.
const (
	maxPacket  = 16 << 20 // bytes
	maxWaiting = 1024     // messages that arrive while something else is waited for
)

// Login is what signs in. A zero one says neither name nor password.
type Login struct {
	Username string
	Password string
}

// Refusal is the broker's no: which packet it answered with, and the reason code in
// it.
type Refusal struct {
	Answer string // "CONNACK", "DISCONNECT"
	Code   byte
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("the broker answers with %s, reason code %d", r.Answer, r.Code)
}

// OfLogin reports whether it is a no to who signs in.
func (r *Refusal) OfLogin() bool {
	return r.Answer == "CONNACK" && slices.Contains([]byte{
		packets.ConnackBadUsernameOrPassword, packets.ConnackNotAuthorized, packets.ConnackBanned, packets.ConnackBadAuthenticationMethod,
	}, r.Code)
}

// Busy reports whether a moment may mend it.
func (r *Refusal) Busy() bool {
	return slices.Contains([]byte{
		packets.ConnackServerUnavailable, packets.ConnackServerBusy, packets.ConnackQuotaExceeded, packets.ConnackConnectionRateExceeded,
		packets.DisconnectServerShuttingDown, packets.DisconnectMessageRateTooHigh,
	}, r.Code)
}

// Denied reports whether a reason code says that something is not allowed.
func Denied(reason byte) bool { return reason == packets.SubackNotauthorized }

// Done reports whether a reason code says that something was done.
func Done(reason byte) bool { return reason < packets.SubackUnspecifiederror }

// ErrOlder is a broker that speaks MQTT, and not version 5.
var ErrOlder = errors.New("the broker does not speak MQTT 5")

// ErrProtocol is an answer that MQTT does not have there.
var ErrProtocol = errors.New("an answer that MQTT does not have")

// Message is one that was received.
type Message struct {
	Topic   string
	Payload []byte
}

// Conn is a session, which ends with its connection and keeps nothing. It is for one
// goroutine at a time.
type Conn struct {
	// Discard has what arrives forgotten: the one who subscribed only wanted to know
	// whether it may.
	Discard bool

	conn    net.Conn
	budget  *driver.Budget
	release func() bool
	maxQoS  byte
	lastID  uint16
	waiting []Message
}

// Connect signs in on a connection, secured where it is to be, that ends with ctx. The client
// id is one that nobody has: of two sessions with the same one a broker ends the first.
// Errors are a [Refusal], [ErrOlder], the budget's or the connection's.
func Connect(ctx context.Context, conn net.Conn, budget *driver.Budget, l Login) (*Conn, error) {
	c := &Conn{conn: budget.Conn(conn), budget: budget, maxQoS: 2}
	c.release = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	most := uint32(maxPacket)
	var no uint32
	hello := &packets.Connect{
		ProtocolName: "MQTT", ProtocolVersion: 5, CleanStart: true, ClientID: "patchbay-" + rand.Text(),
		Username: l.Username, UsernameFlag: l.Username != "", Password: []byte(l.Password), PasswordFlag: l.Password != "",
		Properties: &packets.Properties{MaximumPacketSize: &most, SessionExpiryInterval: &no},
	}
	if err := c.write(packets.CONNECT, hello); err != nil {
		return nil, err
	}
	p, err := c.read()
	if err != nil {
		return nil, err
	}
	ack, ok := p.(*packets.Connack)
	switch {
	case !ok:
		return nil, ErrProtocol
	case ack.ReasonCode != packets.ConnackSuccess:
		return nil, refusal("CONNACK", ack.ReasonCode)
	}
	if q := ack.Properties.MaximumQOS; q != nil {
		c.maxQoS = *q
	}
	return c, nil
}

// refusal knows the one of a broker that expects an older version, too.
func refusal(answer string, code byte) error {
	if code == packets.ConnackUnsupportedProtocolVersion {
		return ErrOlder
	}
	return &Refusal{Answer: answer, Code: code}
}

// Close says goodbye and ends the connection.
func (c *Conn) Close() {
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_ = c.write(packets.DISCONNECT, &packets.Disconnect{Properties: &packets.Properties{}})
	c.release()
	_ = c.conn.Close()
}

// MaxQoS is the most that the broker takes.
func (c *Conn) MaxQoS() byte { return c.maxQoS }

// Subscribe asks for the filters at QoS 0, without what is retained there unless
// retained says so, and gives the broker's reason code of each.
func (c *Conn) Subscribe(retained bool, filters ...string) ([]byte, error) {
	s := &packets.Subscribe{PacketID: c.id(), Properties: &packets.Properties{}}
	for _, f := range filters {
		o := packets.SubOptions{Topic: f, RetainHandling: packets.RetainDoNotSend}
		if retained {
			o.RetainHandling = packets.RetainSendOnSubscribe
		}
		s.Subscriptions = append(s.Subscriptions, o)
	}
	if err := c.write(packets.SUBSCRIBE, s); err != nil {
		return nil, err
	}
	var reasons []byte
	err := c.until(func(p packets.Packet) bool {
		ack, ok := p.(*packets.Suback)
		if ok && ack.PacketID == s.PacketID {
			reasons = ack.Reasons
			return true
		}
		return false
	})
	if err == nil && len(reasons) != len(filters) {
		err = ErrProtocol
	}
	return reasons, err
}

// Unsubscribe takes subscriptions back.
func (c *Conn) Unsubscribe(filters ...string) error {
	u := &packets.Unsubscribe{PacketID: c.id(), Properties: &packets.Properties{}, Topics: filters}
	if err := c.write(packets.UNSUBSCRIBE, u); err != nil {
		return err
	}
	return c.until(func(p packets.Packet) bool {
		ack, ok := p.(*packets.Unsuback)
		return ok && ack.PacketID == u.PacketID
	})
}

// Publish sends a message at QoS 1, and gives the broker's reason code.
func (c *Conn) Publish(topic string, payload []byte) (reason byte, err error) {
	m := &packets.Publish{Topic: topic, Payload: payload, QoS: 1, PacketID: c.id(), Properties: &packets.Properties{}}
	if err := c.write(packets.PUBLISH, m); err != nil {
		return 0, err
	}
	return reason, c.until(func(p packets.Packet) bool {
		ack, ok := p.(*packets.Puback)
		if ok && ack.PacketID == m.PacketID {
			reason = ack.ReasonCode
			return true
		}
		return false
	})
}

// Offer asks whether a message would be taken, and lets nobody have it: at QoS 2 a broker
// judges it, and delivers it once it is released, which never happens.
func (c *Conn) Offer(topic string) (reason byte, err error) {
	m := &packets.Publish{Topic: topic, QoS: 2, PacketID: c.id(), Properties: &packets.Properties{}}
	if err := c.write(packets.PUBLISH, m); err != nil {
		return 0, err
	}
	return reason, c.until(func(p packets.Packet) bool {
		ack, ok := p.(*packets.Pubrec)
		if ok && ack.PacketID == m.PacketID {
			reason = ack.ReasonCode
			return true
		}
		return false
	})
}

// Ping returns when the broker has dealt with all that it was sent.
func (c *Conn) Ping() error {
	if err := c.write(packets.PINGREQ, &packets.Pingreq{}); err != nil {
		return err
	}
	return c.until(func(p packets.Packet) bool { _, ok := p.(*packets.Pingresp); return ok })
}

// Received are the messages that came meanwhile, the first in front.
func (c *Conn) Received() []Message {
	all := c.waiting
	c.waiting = nil
	return all
}

// Next waits for a message.
func (c *Conn) Next() (Message, error) {
	for len(c.waiting) == 0 { // which ends with an error at the latest
		p, err := c.read()
		if err != nil {
			return Message{}, err
		}
		if err := c.other(p); err != nil {
			return Message{}, err
		}
	}
	m := c.waiting[0]
	c.waiting = c.waiting[1:]
	return m, nil
}

// until reads what comes up to what is waited for.
func (c *Conn) until(is func(packets.Packet) bool) error {
	for {
		p, err := c.read()
		if err != nil {
			return err
		}
		if is(p) {
			return nil
		}
		if err := c.other(p); err != nil {
			return err
		}
	}
}

// other takes what was not waited for.
func (c *Conn) other(p packets.Packet) error {
	switch p := p.(type) {
	case *packets.Publish:
		if c.Discard {
			return nil
		}
		if len(c.waiting) >= maxWaiting {
			return c.budget.Refuse("sends more than %d messages for one question", maxWaiting)
		}
		c.waiting = append(c.waiting, Message{Topic: p.Topic, Payload: p.Payload})
		return nil
	case *packets.Disconnect:
		return &Refusal{Answer: "DISCONNECT", Code: p.ReasonCode}
	case *packets.Pingresp:
		return nil
	}
	return ErrProtocol
}

func (c *Conn) id() uint16 {
	c.lastID++
	return c.lastID
}

func (c *Conn) write(kind byte, content packets.Packet) error {
	p := packets.NewControlPacket(kind)
	p.Content = content
	if m, ok := content.(*packets.Publish); ok {
		p.Flags = m.QoS << 1
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		return err
	}
	_, err := c.conn.Write(b.Bytes())
	return err
}

// read is the next packet. Its size is judged before there is room for it.
func (c *Conn) read() (packets.Packet, error) {
	var b bytes.Buffer
	size, err := c.header(&b)
	if err != nil {
		return nil, err
	}
	if size > maxPacket || int64(size) > c.budget.Left() {
		return nil, c.budget.Refuse("announces a packet of %d bytes", size)
	}
	kind := b.Bytes()[0] >> 4
	if _, err := io.CopyN(&b, c.conn, int64(size)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	// A broker of before version 5 answers in its own form: two bytes, the second
	// of which is 1.
	if body := b.Bytes(); kind == packets.CONNACK && size == 2 && body[len(body)-1] == 1 {
		return nil, ErrOlder
	}
	p, err := decode(&b)
	if err != nil {
		return nil, ErrProtocol
	}
	return p, nil
}

// header reads what precedes a packet, and says how long that is.
func (c *Conn) header(b *bytes.Buffer) (size int, err error) {
	const lengthBytes = 4
	one := make([]byte, 1)
	for i := range 1 + lengthBytes {
		if _, err := io.ReadFull(c.conn, one); err != nil {
			return 0, err
		}
		b.WriteByte(one[0])
		if i == 0 {
			continue
		}
		size |= int(one[0]&0x7f) << (7 * (i - 1))
		if one[0]&0x80 == 0 {
			return size, nil
		}
	}
	return 0, ErrProtocol
}

// decode has the library read a packet that is there in whole. Whatever it makes of
// it, this process goes on.
func decode(whole io.Reader) (content packets.Packet, err error) {
	defer func() {
		if recover() != nil {
			err = ErrProtocol
		}
	}()
	p, err := packets.ReadPacket(whole)
	if err != nil {
		return nil, err
	}
	return p.Content, nil
}
