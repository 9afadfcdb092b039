package trunkline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "trunkline/v1"
)

// What the store keeps, as the contract has it.
type (
	Record        = pb.Record
	AgentState    = pb.AgentState
	WorkflowState = pb.WorkflowState
	TaskResult    = pb.TaskResult
	AgentPresence = pb.AgentPresence
	Filter        = pb.Filter
	Kind          = pb.RecordKind
)

// The kinds of records.
const (
	AgentStates    = pb.RecordKind_RECORD_KIND_AGENT_STATE
	WorkflowStates = pb.RecordKind_RECORD_KIND_WORKFLOW_STATE
	TaskResults    = pb.RecordKind_RECORD_KIND_TASK_RESULT
	Leases         = pb.RecordKind_RECORD_KIND_LEASE
	AgentPresences = pb.RecordKind_RECORD_KIND_AGENT_PRESENCE
)

const (
	fetched      = 1000              // records of one page, where the caller does not say
	maxCallBytes = maxFrameBytes / 2 // of one encoded call
)

// State keeps what agents must find again. Its methods may be called by many goroutines. While the connection is lost, calls
// wait for it until their context ends (30 s where it has no deadline); one that was pending fails with
// [StateDisconnected], and it is not known whether its write was made.
type State struct {
	stream  *stream
	service pb.StateServiceClient
}

// ConnectState connects to a state service or a sidecar; see [ConnectBus].
func ConnectState(ctx context.Context, at string, given ...Option) (*State, error) {
	s := &State{}
	var err error
	s.stream, err = newStream(address(at), pb.StateService_OpenStateStream_FullMethodName, StateDisconnected, s, newOptions(given))
	if err != nil {
		return nil, err
	}
	s.service = pb.NewStateServiceClient(s.stream.conn)
	if err := s.stream.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the connection; watches end, and what is pending fails.
func (s *State) Close() { s.stream.close() }

// Service returns the stubs over the same connection, for the calls that have no method here.
func (s *State) Service() pb.StateServiceClient { return s.service }

// IsConnected tells whether the connection is up.
func (s *State) IsConnected() bool {
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	return s.stream.isUp
}

// SaveOption says what a save shall hold to.
type SaveOption func(*pb.SaveRequest)

// ExpectRevision lets a save fail with [RevisionMismatch] unless the record has this revision; 0: unless there is none.
// Default: the last write wins.
func ExpectRevision(revision int64) SaveOption {
	return func(r *pb.SaveRequest) { r.ExpectedRevision = &revision }
}

// PublishWith publishes a message with the save: both happen or neither. Without an id it gets one.
func PublishWith(channel string, message *Message) SaveOption {
	return func(r *pb.SaveRequest) {
		r.Publish = append(r.Publish, &pb.OutboxMessage{Channel: channel, Message: message})
	}
}

// ExpireAfter ends the record so long after its last save or touch.
func ExpireAfter(ttl time.Duration) SaveOption {
	return func(r *pb.SaveRequest) { r.Ttl = durationpb.New(ttl) }
}

// BoundTo ends the record with a lease, which must be held with that number.
func BoundTo(lease string, number int64) SaveOption {
	return func(r *pb.SaveRequest) { r.Lease = &pb.Hold{Name: lease, Number: number} }
}

// Fenced refuses the write with [LeaseLost] unless a lease is held with that number.
func Fenced(lease string, number int64) SaveOption {
	return func(r *pb.SaveRequest) { r.Fence = &pb.Hold{Name: lease, Number: number} }
}

// Savable is what can be saved.
type Savable interface {
	*AgentState | *WorkflowState | *TaskResult | *AgentPresence
}

// SaveOf makes the operation that saves a value, for [State.Batch].
func SaveOf[T Savable](value T, options ...SaveOption) *pb.SaveRequest {
	request := &pb.SaveRequest{}
	switch value := any(value).(type) {
	case *AgentState:
		request.Value = &pb.SaveRequest_AgentState{AgentState: value}
	case *WorkflowState:
		request.Value = &pb.SaveRequest_WorkflowState{WorkflowState: value}
	case *TaskResult:
		request.Value = &pb.SaveRequest_TaskResult{TaskResult: value}
	case *AgentPresence:
		request.Value = &pb.SaveRequest_AgentPresence{AgentPresence: value}
	}
	for _, each := range options {
		each(request)
	}
	return request
}

// Save saves one record whole, and returns its revision: answered when it is as durable as the service makes it.
func Save[T Savable](ctx context.Context, state *State, value T, options ...SaveOption) (revision int64, err error) {
	answered, err := state.call(ctx, &pb.OpenStateStreamRequest_ClientItem{
		Item: &pb.OpenStateStreamRequest_ClientItem_Save{Save: SaveOf(value, options...)},
	})
	return answered.GetSaved().GetRevision(), err
}

// Get returns one record; a [NotFound] says that there is none.
func (s *State) Get(ctx context.Context, kind Kind, id string) (*Record, error) {
	answered, err := s.call(ctx, &pb.OpenStateStreamRequest_ClientItem{
		Item: &pb.OpenStateStreamRequest_ClientItem_Get{Get: &pb.GetRequest{Kind: kind, Id: id}},
	})
	return answered.GetGot().GetRecord(), err
}

// Delete deletes one record, and tells whether there was one. Without an expected revision it is deleted whatever it is.
func (s *State) Delete(ctx context.Context, kind Kind, id string, expectedRevision ...int64) (deleted bool, err error) {
	request := &pb.DeleteRequest{Kind: kind, Id: id}
	if len(expectedRevision) > 0 {
		request.ExpectedRevision = &expectedRevision[0]
	}
	answered, err := s.call(ctx, &pb.OpenStateStreamRequest_ClientItem{
		Item: &pb.OpenStateStreamRequest_ClientItem_Delete{Delete: request},
	})
	return answered.GetDeleted().GetDeleted(), err
}

// Page returns one page of the records of a kind, in order of their ids, and the token of the next; "" on the last one.
// A nil filter keeps all; a size of 0 is the service's own.
func (s *State) Page(ctx context.Context, kind Kind, filter *Filter, size int32, token string) (records []*Record, next string, err error) {
	request := &pb.ListRequest{Kind: kind, Filter: filter, PageToken: token}
	if size != 0 {
		request.PageSize = &size
	}
	answered, err := s.call(ctx, &pb.OpenStateStreamRequest_ClientItem{
		Item: &pb.OpenStateStreamRequest_ClientItem_List{List: request},
	})
	return answered.GetListed().GetRecords(), answered.GetListed().GetNextPageToken(), err
}

// List yields the records of a kind in order of their ids, page by page. An error is yielded last.
func (s *State) List(ctx context.Context, kind Kind, filter *Filter) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for token := ""; ; {
			records, next, err := s.Page(ctx, kind, filter, fetched, token)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, each := range records {
				if !yield(each, nil) {
					return
				}
			}
			if token = next; token == "" {
				return
			}
		}
	}
}

// Outcome is what came of one operation of a batch: one of the answers, or an error.
type Outcome struct {
	*pb.BatchResponse_Outcome
}

// Err returns why the operation failed; nil where it did not.
func (o Outcome) Err() error {
	if said := o.GetError(); said != nil {
		return fromItem(said)
	}
	return nil
}

// Batch does many operations in one call; each has its own outcome. With `atomic` all writes happen or none.
func (s *State) Batch(ctx context.Context, atomic bool, operations ...proto.Message) ([]Outcome, error) {
	batch := &pb.BatchRequest{Atomic: atomic}
	for at, each := range operations {
		operation := &pb.BatchRequest_Operation{}
		switch each := each.(type) {
		case *pb.SaveRequest:
			operation.Operation = &pb.BatchRequest_Operation_Save{Save: each}
		case *pb.GetRequest:
			operation.Operation = &pb.BatchRequest_Operation_Get{Get: each}
		case *pb.DeleteRequest:
			operation.Operation = &pb.BatchRequest_Operation_Delete{Delete: each}
		default:
			return nil, invalid(InvalidRecord, "operations", fmt.Sprintf("%T", each),
				"operation %d is a %T, it must be a SaveRequest, GetRequest or DeleteRequest", at, each)
		}
		batch.Operations = append(batch.Operations, operation)
	}
	answered, err := s.call(ctx, &pb.OpenStateStreamRequest_ClientItem{
		Item: &pb.OpenStateStreamRequest_ClientItem_Batch{Batch: batch},
	})
	if err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, len(answered.GetBatched().GetOutcomes()))
	for at, each := range answered.GetBatched().GetOutcomes() {
		outcomes[at] = Outcome{each}
	}
	return outcomes, nil
}

// call sends one item and returns what answers it.
func (s *State) call(ctx context.Context, item *pb.OpenStateStreamRequest_ClientItem) (*pb.OpenStateStreamResponse_ServerItem, error) {
	ctx, cancel := withDefault(ctx)
	defer cancel()
	name(item)
	stream := s.stream
	for {
		if err := stream.waitUp(ctx); err != nil {
			return nil, err
		}
		stream.mu.Lock()
		if err := stream.check(); err == nil {
			break
		}
		stream.mu.Unlock() // it was lost just now
	}
	item.Id = stream.nextID()
	encoded, err := encode(&pb.OpenStateStreamRequest{Items: []*pb.OpenStateStreamRequest_ClientItem{item}}, InvalidRecord, "record")
	if err == nil && len(encoded) > maxCallBytes {
		err = tooLarge("call", len(encoded), maxCallBytes)
	}
	if err == nil {
		err = stream.pace(ctx)
	}
	if err == nil {
		err = stream.check()
	}
	if err != nil {
		stream.mu.Unlock()
		return nil, err
	}
	awaited := stream.expect(item.Id)
	stream.put(encoded, false)
	stream.schedule()
	stream.mu.Unlock()
	answered, err := stream.await(ctx, item.Id, awaited, nil)
	if err != nil {
		if errors.Is(err, RequestTimeout) {
			err = newError(StateDisconnected, codes.Unavailable, "%s did not answer in time", string(stream.at)).because(err)
		}
		return nil, err
	}
	return answered.(*pb.OpenStateStreamResponse_ServerItem), nil
}

// name gives the messages of a save an id, so that each stays the same message where the save is repeated.
func name(item *pb.OpenStateStreamRequest_ClientItem) {
	for _, each := range item.GetSave().GetPublish() {
		if each.GetMessage() != nil && each.GetMessage().GetMessageId() == "" {
			named := proto.Clone(each.Message).(*Message)
			named.MessageId = newID()
			each.Message = named
		}
	}
}

// What the stream calls.

func (s *State) newFrame() proto.Message { return &pb.OpenStateStreamResponse{} }
func (s *State) gather()                 {}
func (s *State) wentUp(metadata.MD)      {}
func (s *State) wentDown(*Error)         {}

func (s *State) take(frame proto.Message) {
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	for _, item := range frame.(*pb.OpenStateStreamResponse).GetItems() {
		if said := item.GetError(); said != nil {
			s.stream.settle(item.GetId(), nil, fromItem(said))
		} else {
			s.stream.settle(item.GetId(), item, nil)
		}
	}
}
