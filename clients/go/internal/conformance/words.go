package main

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trunkline"
	pb "trunkline/v1"
)

// message is a message as the table has it. Numbers of 64 bits are text, and so are times.
type message struct {
	ID          *string `json:"id,omitempty"`
	Type        string  `json:"type,omitempty"`
	Sender      string  `json:"sender,omitempty"`
	Recipient   string  `json:"recipient,omitempty"`
	JSON        *string `json:"json,omitempty"`
	Data        *string `json:"data,omitempty"` // hexadecimal
	Fill        int     `json:"fill,omitempty"` // so many bytes instead
	ContentType string  `json:"content_type,omitempty"`
	Correlation string  `json:"correlation,omitempty"`
	Priority    string  `json:"priority,omitempty"`
	TTL         *int32  `json:"ttl,omitempty"`
	Time        string  `json:"time,omitempty"`
	Metadata    string  `json:"metadata,omitempty"`
	Key         string  `json:"key,omitempty"`
}

func (m message) message() *trunkline.Message {
	made := &trunkline.Message{
		MessageType: m.Type, SenderId: m.Sender, RecipientId: m.Recipient, ContentType: m.ContentType, CorrelationId: m.Correlation,
		TtlSeconds: m.TTL, MetadataJson: m.Metadata, OrderingKey: m.Key,
	}
	if m.ID != nil {
		made.MessageId = *m.ID
	}
	if m.JSON != nil {
		made.Payload = &pb.Message_Json{Json: *m.JSON}
	}
	if m.Data != nil {
		data, err := hex.DecodeString(*m.Data)
		check(err)
		made.Payload = &pb.Message_Data{Data: data}
	}
	if m.Fill != 0 {
		made.Payload = &pb.Message_Data{Data: make([]byte, m.Fill)}
	}
	if m.Priority != "" {
		made.Priority = pb.Priority(pb.Priority_value["PRIORITY_"+strings.ToUpper(m.Priority)])
	}
	if m.Time != "" {
		made.Timestamp = timestamppb.New(timeOf(m.Time))
	}
	return made
}

func messageOf(came *trunkline.Message) message {
	told := message{
		ID: &came.MessageId, Type: came.GetMessageType(), Sender: came.GetSenderId(), Recipient: came.GetRecipientId(),
		ContentType: came.GetContentType(), Correlation: came.GetCorrelationId(), TTL: came.TtlSeconds,
		Metadata: came.GetMetadataJson(), Key: came.GetOrderingKey(), Time: textOf(came.GetTimestamp()),
	}
	switch payload := came.GetPayload().(type) {
	case *pb.Message_Json:
		told.JSON = &payload.Json
	case *pb.Message_Data:
		data := hex.EncodeToString(payload.Data)
		told.Data = &data
	}
	if came.GetPriority() != pb.Priority_PRIORITY_UNSPECIFIED {
		told.Priority = strings.ToLower(strings.TrimPrefix(came.GetPriority().String(), "PRIORITY_"))
	}
	return told
}

func textOf(stamp *timestamppb.Timestamp) string {
	if stamp == nil {
		return ""
	}
	return stamp.AsTime().Format(time.RFC3339Nano)
}

// record is an agent state as the table has it.
type record struct {
	ID        string   `json:"id"`
	Type      string   `json:"type,omitempty"`
	Status    string   `json:"status,omitempty"`
	Task      string   `json:"task,omitempty"`
	Completed []string `json:"completed,omitempty"`
	Errors    string   `json:"errors,omitempty"`
	Heartbeat string   `json:"heartbeat,omitempty"`
	Metadata  string   `json:"metadata,omitempty"`
}

func (r record) state() *trunkline.AgentState {
	made := &trunkline.AgentState{
		AgentId: r.ID, AgentType: r.Type, Status: r.Status, CurrentTaskId: r.Task, CompletedTasks: r.Completed, MetadataJson: r.Metadata,
	}
	if r.Errors != "" {
		count, err := strconv.ParseInt(r.Errors, 10, 64)
		check(err)
		made.ErrorCount = count
	}
	if r.Heartbeat != "" {
		made.LastHeartbeat = timestamppb.New(timeOf(r.Heartbeat))
	}
	return made
}

func recordOf(state *trunkline.AgentState) record {
	told := record{
		ID: state.GetAgentId(), Type: state.GetAgentType(), Status: state.GetStatus(), Task: state.GetCurrentTaskId(),
		Completed: state.GetCompletedTasks(), Heartbeat: textOf(state.GetLastHeartbeat()), Metadata: state.GetMetadataJson(),
	}
	if state.GetErrorCount() != 0 {
		told.Errors = strconv.FormatInt(state.GetErrorCount(), 10)
	}
	return told
}

// decode reads the bytes of a vector.
func (r *runner) decode(_ context.Context, wanted step) (said, error) {
	encoded, err := hex.DecodeString(wanted.Hex)
	check(err)
	if wanted.Kind == "message" {
		came := &trunkline.Message{}
		err = proto.Unmarshal(encoded, came)
		return said{"value": messageOf(came)}, err
	}
	came := &trunkline.AgentState{}
	err = proto.Unmarshal(encoded, came)
	return said{"value": recordOf(came)}, err
}

// encode writes what a vector has.
func (r *runner) encode(_ context.Context, wanted step) (said, error) {
	var value proto.Message = wanted.Record.state()
	if wanted.Kind == "message" {
		value = wanted.Message.message()
	}
	encoded, err := proto.Marshal(value)
	return said{"hex": hex.EncodeToString(encoded)}, err
}
