package trunkline

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trunkline/v1"
)

// ChangeType says what a watch reports.
type ChangeType int

const (
	// Saved: a record as it is now; at the beginning, or saved since.
	Saved ChangeType = iota
	// Deleted: it is no more.
	Deleted
	// Left: it was saved, and matches the filter no longer.
	Left
	// Synced: what was there has been reported; from here on, changes.
	Synced
)

func (t ChangeType) String() string {
	return [...]string{"saved", "deleted", "left", "synced"}[t]
}

// Change is what a watch reports.
type Change struct {
	Type ChangeType
	// Revision is that of the change; a watch that shall go on later begins after it.
	Revision int64
	Kind     Kind
	ID       string
	// Record is that which was saved.
	Record *Record
	// Reason says why a record is no more.
	Reason pb.EndReason
	// WrittenBy is whose write it was, and WrittenAt when it was made, as of a [Record]: who saved it, deleted it, or released the
	// lease that it was bound to. Empty and zero where nobody did, or that is not known.
	WrittenBy string
	WrittenAt time.Time
}

// WatchOption says what a watch reports.
type WatchOption func(*pb.WatchRequest)

// OnlyID reports one record; for one kind.
func OnlyID(id string) WatchOption { return func(r *pb.WatchRequest) { r.Id = id } }

// Matching reports the records that match a filter; for one kind.
func Matching(filter *Filter) WatchOption { return func(r *pb.WatchRequest) { r.Filter = filter } }

// AfterRevision reports the changes after a revision instead of the records that are there. Where they are no longer kept, the
// watch ends with [Compacted].
func AfterRevision(revision int64) WatchOption {
	return func(r *pb.WatchRequest) { r.AfterRevision = &revision }
}

// Watch yields the records of some kinds (none: agent states, workflow states and task results), then [Synced], then each
// change in order of revisions, until the context ends. Where the connection is lost, or the service ends the stream since it
// is read too slowly, it goes on where it was, without gaps and without repetition. An error is yielded last.
func (s *State) Watch(ctx context.Context, kinds []Kind, options ...WatchOption) iter.Seq2[Change, error] {
	request := &pb.WatchRequest{Kinds: kinds}
	for _, each := range options {
		each(request)
	}
	return func(yield func(Change, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stop := context.AfterFunc(s.closing, func() { cancel(context.Cause(s.closing)) })
		defer stop()
		cursor := newWatchCursor(request)
		for bound := reconnectMin; ; bound = min(2*bound, reconnectMax) {
			err := s.watchOnce(ctx, request, cursor, func(change Change) bool {
				bound = reconnectMin
				return yield(change, nil)
			})
			if err == nil {
				return // who reads it stopped
			}
			if ctx.Err() == nil && (errors.Is(err, StateDisconnected) || errors.Is(err, Overloaded)) {
				s.options.log.Debug("a watch goes on with a new stream", "error", err)
				select {
				case <-time.After(delay(bound, err)):
					continue
				case <-ctx.Done():
				}
			}
			if ctx.Err() != nil {
				err = contextError(ctx)
			}
			yield(Change{}, err)
			return
		}
	}
}

// watchOnce reads one stream to its end; nil says that who reads it stopped.
func (s *State) watchOnce(ctx context.Context, request *pb.WatchRequest, cursor *watchCursor, give func(Change) bool) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.movable(reading, cancel)()
	request.AfterRevision = cursor.after
	cursor.begin()
	frames, err := s.service.Watch(moves(reading), request, grpc.WaitForReady(true))
	for err == nil {
		var frame *pb.WatchResponse
		if frame, err = frames.Recv(); err != nil {
			break
		}
		if progress := frame.GetProgress(); progress != nil {
			cursor.advance(progress.GetRevision())
			continue
		}
		if frame.GetMove() != nil {
			s.mu.Lock()
			s.now.isAsked = true
			s.moveIfAsked()
			s.mu.Unlock()
			continue
		}
		for _, change := range cursor.take(changeOf(frame)) {
			if !give(change) {
				return nil
			}
		}
	}
	if errors.Is(err, io.EOF) {
		return s.disconnected("the service ended the watch")
	}
	if reading.Err() != nil && ctx.Err() == nil {
		return s.disconnected("it goes on by another connection").because(err)
	}
	return fromCall(ctx, err, StateDisconnected)
}

// movable lets a watch go on by another connection when there is one, until `ended` is called.
func (s *State) movable(reading context.Context, cancel context.CancelFunc) (ended func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[reading] = cancel
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches, reading)
	}
}

func (s *State) disconnected(why string) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.stream.disconnected(why)
}

func changeOf(frame *pb.WatchResponse) Change {
	switch came := frame.GetFrame().(type) {
	case *pb.WatchResponse_Record:
		kind, id := identity(came.Record)
		change := Change{Type: Saved, Revision: came.Record.GetRevision(), Kind: kind, ID: id, Record: came.Record}
		return change.writtenBy(came.Record)
	case *pb.WatchResponse_Left_:
		left := came.Left
		change := Change{Type: Left, Revision: left.GetRevision(), Kind: left.GetKind(), ID: left.GetId()}
		if left.GetDeleted() {
			change.Type, change.Reason = Deleted, left.GetReason()
		}
		return change.writtenBy(left)
	}
	return Change{Type: Synced, Revision: frame.GetSynced().GetRevision()}
}

// writtenBy returns the change with what a record, or the end of one, says of whose write it is.
func (c Change) writtenBy(written interface {
	GetWrittenBy() string
	GetWrittenAt() *timestamppb.Timestamp
}) Change {
	c.WrittenBy = written.GetWrittenBy()
	if at := written.GetWrittenAt(); at != nil {
		c.WrittenAt = at.AsTime()
	}
	return c
}

// identity returns a record's kind and id.
func identity(record *Record) (Kind, string) {
	switch value := record.GetValue().(type) {
	case *pb.Record_AgentState:
		return AgentStates, value.AgentState.GetAgentId()
	case *pb.Record_WorkflowState:
		return WorkflowStates, value.WorkflowState.GetWorkflowId()
	case *pb.Record_TaskResult:
		return TaskResults, value.TaskResult.GetTaskId()
	case *pb.Record_Lease:
		return Leases, value.Lease.GetName()
	case *pb.Record_AgentPresence:
		return AgentPresences, value.AgentPresence.GetAgentId()
	}
	return pb.RecordKind_RECORD_KIND_UNSPECIFIED, ""
}

type recordKey struct {
	kind Kind
	id   string
}

// watchCursor is how far a watch has come, over all streams that carry it. Before Synced a new stream begins with the records
// again: those that were given are left out, and those that are gone are reported. After it, a new stream continues after
// the last revision.
type watchCursor struct {
	after    *int64
	gone     ChangeType
	given    map[recordKey]int64 // until Synced: the records that were given, with their revisions
	seen     map[recordKey]bool  // the same of the current stream
	isSynced bool
}

func newWatchCursor(request *pb.WatchRequest) *watchCursor {
	cursor := &watchCursor{after: request.AfterRevision, gone: Deleted, given: map[recordKey]int64{}}
	if request.GetFilter() != nil {
		cursor.gone = Left
	}
	return cursor
}

func (c *watchCursor) begin() { c.seen = map[recordKey]bool{} }

func (c *watchCursor) advance(revision int64) {
	if c.isSynced && (c.after == nil || revision > *c.after) {
		c.after = &revision
	}
}

func (c *watchCursor) take(change Change) []Change {
	if change.Type == Synced {
		return c.sync(change)
	}
	if c.after != nil {
		c.after = &change.Revision
		return []Change{change}
	}
	key := recordKey{change.Kind, change.ID}
	c.seen[key] = true
	if c.given[key] == change.Revision {
		return nil
	}
	c.given[key] = change.Revision
	return []Change{change}
}

func (c *watchCursor) sync(change Change) []Change {
	var told []Change
	if c.after == nil {
		for key := range c.given {
			if !c.seen[key] {
				told = append(told, Change{Type: c.gone, Revision: change.Revision, Kind: key.kind, ID: key.id})
			}
		}
	}
	clear(c.given)
	if !c.isSynced {
		told = append(told, change)
	}
	c.isSynced = true
	if c.after == nil || change.Revision > *c.after {
		c.after = &change.Revision
	}
	return told
}
