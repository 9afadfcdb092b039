package trunkline

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trunkline/v1"
)

// Message is the envelope and its payload, as the contract has it.
type Message = pb.Message

// The priorities of a message: of what waits for one subscriber, the higher goes first.
const (
	Low      = pb.Priority_PRIORITY_LOW
	Medium   = pb.Priority_PRIORITY_MEDIUM
	High     = pb.Priority_PRIORITY_HIGH
	Critical = pb.Priority_PRIORITY_CRITICAL
)

const maxOrderingKey = 255

// Field numbers of Message that are written without building it anew.
const (
	messageIDField     protowire.Number = 1
	correlationIDField protowire.Number = 8
)

// JSON makes a message whose payload is a value as JSON. It panics where a value cannot be JSON, such as a channel: that
// is a mistake in the program. Set what else the message shall have on what is returned.
func JSON(value any) *Message {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("trunkline.JSON: %v", err))
	}
	return &Message{Payload: &pb.Message_Json{Json: string(encoded)}}
}

// Text returns the JSON of a message's payload; neither payload means an empty object, as everywhere. Of a payload of
// bytes it returns those.
func Text(message *Message) []byte {
	switch payload := message.GetPayload().(type) {
	case *pb.Message_Json:
		return []byte(payload.Json)
	case *pb.Message_Data:
		return payload.Data
	}
	return []byte("{}")
}

// Decode reads the JSON of a message's payload into a value, as json.Unmarshal does; numbers that go into an `any` stay
// exact, as json.Number. An [InvalidMessage] says where it is broken.
func Decode(message *Message, into any) error {
	reader := json.NewDecoder(bytes.NewReader(Text(message)))
	reader.UseNumber()
	err := reader.Decode(into)
	if err == nil && reader.More() {
		err = fmt.Errorf("something follows the JSON, at byte %d", reader.InputOffset())
	}
	if err != nil {
		return invalid(InvalidMessage, "payload", message.GetMessageId(), "the payload of message %q is not the JSON that is wanted: %v",
			message.GetMessageId(), err).because(err)
	}
	return nil
}

// Received is a message as a subscriber, or who asked, gets it.
type Received struct {
	*Message
	// Channel is where it was published; empty: an answer to who asked alone.
	Channel string
	// Sequence is its place in the order of all messages that the service took. 0: an answer.
	Sequence int64
}

// Decode reads the JSON of the payload; see [Decode].
func (r *Received) Decode(into any) error { return Decode(r.Message, into) }

// expired tells whether a message is past its TTL, which counts from its time.
func expired(message *Message) bool {
	if message.TtlSeconds == nil || message.GetTimestamp() == nil {
		return false
	}
	return time.Now().After(message.GetTimestamp().AsTime().Add(time.Duration(message.GetTtlSeconds()) * time.Second))
}

// newID returns a random UUID.
func newID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program first
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	text := make([]byte, 36)
	at := 0
	for index, part := range [][]byte{raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:]} {
		if index > 0 {
			text[at] = '-'
			at++
		}
		at += hex.Encode(text[at:], part)
	}
	return string(text)
}

// encodeMessage encodes a message and checks its size. With `named`, one without an id gets one, so that it stays the same
// message where it is sent again.
func (b *Bus) encodeMessage(message *Message, named bool) (encoded []byte, id string, err error) {
	if message == nil {
		return nil, "", invalid(InvalidMessage, "message", "nil", "the message is nil")
	}
	if err := checkMessage(message); err != nil {
		return nil, "", err
	}
	if encoded, err = encode(message, InvalidMessage, "message"); err != nil {
		return nil, "", err
	}
	if id = message.GetMessageId(); id == "" && named {
		id = newID()
		encoded = protowire.AppendString(protowire.AppendTag(encoded, messageIDField, protowire.BytesType), id)
	}
	if limit := b.options.maxMessageBytes; len(encoded) > limit {
		return nil, "", tooLarge("message", len(encoded), limit)
	}
	return encoded, id, nil
}

// checkMessage returns an [InvalidMessage] for what a service would refuse: it refuses a frame as a whole, and so what others
// publish with it.
func checkMessage(message *Message) error {
	wrong := func(field, value, why string) error {
		return invalid(InvalidMessage, field, value, "%s is %s, %s", field, value, why)
	}
	if _, known := pb.Priority_name[int32(message.GetPriority())]; !known {
		return wrong("priority", message.GetPriority().String(), "which is none")
	}
	if message.TtlSeconds != nil && message.GetTtlSeconds() < 1 {
		return wrong("ttl_seconds", strconv.Itoa(int(message.GetTtlSeconds())), "it must be at least 1")
	}
	if len(message.GetOrderingKey()) > maxOrderingKey {
		return wrong("ordering_key", "too long", "at most 255 bytes are allowed")
	}
	for field, time := range map[string]*timestamppb.Timestamp{
		"timestamp": message.GetTimestamp(), "deliver_at": message.GetDeliverAt(),
	} {
		if time != nil && !time.IsValid() {
			return wrong(field, time.String(), "which is no time")
		}
	}
	if delay := message.GetDeliverAfter(); delay != nil {
		if !delay.IsValid() || delay.AsDuration() < 0 {
			return wrong("deliver_after", delay.String(), "it must be 0 or more")
		}
		if message.GetDeliverAt() != nil {
			return wrong("deliver_after", delay.AsDuration().String(), "and deliver_at is set too: at most one is allowed")
		}
	}
	return nil
}

// checkLive returns an [InvalidMessage] for what only a stored message can have.
func checkLive(message *Message) error {
	if message.GetDeliverAt() != nil || message.GetDeliverAfter() != nil {
		return invalid(InvalidMessage, "deliver_at", "set", "only a stored message can be held back: use PublishStored")
	}
	if message.GetOrderingKey() != "" {
		return invalid(InvalidMessage, "ordering_key", message.GetOrderingKey(), "only a stored message has an ordering key: use PublishStored")
	}
	return nil
}
