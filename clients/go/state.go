package trunkline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
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
// [StateDisconnected], and it is not known whether its write was made. What the service refuses for now is asked again when it
// says, within the same time; where that is over by then, it fails at once with [Overloaded].
//
// Where the service asks for it, it moves to another connection, and so to another replica: calls go out there when those
// before them are answered, so that nobody reads there what was before a write here; watches go on there.
type State struct {
	at      address
	options *options
	service pb.StateServiceClient
	closing context.Context // ends with Close
	close   context.CancelCauseFunc
	moves   sync.WaitGroup

	// All below by this lock.
	mu       sync.Mutex
	now      *line
	isMoving bool
	leaving  map[*line]struct{}                     // those that another has taken the place of
	watches  map[context.Context]context.CancelFunc // of each one's stream: it goes on by the connection of now
}

// line is one connection of a state.
type line struct {
	state   *State
	stream  *stream
	isAsked bool // the service asked it to move
}

// ConnectState connects to a state service or a sidecar; see [ConnectBus].
func ConnectState(ctx context.Context, at string, given ...Option) (*State, error) {
	s := &State{
		at: address(at), options: newOptions(given), leaving: map[*line]struct{}{},
		watches: map[context.Context]context.CancelFunc{},
	}
	s.closing, s.close = context.WithCancelCause(context.Background())
	var err error
	if s.now, err = s.newLine(s.options); err != nil {
		return nil, err
	}
	s.service = pb.NewStateServiceClient(beside{func() *stream { return s.now.stream }, &s.mu, s.closing})
	if err := s.now.stream.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *State) newLine(options *options) (*line, error) {
	made := &line{state: s}
	var err error
	made.stream, err = newStream(s.at, pb.StateService_OpenStateStream_FullMethodName, StateDisconnected, made, options, &s.mu)
	return made, err
}

// Close ends the connection; watches end, and what is pending fails.
func (s *State) Close() {
	s.mu.Lock()
	s.close(s.now.stream.disconnected("the state was closed"))
	all := []*line{s.now}
	for each := range s.leaving {
		all = append(all, each)
	}
	s.mu.Unlock()
	for _, each := range all {
		each.stream.close()
	}
	s.moves.Wait()
}

// Service returns the stubs over the same connection, for the calls that have no method here.
func (s *State) Service() pb.StateServiceClient { return s.service }

// IsConnected tells whether the connection is up.
func (s *State) IsConnected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.stream.isUp
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

// call sends one item, and again when the service says, and returns what answers it.
func (s *State) call(ctx context.Context, item *pb.OpenStateStreamRequest_ClientItem) (*pb.OpenStateStreamResponse_ServerItem, error) {
	ctx, cancel := withDefault(ctx)
	defer cancel()
	name(item)
	return again(ctx, s.closing, func() (*pb.OpenStateStreamResponse_ServerItem, error) { return s.ask(ctx, item) })
}

func (s *State) ask(ctx context.Context, item *pb.OpenStateStreamRequest_ClientItem) (*pb.OpenStateStreamResponse_ServerItem, error) {
	stream, awaited, err := s.send(ctx, item)
	if err != nil {
		return nil, err
	}
	answered, err := stream.await(ctx, item.Id, awaited, nil)
	if err != nil {
		if errors.Is(err, RequestTimeout) {
			err = newError(StateDisconnected, codes.Unavailable, "%s did not answer in time", string(stream.at)).because(err)
		}
		return nil, err
	}
	return answered.(*pb.OpenStateStreamResponse_ServerItem), nil
}

func (s *State) send(ctx context.Context, item *pb.OpenStateStreamRequest_ClientItem) (on *stream, awaited chan answer, err error) {
	on, err = s.ready(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer s.mu.Unlock()
	item.Id = on.nextID()
	encoded, err := encode(&pb.OpenStateStreamRequest{Items: []*pb.OpenStateStreamRequest_ClientItem{item}}, InvalidRecord, "record")
	if err == nil && len(encoded) > maxCallBytes {
		err = tooLarge("call", len(encoded), maxCallBytes)
	}
	if err != nil {
		return nil, nil, err
	}
	awaited = on.expect(item.Id)
	on.put(encoded, false)
	on.schedule()
	return on, awaited, nil
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

// ready returns the stream of now when it is up and has room; with the lock held where it returns no error.
func (s *State) ready(ctx context.Context) (*stream, error) {
	for {
		s.mu.Lock()
		now := s.now.stream
		s.mu.Unlock()
		err := now.waitUp(ctx)
		s.mu.Lock()
		if err == nil {
			err = now.pace(ctx)
		}
		isNow := s.now.stream == now
		if err == nil && isNow && now.check() == nil {
			return now, nil
		}
		isOver := isNow && err != nil && (now.closed != nil || now.isUp)
		s.mu.Unlock()
		if isOver {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, cmp.Or(err, contextError(ctx))
		}
	}
}

// Moving; see [State].

// moveIfAsked begins to move where the line of now was asked to; with the lock held.
func (s *State) moveIfAsked() {
	if !s.now.isAsked || s.isMoving || s.closing.Err() != nil {
		return
	}
	s.isMoving = true
	s.moves.Add(1)
	go s.move(s.now)
}

func (s *State) move(old *line) {
	defer s.moves.Done()
	s.mu.Lock()
	life := old.stream.lives
	s.mu.Unlock()
	made, isOpen := elsewhere(s.closing, old.stream, func(ctx context.Context) (*line, error) {
		options := *s.options
		options.wait = false // it may be the replica that stops
		made, err := s.newLine(&options)
		if err != nil {
			return nil, err
		}
		made.stream.isQuiet = true
		return made, made.stream.open(ctx)
	})
	s.mu.Lock()
	if !isOpen || s.closing.Err() != nil || !old.stream.isUp || old.stream.lives != life {
		s.isMoving, old.isAsked = false, false
		s.mu.Unlock()
		if isOpen {
			made.stream.close()
		}
		return
	}
	made.stream.hold()
	made.stream.replace(old.stream)
	s.now = made
	s.leaving[old] = struct{}{}
	for _, goOn := range s.watches {
		goOn()
	}
	s.mu.Unlock()
	old.stream.waitUntil(s.closing, func() bool {
		return !old.stream.isUp || len(old.stream.pending) == 0 && len(old.stream.waiting) == 0
	})
	made.stream.release()
	s.mu.Lock()
	s.isMoving = false
	s.moveIfAsked()
	s.mu.Unlock()
	old.stream.leave()
	s.mu.Lock()
	delete(s.leaving, old)
	s.mu.Unlock()
}

// What the stream calls.

func (l *line) newFrame() proto.Message { return &pb.OpenStateStreamResponse{} }
func (l *line) gather()                 {}
func (l *line) wentUp(metadata.MD)      { l.isAsked = false }
func (l *line) wentDown(*Error)         {}

func (l *line) take(frame proto.Message) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	for _, item := range frame.(*pb.OpenStateStreamResponse).GetItems() {
		switch said := item.GetItem().(type) {
		case nil: // of a newer service
		case *pb.OpenStateStreamResponse_ServerItem_Error:
			l.stream.settle(item.GetId(), nil, fromItem(said.Error))
		case *pb.OpenStateStreamResponse_ServerItem_Move:
			l.isAsked = true
			l.state.moveIfAsked()
		default:
			l.stream.settle(item.GetId(), item, nil)
		}
	}
}
