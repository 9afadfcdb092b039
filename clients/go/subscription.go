package trunkline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trunkline/v1"
)

// SubscribeOption says how messages are received.
type SubscribeOption func(*subscribing)

type subscribing struct {
	group       string
	credit      int
	concurrency int
	observer    bool
	timeout     time.Duration
	name        string
	position    *pb.Position
	settings    *pb.DurableSettings
	onLagged    func(int64)
	onError     func(error)
	onPaused    func(bool)
}

// Group shares the messages with all who subscribe to the same pattern in the same group: each message goes to one of them.
func Group(name string) SubscribeOption { return func(s *subscribing) { s.group = name } }

// Credit says how many messages may be sent ahead of the handler. Default: 8,192; of a durable subscription twice its
// concurrency.
func Credit(messages int) SubscribeOption { return func(s *subscribing) { s.credit = messages } }

// Concurrency says how many handlers run at once. Default: 1, which keeps the order.
func Concurrency(handlers int) SubscribeOption {
	return func(s *subscribing) { s.concurrency = handlers }
}

// Observer only looks on, and does not count as somebody who could answer a request.
func Observer() SubscribeOption { return func(s *subscribing) { s.observer = true } }

// HandlerTimeout says how long a handler may take: then its context ends and its message has failed, also where the handler
// goes on. Default: no limit.
func HandlerTimeout(timeout time.Duration) SubscribeOption {
	return func(s *subscribing) { s.timeout = timeout }
}

// OnLagged is told how many messages the service dropped since this subscriber was too slow. Default: that is logged.
func OnLagged(told func(dropped int64)) SubscribeOption {
	return func(s *subscribing) { s.onLagged = told }
}

// OnError is told what goes wrong beside the messages: the service ended the subscription, or refused what was said of a
// message. Default: that is logged.
func OnError(told func(error)) SubscribeOption { return func(s *subscribing) { s.onError = told } }

// OnPaused is told when the durable subscription is paused, and when it goes on.
func OnPaused(told func(paused bool)) SubscribeOption {
	return func(s *subscribing) { s.onPaused = told }
}

// FromBeginning lets a durable subscription that is made here begin with all that the bus has. Default: what is published
// from now on.
func FromBeginning() SubscribeOption {
	return func(s *subscribing) { s.position = &pb.Position{Position: &pb.Position_All{All: true}} }
}

// FromSequence lets a durable subscription that is made here begin with a sequence.
func FromSequence(sequence int64) SubscribeOption {
	return func(s *subscribing) { s.position = &pb.Position{Position: &pb.Position_Sequence{Sequence: sequence}} }
}

// FromTime lets a durable subscription that is made here begin with what was published then or later.
func FromTime(begin time.Time) SubscribeOption {
	return func(s *subscribing) {
		s.position = &pb.Position{Position: &pb.Position_Time{Time: timestamppb.New(begin)}}
	}
}

// Settings says how a durable subscription that is made here delivers; where it is there it must say the same.
func Settings(settings *pb.DurableSettings) SubscribeOption {
	return func(s *subscribing) { s.settings = settings }
}

// AckWait is [Settings] with a lease of that length and so many deliveries at the most; 0: the default.
func AckWait(lease time.Duration, deliveries int32) SubscribeOption {
	return func(s *subscribing) {
		s.settings = &pb.DurableSettings{}
		if lease != 0 {
			s.settings.AckWait = durationpb.New(lease)
		}
		if deliveries != 0 {
			s.settings.MaxDeliveries = &deliveries
		}
	}
}

// Name is what a responder calls itself. Default: the name of the client; see [WithClientName].
func Name(name string) SubscribeOption { return func(s *subscribing) { s.name = name } }

// Subscription is one interest of this client. Each life of the connection asks for it anew.
type Subscription struct {
	bus     *Bus
	pattern string
	role    role
	options subscribing
	log     *slog.Logger

	// handlers is what the handlers' contexts end with.
	handlers context.Context
	cancel   context.CancelFunc

	// All below by the bus's lock.
	session  *session // where it is an item now
	id       uint64
	handover *handover // while it moves: what holds back what came
	arrived  *sync.Cond
	levels   [5][]entry // what was sent ahead, by priority
	heads    [5]int     // how much of each is taken
	waiting  int
	started  chan error // gets once whether the service has registered it
	isKnown  bool       // that was told
	working  int
	drained  chan struct{} // closed when it takes nothing more and no handler runs
	isClosed bool          // nobody wants more
	ended    error
	done     chan struct{} // closed when no more comes
}

// entry is a message that waits here.
type entry struct {
	message  *Message
	channel  string
	sequence int64
	attempt  int32
	cameAt   time.Time
	asked    *asked
}

// role is what distinguishes a live subscription, a durable one and a responder. All but run is called with the bus's lock
// held.
type role interface {
	// start fills in what is asked of the service; more may be said behind it by `started`.
	start(*pb.SubscribeRequest_Start)
	started()
	// arrived returns what waits of what came.
	arrived(*pb.SubscribeResponse_Deliveries) []entry
	// other takes what is neither deliveries nor a start.
	other(*pb.SubscribeResponse)
	// begin tells whether a message that waited is still to be handled.
	begin(*entry) bool
	// run handles a message to its end. It does not panic.
	run(context.Context, *entry)
	// gather says what has gathered.
	gather()
	streamLost()
	// closing gives back what was not begun; settled tells whether nothing is held any more.
	closing()
	// abandon gives up what handlers have.
	abandon()
}

// Subscribe gives each message of a channel or pattern to a handler, at most once. It returns when the service has
// registered it: nothing published after it is missed. A handler's error or panic is logged, and fails its message alone.
// The context is that of the registration; end the subscription with [Subscription.Drain] or [Subscription.Close].
func (b *Bus) Subscribe(
	ctx context.Context, pattern string, handler func(context.Context, *Received) error, options ...SubscribeOption,
) (*Subscription, error) {
	s := b.newSubscription(pattern, windowMessages, options)
	s.role = &live{subscription: s, handler: handler}
	return s.begin(ctx)
}

func (b *Bus) newSubscription(pattern string, window int, options []SubscribeOption) *Subscription {
	s := &Subscription{
		bus: b, pattern: pattern, options: subscribing{concurrency: 1}, log: b.options.log.With("pattern", pattern),
		started: make(chan error, 1), drained: make(chan struct{}), done: make(chan struct{}),
		arrived: sync.NewCond(&b.mu),
	}
	for _, each := range options {
		each(&s.options)
	}
	if s.options.credit == 0 {
		s.options.credit = max(window, 2*s.options.concurrency)
	}
	if s.options.name == "" {
		s.options.name = b.options.clientName
	}
	s.handlers, s.cancel = context.WithCancel(context.Background())
	return s
}

// begin asks for it, and lets the handlers begin when the service has registered it.
func (s *Subscription) begin(ctx context.Context) (*Subscription, error) {
	if err := s.check(); err != nil {
		s.cancel()
		return nil, err
	}
	ctx, cancel := withDefault(ctx)
	defer cancel()
	s.bus.mu.Lock()
	s.session = s.bus.now
	if closed := s.session.stream.closed; closed != nil {
		s.bus.mu.Unlock()
		s.cancel()
		return nil, closed
	}
	s.id = s.session.stream.nextID()
	s.session.subscriptions[s.id] = s
	s.working = s.options.concurrency
	if s.session.stream.isUp {
		s.start()
	}
	s.bus.mu.Unlock()
	for range s.options.concurrency {
		go s.work()
	}
	select {
	case err := <-s.started:
		if err != nil {
			s.cancel()
			return nil, err
		}
		return s, nil
	case <-ctx.Done():
		s.Close()
		return nil, contextError(ctx)
	}
}

func (s *Subscription) check() error {
	if err := checkChannel(s.pattern, true); err != nil {
		return err
	}
	if s.options.concurrency < 1 {
		return invalid(InvalidMessage, "concurrency", fmt.Sprint(s.options.concurrency), "concurrency must be at least 1")
	}
	if s.options.credit < 1 {
		return invalid(InvalidMessage, "credit", fmt.Sprint(s.options.credit), "credit must be at least 1")
	}
	return nil
}

// Pattern returns what is subscribed to.
func (s *Subscription) Pattern() string { return s.pattern }

// Done is closed when no more messages come: the subscription was ended, here or by the service; see [Subscription.Err].
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err returns why the service ended the subscription; nil where it did not.
func (s *Subscription) Err() error {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	return s.ended
}

// Drain takes no more messages, and returns when the handlers that run have ended and what they said is on its way. What
// was not begun goes to others at once, without an attempt counted.
func (s *Subscription) Drain(ctx context.Context) error {
	s.bus.mu.Lock()
	s.close()
	s.bus.mu.Unlock()
	select {
	case <-s.drained:
		s.leave()
		return nil
	case <-ctx.Done():
		return contextError(ctx)
	}
}

// Close takes no more messages and cancels the contexts of the handlers that run, without waiting for them; what they hold of
// a durable subscription is given up as failed.
func (s *Subscription) Close() {
	s.bus.mu.Lock()
	s.close()
	s.bus.mu.Unlock()
	s.abandon()
}

func (s *Subscription) abandon() {
	s.bus.mu.Lock()
	s.role.abandon()
	s.bus.mu.Unlock()
	s.cancel()
	s.leave()
}

// leave ends it at the service, behind all that was said of it.
func (s *Subscription) leave() {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	if _, open := s.session.subscriptions[s.id]; open {
		delete(s.session.subscriptions, s.id)
		delete(s.session.touched, s)
		s.role.gather()
		s.session.cancelItem(s.id, &pb.OpenStreamRequest_Cancel{NothingBegun: true})
	}
	s.cancel()
}

// All below but work, handle and invoke is called with the bus's lock held.

// start asks the service for it, in this life of the stream.
func (s *Subscription) start() {
	start := &pb.SubscribeRequest_Start{Pattern: s.pattern}
	s.role.start(start)
	s.session.sayOf(s.id, &pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Start_{Start: start}})
	s.role.started()
}

// close forgets what waits.
func (s *Subscription) close() {
	if s.isClosed {
		return
	}
	s.isClosed = true
	s.forget()
	s.role.closing()
	s.finish(nil)
	s.registered(newError(BusDisconnected, codes.Unavailable, "the subscription to %q was ended before it began", s.pattern))
	s.arrived.Broadcast()
	s.rest()
}

// end is the service's end of it: what waits is still handled.
func (s *Subscription) end(why error) {
	hasBegun := s.isKnown
	s.registered(why)
	s.finish(why)
	s.arrived.Broadcast()
	if hasBegun && !s.isClosed {
		s.tell(why)
	}
	s.rest()
}

// registered tells who asked for it whether it is registered.
func (s *Subscription) registered(err error) {
	if !s.isKnown {
		s.isKnown = true
		s.started <- err
	}
}

func (s *Subscription) finish(why error) {
	select {
	case <-s.done:
	default:
		s.ended = why
		close(s.done)
	}
}

func (s *Subscription) isOver() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// rest notes that nothing runs any more, where that is so.
func (s *Subscription) rest() {
	if s.working == 0 && s.isOver() {
		select {
		case <-s.drained:
		default:
			close(s.drained)
		}
	}
}

// tell says to the user what went wrong beside the messages.
func (s *Subscription) tell(why error) {
	if s.options.onError != nil {
		go s.options.onError(why)
		return
	}
	s.log.Error("something went wrong with a subscription", "error", why)
}

func (s *Subscription) forget() {
	for level := range s.levels {
		s.levels[level], s.heads[level] = nil, 0
	}
	s.waiting = 0
}

// take takes a frame of the stream that it is on.
func (s *Subscription) take(frame *pb.SubscribeResponse) {
	if s.handover != nil {
		s.handover.hold(frame)
		return
	}
	s.takeNow(frame)
}

func (s *Subscription) takeNow(frame *pb.SubscribeResponse) {
	switch came := frame.GetFrame().(type) {
	case *pb.SubscribeResponse_Deliveries_:
		entries := s.role.arrived(came.Deliveries)
		if s.isClosed || len(entries) == 0 {
			return
		}
		level := came.Deliveries.GetPriority()
		if level < Low || level > Critical {
			level = Medium
		}
		s.push(level, entries)
	case *pb.SubscribeResponse_Started_:
		s.role.other(frame)
		s.registered(nil)
	default:
		s.role.other(frame)
	}
}

// push lets messages wait for a handler.
func (s *Subscription) push(level pb.Priority, entries []entry) {
	s.levels[level] = append(s.levels[level], entries...)
	s.waiting += len(entries)
	if len(entries) == 1 {
		s.arrived.Signal()
	} else {
		s.arrived.Broadcast()
	}
}

// next returns the next message, the higher priority first; nil when no more comes.
func (s *Subscription) next() *entry {
	for {
		for level := len(s.levels) - 1; level >= 0; level-- {
			for s.heads[level] < len(s.levels[level]) {
				at := s.heads[level]
				came := s.levels[level][at]
				s.levels[level][at] = entry{}
				s.waiting--
				if s.heads[level]++; s.heads[level] == len(s.levels[level]) {
					s.levels[level], s.heads[level] = s.levels[level][:0], 0
				}
				if s.role.begin(&came) {
					return &came
				}
			}
		}
		if s.isOver() {
			return nil
		}
		s.arrived.Wait()
	}
}

// work gives messages to the handler, one after the other.
func (s *Subscription) work() {
	mu := &s.bus.mu
	isReplaced := true // by another, where a handler ends this goroutine
	defer func() {
		if isReplaced {
			go s.work()
			return
		}
		mu.Lock()
		s.working--
		s.rest()
		mu.Unlock()
	}()
	for {
		mu.Lock()
		came := s.next()
		mu.Unlock()
		if came == nil {
			isReplaced = false
			return
		}
		s.role.run(s.handlers, came)
	}
}

var errExited = errors.New("the handler ended its goroutine")

// panicked is a handler's panic as an error.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// invoke calls a handler and gives its end to `settle`, exactly once: what it returned, its panic, that it ended its goroutine,
// or that it took too long.
func (s *Subscription) invoke(ctx context.Context, handler func(context.Context) error, settle func(error)) {
	if s.options.timeout == 0 {
		call(ctx, handler, settle)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.timeout)
	defer cancel()
	ended := make(chan error, 1)
	go call(ctx, handler, func(err error) { ended <- err })
	select {
	case err := <-ended:
		settle(err)
	case <-ctx.Done():
		settle(fmt.Errorf("the handler took longer than %v: %w", s.options.timeout, ctx.Err()))
	}
}

func call(ctx context.Context, handler func(context.Context) error, settle func(error)) {
	err := errExited
	defer func() {
		if value := recover(); value != nil {
			err = &panicked{value, debug.Stack()}
		}
		settle(err)
	}()
	err = handler(ctx)
}

func (s *Subscription) logFailure(came *entry, err error) {
	details := []any{"error", err, "message", came.message.GetMessageId(), "sender", came.message.GetSenderId(), "channel", came.channel}
	if came.attempt > 0 {
		details = append(details, "attempt", came.attempt)
	}
	var panicking *panicked
	if errors.As(err, &panicking) {
		details = append(details, "stack", string(panicking.stack))
	}
	s.log.Error("a handler failed", details...)
}

// live is at most once: credit is granted anew when half of the window is done with.
type live struct {
	subscription *Subscription
	handler      func(context.Context, *Received) error
	taken        int      // since credit was granted last
	overlap      *overlap // what came on a stream that it left, and may come again; nil: it has left none
}

func (l *live) start(start *pb.SubscribeRequest_Start) {
	l.taken = 0
	l.want(start, l.subscription.options.credit-l.subscription.waiting)
}

// want fills in what is asked of the service, with a credit.
func (l *live) want(start *pb.SubscribeRequest_Start, messages int) {
	credit := int32(max(1, messages)) //nolint:gosec // bounded by whoever set it
	options := l.subscription.options
	start.Group, start.Credit, start.Observer = options.group, &credit, options.observer
}

func (l *live) started() {}

// moved is called when another stream has taken the place of the one before: what waits here had the credit of that one.
func (l *live) moved() {
	l.taken = -l.subscription.waiting
	if l.subscription.handover != nil {
		l.taken -= l.subscription.handover.lastHeld
	}
}

// takeLast takes a frame of the stream that it has left.
func (l *live) takeLast(frame *pb.SubscribeResponse) {
	s := l.subscription
	l.taken -= len(frame.GetDeliveries().GetMessages())
	switch {
	case s.isClosed:
	case s.handover != nil && s.options.group != "":
		s.handover.holdLast(frame)
	default:
		s.takeNow(frame)
	}
}

func (l *live) arrived(came *pb.SubscribeResponse_Deliveries) []entry {
	entries := make([]entry, len(came.GetMessages()))
	for at, message := range came.GetMessages() {
		entries[at] = entry{message: message, channel: came.GetChannel(), sequence: came.GetFirstSequence() + int64(at)}
	}
	if l.overlap != nil {
		entries = l.overlap.sift(entries)
		l.done(len(came.GetMessages()) - len(entries))
	}
	return entries
}

func (l *live) other(frame *pb.SubscribeResponse) {
	s := l.subscription
	if lagged := frame.GetLagged(); lagged != nil {
		s.log.Warn("a subscription was too slow", "dropped", lagged.GetDropped())
		if s.options.onLagged != nil {
			go s.options.onLagged(lagged.GetDropped())
		}
	}
}

func (l *live) begin(came *entry) bool {
	l.done(1)
	return !expired(came.message)
}

// done lets the service send as many more as are done with.
func (l *live) done(messages int) {
	s := l.subscription
	l.taken += messages
	if l.taken >= (s.options.credit+1)/2 && !s.isClosed && s.session.stream.isUp {
		s.session.sayOf(s.id, &pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Credit_{
			Credit: &pb.SubscribeRequest_Credit{Messages: int32(l.taken)}, //nolint:gosec // bounded by the window
		}})
		l.taken = 0
	}
}

func (l *live) run(ctx context.Context, came *entry) {
	handler := func(ctx context.Context) error {
		return l.handler(ctx, &Received{Message: came.message, Channel: came.channel, Sequence: came.sequence})
	}
	l.subscription.invoke(ctx, handler, func(err error) {
		if err != nil {
			l.subscription.logFailure(came, err)
		}
	})
}

func (l *live) gather()     {}
func (l *live) streamLost() {}
func (l *live) abandon()    {}

// closing ends it at the service at once.
func (l *live) closing() {
	s := l.subscription
	if _, open := s.session.subscriptions[s.id]; open {
		delete(s.session.subscriptions, s.id)
		s.session.cancelItem(s.id, &pb.OpenStreamRequest_Cancel{})
	}
}
