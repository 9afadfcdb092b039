package trunkline

import (
	"context"
	"iter"

	"google.golang.org/protobuf/encoding/protowire"

	pb "trunkline/v1"
)

// LifeEvent is one event in the life of a request: of its Event, exactly one is set.
type LifeEvent = pb.LifeEvent

const (
	partCredit = 256            // parts that may be on their way to who asked, and not read
	grantAt    = partCredit / 2 // parts that were read, at which as many more are granted
)

// RequestStream publishes a message and yields the life of the request: accepted, progress and parts in any number, then one
// end, which is the last: a result, a failure, or cancelled. A second accepted says that another responder begins anew: its
// parts follow from the first.
//
// It is sent when it is read. What is not read keeps the responder waiting; of progress that nobody has read, the newest is
// kept. The end of the context cancels it, and so does to stop reading. An error is yielded last: those of [Bus.Request], but
// for [RequestFailed] and [RequestCancelled], which are events; what is refused for now is not asked again.
func (b *Bus) RequestStream(
	ctx context.Context, channel string, message *Message, wished ...RequestOption,
) iter.Seq2[*LifeEvent, error] {
	return func(yield func(*LifeEvent, error) bool) {
		ctx, cancel, body, err := b.prepare(ctx, channel, message, wished)
		if err != nil {
			yield(nil, err)
			return
		}
		defer cancel()
		encoded, err := body()
		if err != nil {
			yield(nil, err)
			return
		}
		asked, err := b.ask(encoded)
		if err != nil {
			yield(nil, err)
			return
		}
		defer asked.leave()
		for {
			event, err := asked.next(ctx)
			if event == nil && err == nil || !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// asking is a request whose life is followed: the events that came and were not read. By the bus's lock.
type asking struct {
	session *session
	id      uint64
	events  []*LifeEvent
	arrived chan struct{} // gets something when something came
	read    int           // parts that were read since more were granted
	isOver  bool          // no more comes
	failed  error         // why, where it has no end
}

func (b *Bus) ask(body []byte) (*asking, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now
	if err := now.stream.check(); err != nil {
		return nil, err
	}
	asked := &asking{session: now, id: now.stream.nextID(), arrived: make(chan struct{}, 1)}
	now.asking[asked.id] = asked
	now.sayEncoded(asked.id, itemLifeField, protowire.AppendBytes(protowire.AppendTag(nil, lifeRequestField, protowire.BytesType), body))
	return asked, nil
}

// takeEvents gives events to whoever follows a request; with the lock held.
func (s *session) takeEvents(id uint64, events []*LifeEvent, isEnd bool) {
	asked := s.asking[id]
	if asked == nil {
		return
	}
	for _, each := range events {
		if last := len(asked.events) - 1; last >= 0 && each.GetProgress() != nil && asked.events[last].GetProgress() != nil {
			asked.events[last] = each
		} else if each.GetEvent() != nil { // else of a newer service
			asked.events = append(asked.events, each)
		}
	}
	if isEnd {
		delete(s.asking, id)
		asked.isOver = true
	}
	asked.wake()
}

// fail says that no more comes; with the lock held.
func (a *asking) fail(why error) {
	a.isOver, a.failed = true, why
	a.wake()
}

func (a *asking) wake() {
	select {
	case a.arrived <- struct{}{}:
	default:
	}
}

// next returns the next event; nil behind the end. Behind what came it returns why the request failed.
func (a *asking) next(ctx context.Context) (*LifeEvent, error) {
	for {
		if ctx.Err() != nil {
			return nil, contextError(ctx)
		}
		if event, isOver, err := a.take(); event != nil || isOver {
			return event, err
		}
		select {
		case <-a.arrived:
		case <-ctx.Done():
		}
	}
}

func (a *asking) take() (event *LifeEvent, isOver bool, err error) {
	mu := &a.session.bus.mu
	mu.Lock()
	defer mu.Unlock()
	if len(a.events) == 0 {
		return nil, a.isOver, a.failed
	}
	event, a.events = a.events[0], a.events[1:]
	if event.GetPart() != nil {
		a.read++
	}
	if a.read >= grantAt && !a.isOver {
		a.session.say(&pb.OpenStreamRequest_ClientItem{Id: a.id, Item: &pb.OpenStreamRequest_ClientItem_RequestCredit{
			RequestCredit: &pb.OpenStreamRequest_RequestCredit{Parts: int32(a.read)}, //nolint:gosec // bounded by the credit
		}})
		a.read = 0
	}
	return event, false, nil
}

// leave cancels the request, unless it is over.
func (a *asking) leave() {
	mu := &a.session.bus.mu
	mu.Lock()
	defer mu.Unlock()
	if !a.isOver {
		a.isOver = true
		delete(a.session.asking, a.id)
		a.session.cancelItem(a.id, &pb.OpenStreamRequest_Cancel{})
		a.session.stream.hasChanged()
	}
}
