package mongodb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

const (
	opMsg      = 2013
	headerSize = 16
	// A message that a server may send, in bytes: MongoDB's own bound.
	maxMessage = 48_000_000
	// maxDepth is how deep documents may be in each other. What we ask for is five deep.
	maxDepth = 32

	checksumPresent, moreToCome = 1 << 0, 1 << 1
)

var errNoMongo = errors.New("it does not answer as MongoDB does")

// encode is a command as it is sent.
func encode(id int32, database string, command bson.D) ([]byte, error) {
	// The server takes the first element for the command's name.
	body, err := bson.Marshal(append(command[:len(command):len(command)], bson.E{Key: "$db", Value: database}))
	if err != nil {
		return nil, err
	}
	m := make([]byte, 0, headerSize+5+len(body))
	m = binary.LittleEndian.AppendUint32(m, uint32(headerSize+5+len(body))) // #nosec G115 -- our own command
	m = binary.LittleEndian.AppendUint32(m, uint32(id))                     // #nosec G115 -- as the protocol has it
	m = binary.LittleEndian.AppendUint32(m, 0)
	m = binary.LittleEndian.AppendUint32(m, opMsg)
	m = append(m, 0, 0, 0, 0, 0) // flags, and a section that is one document
	return append(m, body...), nil
}

// decode reads one answer to the command id. What it says of lengths is not believed
// before it came, and what it nests is bounded before anything unpacks it.
func decode(r io.Reader, id int32, left int64) (bson.Raw, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	length := int64(int32(binary.LittleEndian.Uint32(header[0:]))) // #nosec G115 -- signed in the protocol
	if length < headerSize+5+5 || length > maxMessage || length > left+headerSize ||
		binary.LittleEndian.Uint32(header[8:]) != uint32(id) || binary.LittleEndian.Uint32(header[12:]) != opMsg { // #nosec G115 -- as above
		return nil, errNoMongo
	}
	var came bytes.Buffer
	if _, err := io.CopyN(&came, r, length-headerSize); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	body := came.Bytes()
	flags := binary.LittleEndian.Uint32(body)
	if flags&moreToCome != 0 || flags&0xfffc != 0 || body[4] != 0 {
		return nil, errNoMongo
	}
	document := body[5:]
	if flags&checksumPresent != 0 {
		document = document[:max(0, len(document)-4)]
	}
	if !wellFormed(document, maxDepth) {
		return nil, errNoMongo
	}
	return bson.Raw(document), nil
}

// wellFormed reports whether a document is one, to its end, and not too deep.
func wellFormed(document []byte, depth int) bool {
	length, rest, ok := bsoncore.ReadLength(document)
	if !ok || depth == 0 || int(length) != len(document) || length < 5 || document[length-1] != 0 {
		return false
	}
	rest = rest[:len(rest)-1]
	for len(rest) > 0 {
		var element bsoncore.Element
		if element, rest, ok = bsoncore.ReadElement(rest); !ok {
			return false
		}
		value, err := element.ValueErr()
		if err != nil {
			return false
		}
		switch value.Type {
		case bsoncore.TypeEmbeddedDocument, bsoncore.TypeArray:
			if !wellFormed(value.Data, depth-1) {
				return false
			}
		case bsoncore.TypeCodeWithScope: // nothing that is asked for has one
			return false
		default:
			if value.Validate() != nil {
				return false
			}
		}
	}
	return true
}
