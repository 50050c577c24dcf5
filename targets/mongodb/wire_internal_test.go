package mongodb

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The example of RFC 7677, section 3.
func TestSCRAMIsTheRFCs(t *testing.T) {
	s := newSCRAM(sha256Mechanism, "user", "pencil")
	s.nonce, s.first = "rOprNGfwEbeRWgbNEkqO", "n=user,r=rOprNGfwEbeRWgbNEkqO"
	proof, err := s.prove([]byte("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))
	if err != nil || string(proof) != "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=" {
		t.Fatalf("%s, %v", proof, err)
	}
	if !s.proven([]byte("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")) || s.proven([]byte("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")) || s.proven(nil) {
		t.Error("the server's proof")
	}
}

func TestSCRAMTakesNoChallengeThatIsNone(t *testing.T) {
	salt := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))
	for name, challenge := range map[string]string{
		"empty": "", "another's nonce": "r=x,s=" + salt + ",i=15000", "no nonce of its own": "r=NONCE,s=" + salt + ",i=15000",
		"too little": "r=NONCEx,s=" + salt + ",i=4095", "too much": "r=NONCEx,s=" + salt + ",i=1048577", "negative": "r=NONCEx,s=" + salt + ",i=-1",
		"no salt": "r=NONCEx,s=,i=15000", "no base64": "r=NONCEx,s=%,i=15000", "an extension": "m=x,r=NONCEx,s=" + salt + ",i=15000",
	} {
		s := newSCRAM(sha256Mechanism, "user", "pencil")
		if _, err := s.prove([]byte(strings.ReplaceAll(challenge, "NONCE", s.nonce))); err == nil {
			t.Errorf("%s is taken", name)
		}
		if s.proven([]byte("v=")) {
			t.Errorf("%s: the server is believed", name)
		}
	}
}

func message(id uint32, flags uint32, kind byte, document []byte) []byte {
	body := append(binary.LittleEndian.AppendUint32(nil, flags), kind)
	body = append(body, document...)
	m := binary.LittleEndian.AppendUint32(nil, uint32(len(body)+headerSize))
	m = binary.LittleEndian.AppendUint32(m, 7)
	m = binary.LittleEndian.AppendUint32(m, id)
	m = binary.LittleEndian.AppendUint32(m, opMsg)
	return append(m, body...)
}

func FuzzDecode(f *testing.F) {
	document, err := bson.Marshal(bson.D{{Key: "ok", Value: 1.0}, {Key: "users", Value: bson.A{bson.D{{Key: "user", Value: "x"}, {Key: "roles", Value: bson.A{}}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(message(3, 0, 0, document))
	f.Add(message(3, checksumPresent, 0, append(bytes.Clone(document), 0, 0, 0, 0)))
	f.Add(message(3, moreToCome, 0, document))
	f.Add(message(4, 0, 1, document))
	f.Fuzz(func(t *testing.T, came []byte) {
		raw, err := decode(bytes.NewReader(came), 3, 1<<20)
		if err != nil {
			return
		}
		if !wellFormed(raw, maxDepth) {
			t.Fatal("it takes what is no document")
		}
		// Whatever it takes can be unpacked, or refused, without more ado.
		var told struct {
			Users []user `bson:"users"`
		}
		if bson.Unmarshal(raw, &told) == nil {
			for i := range told.Users {
				_, _ = told.Users[i].mark()
				_, _ = wanted{}.compare(&told.Users[i])
			}
		}
	})
}

func TestDocumentsAreNotTooDeep(t *testing.T) {
	nested := bson.D{{Key: "x", Value: 1}}
	for range maxDepth {
		nested = bson.D{{Key: "x", Value: nested}}
	}
	for depth, document := range map[string]bson.D{"too deep": nested, "deep": nested[0].Value.(bson.D)} {
		raw, err := bson.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if got := wellFormed(raw, maxDepth); got != (depth == "deep") {
			t.Errorf("%s: %t", depth, got)
		}
	}
}
