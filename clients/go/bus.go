package trunkline

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "trunkline/v1"
)

// Receipt says what became of one published message.
type Receipt = pb.Receipt

// Bus carries messages between agents. Its methods may be called by many goroutines. Where the service asks for it, it moves to
// another connection, and so to another replica: nothing is lost, doubled or failed by that. What the service refuses for now is
// asked again when it says, until the context ends (30 s where it has no deadline); where that is over by then, it fails at once
// with [Overloaded].
type Bus struct {
	at      address
	options *options
	service pb.BusServiceClient
	closing context.Context // ends with Close
	close   context.CancelCauseFunc

	// All below, and all of sessions and subscriptions, by this lock.
	mu      sync.Mutex
	now     *session
	moving  *moving               // nil: it does not move now
	stays   bool                  // it is being closed: it moves no more
	turn    *turn                 // nil: the service takes what is published
	leaving map[*session]struct{} // those that another has taken the place of, and that end what is under way
}

// turn is when the service takes again what is published, which has reached a limit.
type turn struct {
	at   time.Time
	said *Error
}

// session is what a bus has open on one stream.
type session struct {
	bus    *Bus
	stream *stream

	visitors      map[uint64]visitor // items of subscriptions that are another session's
	asking        map[uint64]*asking
	subscriptions map[uint64]*Subscription
	touched       map[*Subscription]struct{} // those that have something to say with the next frame
	open          group
	receipts      map[uint64]sent
	refused       error // the first one of something live since the last Flush
	unconfirmed   bool  // something live was published that the service may not have taken
	busAway       bool  // a sidecar took the stream while the bus is away
	isAsked       bool  // the service asked it to move
}

// group is what is published and waits for the next frame: on one channel, all of it to be stored or none.
type group struct {
	channel string
	stored  bool
	encoded []byte // as PublishRequest has its messages
	count   int
	waiters []waiter
}

// waiter awaits the receipts of one call's messages.
type waiter struct {
	messages [][]byte
	awaited  chan answer
}

// sent is a frame's worth of stored messages whose receipts are awaited.
type sent struct {
	channel string
	waiters []waiter
}

// ConnectBus connects to a bus or a sidecar: host:port, tls://host:port or unix:/path. The connection lasts until
// [Bus.Close], whatever becomes of the context.
func ConnectBus(ctx context.Context, at string, given ...Option) (*Bus, error) {
	b := &Bus{at: address(at), options: newOptions(given), leaving: map[*session]struct{}{}}
	b.closing, b.close = context.WithCancelCause(context.Background())
	var err error
	if b.now, err = b.newSession(b.options); err != nil {
		return nil, err
	}
	b.service = pb.NewBusServiceClient(beside{func() *stream { return b.now.stream }, &b.mu, b.closing})
	if err := b.now.stream.open(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Bus) newSession(options *options) (*session, error) {
	s := &session{
		bus: b, subscriptions: map[uint64]*Subscription{}, touched: map[*Subscription]struct{}{},
		receipts: map[uint64]sent{}, visitors: map[uint64]visitor{}, asking: map[uint64]*asking{},
	}
	var err error
	s.stream, err = newStream(b.at, pb.BusService_OpenStream_FullMethodName, BusDisconnected, s, options, &b.mu)
	return s, err
}

// Service returns the stubs over the same connection, for the calls that have no method here. Errors of unary calls are
// those of this package.
func (b *Bus) Service() pb.BusServiceClient { return b.service }

// Close drains all subscriptions and flushes what was published, until the context ends; then handlers that still run are
// cancelled, what they hold is given back, and the connection ends.
func (b *Bus) Close(ctx context.Context) error {
	b.stay(ctx)
	b.mu.Lock()
	now := b.now
	open := make([]*Subscription, 0, len(now.subscriptions))
	for of := range b.sessions() {
		for _, each := range of.subscriptions {
			open = append(open, each)
			each.close()
		}
	}
	b.mu.Unlock()
	var failed error
	for _, each := range open {
		if err := each.Drain(ctx); err != nil {
			failed = errors.Join(failed, err)
			each.abandon()
		}
	}
	if ctx.Err() != nil { // what was given back shall still arrive
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
	}
	failed = errors.Join(failed, b.Flush(ctx))
	b.end()
	return failed
}

// end ends all connections.
func (b *Bus) end() {
	b.mu.Lock()
	all := slices.Collect(b.sessions())
	b.mu.Unlock()
	for _, each := range all {
		each.stream.close()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.close(b.now.stream.disconnected("the bus was closed"))
}

// sessions yields those that are open; with the lock held.
func (b *Bus) sessions() iter.Seq[*session] {
	return func(yield func(*session) bool) {
		for each := range b.leaving {
			if !yield(each) {
				return
			}
		}
		yield(b.now)
	}
}

// IsConnected tells whether the connection is up, and the bus behind it.
func (b *Bus) IsConnected() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now.stream.isUp && !b.now.busAway
}

// slowDown lets what is published wait until the service takes it, where a refusal says when that is; with the lock held.
func (b *Bus) slowDown(said *Error) {
	wait, isForNow := said.retryAfter()
	if at := time.Now().Add(wait); isForNow && (b.turn == nil || at.After(b.turn.at)) {
		b.turn = &turn{at, said}
	}
}

// inTurn waits until the service takes what is published; with the lock held before and after.
func (b *Bus) inTurn(ctx context.Context) error {
	for b.turn != nil {
		next := b.turn
		b.mu.Unlock()
		err := pause(ctx, b.closing, next.at, next.said)
		b.mu.Lock()
		if err != nil {
			return err
		}
		if b.turn == next {
			b.turn = nil
		}
	}
	return nil
}

// ready returns the session of now when the service takes what is published, and there is room in its buffer; with the lock held
// before and after.
func (b *Bus) ready(ctx context.Context) (*session, error) {
	for {
		if err := b.inTurn(ctx); err != nil {
			return nil, err
		}
		now := b.now
		err := now.stream.pace(ctx)
		if err == nil && now.stream.closed != nil {
			err = now.stream.closed
		}
		if b.now == now && (err != nil || b.turn == nil) {
			return now, err
		}
		if ctx.Err() != nil {
			return nil, contextError(ctx)
		}
	}
}

// waitUp waits until the stream of now is up.
func (b *Bus) waitUp(ctx context.Context) error {
	b.mu.Lock()
	now := b.now.stream
	b.mu.Unlock()
	return now.waitUp(ctx)
}

// Publish publishes live messages on a channel: at most once, to who subscribes now. It returns once the bounded buffer took
// them; [Bus.Flush] returns once the service did. While the connection is lost they wait in the buffer; where that is full,
// Publish fails with [BusDisconnected]. What the service refuses is lost; where it says for how long it refuses, what is published
// after it waits.
func (b *Bus) Publish(ctx context.Context, channel string, messages ...*Message) error {
	if err := checkChannel(channel, false); err != nil {
		return err
	}
	for _, each := range messages {
		if err := checkLive(each); err != nil {
			return err
		}
		encoded, _, err := b.encodeMessage(each, false)
		if err != nil {
			return err
		}
		b.mu.Lock()
		now, err := b.ready(ctx)
		if err == nil {
			now.unconfirmed = true
			now.add(channel, false, encoded)
		}
		b.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// PublishStored publishes messages to be stored, and returns their receipts after the sync to disk. What many goroutines
// publish at once goes together. Each message has an id, made here where it has none; where the connection is lost
// before the receipts came, or the service refuses them for now, the same messages are sent again until the context ends (30 s
// where it has no deadline): a message is stored once if its bus is back within its dedup window, 2 minutes by default.
func (b *Bus) PublishStored(ctx context.Context, channel string, messages ...*Message) ([]*Receipt, error) {
	if err := checkChannel(channel, false); err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, invalid(InvalidMessage, "messages", "0", "there is no message to publish")
	}
	all := make([][]byte, len(messages))
	for at, each := range messages {
		var err error
		if all[at], _, err = b.encodeMessage(each, true); err != nil {
			var said *Error
			if errors.As(err, &said) {
				_ = said.with("index", strconv.Itoa(at))
			}
			return nil, err
		}
	}
	ctx, cancel := withDefault(ctx)
	defer cancel()
	receipts := make([]*Receipt, 0, len(all))
	for len(receipts) < len(all) {
		some := all[len(receipts):min(len(all), len(receipts)+frameMessages)]
		came, err := again(ctx, b.closing, func() ([]*Receipt, error) { return b.store(ctx, channel, some) })
		if err != nil && errors.Is(err, BusDisconnected) && b.waitUp(ctx) == nil {
			continue
		}
		if err != nil {
			return receipts, err
		}
		receipts = append(receipts, came...)
	}
	return receipts, nil
}

func (b *Bus) store(ctx context.Context, channel string, all [][]byte) ([]*Receipt, error) {
	awaited := make(chan answer, 1)
	b.mu.Lock()
	err := b.now.stream.check()
	var now *session
	if err == nil {
		now, err = b.ready(ctx)
	}
	if err == nil {
		err = now.stream.check()
	}
	if err == nil {
		now.addStored(channel, waiter{all, awaited})
	}
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case came := <-awaited:
		if came.err != nil {
			return nil, came.err
		}
		return came.value.([]*Receipt), nil
	case <-ctx.Done():
		return nil, contextError(ctx)
	}
}

// Flush waits until the service took all that was published live. It returns the first refusal since the last Flush, or that
// the connection was lost meanwhile, with which some of it may be lost too.
func (b *Bus) Flush(ctx context.Context) error {
	ctx, cancel := withDefault(ctx)
	defer cancel()
	b.mu.Lock()
	now := b.now
	id, awaited, err := now.ping(false)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := now.stream.await(ctx, id, awaited, nil); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now.unconfirmed = now.open.count > 0 && !now.open.stored
	refused := b.now.refused // what was refused of the session before is told by that of now
	b.now.refused = nil
	if refused != nil {
		return refused
	}
	return nil
}

// RequestOption says what is wished of a request.
type RequestOption func(*pb.RequestRequest)

// Timeout says how long to wait for the reply, at most a day. Default: until the context's deadline, or 30 s.
func Timeout(timeout time.Duration) RequestOption {
	return func(r *pb.RequestRequest) { r.Timeout = durationpb.New(timeout) }
}

// IdleTimeout says how long no sign of life may come from whoever holds the request.
func IdleTimeout(timeout time.Duration) RequestOption {
	return func(r *pb.RequestRequest) { r.IdleTimeout = durationpb.New(timeout) }
}

// WaitForResponder waits for somebody to subscribe, within the timeout, instead of failing with [NoResponders].
func WaitForResponder() RequestOption {
	return func(r *pb.RequestRequest) { r.WaitForResponder = true }
}

// Repeatable says that it may be done twice: where who held it is lost, it is handed out again.
func Repeatable() RequestOption { return func(r *pb.RequestRequest) { r.Repeatable = true } }

// OutlivesAsker says that it goes on where the caller stops waiting.
func OutlivesAsker() RequestOption { return func(r *pb.RequestRequest) { r.OutlivesAsker = true } }

// Request publishes a message and waits for its reply: by [Bus.Respond], or any message published with its correlation id.
// The end of the context cancels it.
func (b *Bus) Request(ctx context.Context, channel string, message *Message, wished ...RequestOption) (*Received, error) {
	ctx, cancel, body, err := b.prepare(ctx, channel, message, wished)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return again(ctx, b.closing, func() (*Received, error) { return b.request(ctx, body) })
}

func (b *Bus) request(ctx context.Context, body func() ([]byte, error)) (*Received, error) {
	encoded, err := body()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	now := b.now
	if err := now.stream.check(); err != nil {
		b.mu.Unlock()
		return nil, err
	}
	id := now.stream.nextID()
	awaited := now.stream.expect(id)
	now.sayEncoded(id, itemRequestField, encoded)
	b.mu.Unlock()
	reply, err := now.stream.await(ctx, id, awaited, func() { now.cancelItem(id, &pb.OpenStreamRequest_Cancel{}) })
	if err != nil {
		return nil, err
	}
	said := reply.(*pb.RequestResponse)
	return &Received{Message: said.GetMessage(), Channel: said.GetChannel()}, nil
}

// prepare returns a context that ends with a request's time, and what encodes the RequestRequest with the time that is left. Where
// a responder is waited for, so is the connection, before that.
func (b *Bus) prepare(ctx context.Context, channel string, message *Message, wished []RequestOption) (
	limited context.Context, cancel context.CancelFunc, body func() ([]byte, error), err error,
) {
	if err := checkChannel(channel, false); err != nil {
		return nil, nil, nil, err
	}
	wanted := &pb.RequestRequest{Channel: channel}
	for _, each := range wished {
		each(wanted)
	}
	if err := checkTimeouts(wanted); err != nil {
		return nil, nil, nil, err
	}
	timeout := defaultCall
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(time.Until(deadline), maxRequest)
	}
	if wanted.Timeout != nil {
		timeout = wanted.Timeout.AsDuration()
	}
	if ctx.Err() != nil || timeout <= 0 {
		return nil, nil, nil, newError(
			RequestTimeout, codes.DeadlineExceeded, "the deadline was over before the request to %q was sent", channel)
	}
	encoded, id, err := b.encodeMessage(message, true)
	if err != nil {
		return nil, nil, nil, err
	}
	if message.GetCorrelationId() == "" {
		encoded = protowire.AppendString(protowire.AppendTag(encoded, correlationIDField, protowire.BytesType), id)
	}
	limited, cancel = context.WithTimeoutCause(ctx, timeout, newError(
		RequestTimeout, codes.DeadlineExceeded, "no reply on %q within %v", channel, timeout,
	).with("channel", channel, "timeout_seconds", strconv.FormatFloat(timeout.Seconds(), 'g', -1, 64)))
	return limited, cancel, func() ([]byte, error) {
		if wanted.WaitForResponder {
			if err := b.waitUp(limited); err != nil {
				return nil, err
			}
		}
		deadline, _ := limited.Deadline()
		wanted.Timeout = durationpb.New(max(time.Until(deadline), time.Millisecond))
		body, err := encode(wanted, InvalidMessage, "request")
		return protowire.AppendBytes(protowire.AppendTag(body, requestMessageField, protowire.BytesType), encoded), err
	}, nil
}

func checkTimeouts(wanted *pb.RequestRequest) error {
	for _, each := range []struct {
		field string
		value *durationpb.Duration
	}{{"timeout", wanted.Timeout}, {"idle_timeout", wanted.IdleTimeout}} {
		if each.value == nil {
			continue
		}
		if duration := each.value.AsDuration(); duration <= 0 || duration > maxRequest {
			return invalid(InvalidMessage, each.field, duration.String(), "%s is %v, it must be more than 0 and at most %v",
				each.field, duration, maxRequest)
		}
	}
	return nil
}

func withDefault(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, defaultCall)
}

// Field numbers of what is written without building it.
const (
	framesItemsField    protowire.Number = 1 // OpenStreamRequest.items
	itemIDField         protowire.Number = 1 // ClientItem.id
	itemPublishField    protowire.Number = 2 // ClientItem.publish
	itemRequestField    protowire.Number = 3 // ClientItem.request
	itemLifeField       protowire.Number = 7 // ClientItem.request_stream
	publishMessageField protowire.Number = 2 // PublishRequest.messages
	requestMessageField protowire.Number = 2 // RequestRequest.message
	lifeRequestField    protowire.Number = 1 // RequestStreamRequest.request
)

// encodeItem returns a frame of one item.
func encodeItem(id uint64, field protowire.Number, body []byte) []byte {
	size := protowire.SizeTag(field) + protowire.SizeBytes(len(body))
	if id != 0 {
		size += protowire.SizeTag(itemIDField) + protowire.SizeVarint(id)
	}
	frame := make([]byte, 0, size+12)
	frame = protowire.AppendTag(frame, framesItemsField, protowire.BytesType)
	frame = protowire.AppendVarint(frame, uint64(size)) //nolint:gosec // a length
	if id != 0 {
		frame = protowire.AppendVarint(protowire.AppendTag(frame, itemIDField, protowire.VarintType), id)
	}
	return protowire.AppendBytes(protowire.AppendTag(frame, field, protowire.BytesType), body)
}

// openGroup returns the group into which a message of this kind goes; another is sealed first.
func (s *session) openGroup(channel string, stored bool) *group {
	if s.open.count > 0 && (s.open.channel != channel || s.open.stored != stored) {
		s.seal()
	}
	s.open.channel, s.open.stored = channel, stored
	return &s.open
}

func (s *session) gatherOne(channel string, stored bool, encoded []byte) {
	open := s.openGroup(channel, stored)
	open.encoded = protowire.AppendTag(open.encoded, publishMessageField, protowire.BytesType)
	open.encoded = protowire.AppendBytes(open.encoded, encoded)
	open.count++
}

// addStored adds the messages of one call, whose receipts come with one answer.
func (s *session) addStored(channel string, call waiter) {
	if s.open.count > 0 && s.open.count+len(call.messages) > frameMessages {
		s.seal()
	}
	for _, each := range call.messages {
		s.gatherOne(channel, true, each)
	}
	s.open.waiters = append(s.open.waiters, call)
	s.sealFull()
	s.stream.schedule()
}

func (s *session) sealFull() {
	if s.open.count >= frameMessages || len(s.open.encoded) >= frameBytes {
		s.seal()
	}
}

func (s *session) add(channel string, stored bool, encoded []byte) {
	s.gatherOne(channel, stored, encoded)
	if s.open.count == 1 { // those that follow go with it
		s.stream.schedule()
	}
	s.sealFull()
}

// seal lets the open group go out with the next frame.
func (s *session) seal() {
	open := s.open
	if open.count == 0 {
		return
	}
	s.open = group{}
	head := &pb.PublishRequest{Channel: open.channel}
	var id uint64
	if open.stored {
		head.Durability = pb.Durability_DURABILITY_STORED
		id = s.stream.nextID()
		s.receipts[id] = sent{open.channel, open.waiters}
	}
	encoded, err := proto.MarshalOptions{}.MarshalAppend(open.encoded, head)
	if err != nil { // a channel that was checked has only ASCII
		panic(err)
	}
	s.stream.put(encodeItem(id, itemPublishField, encoded), !open.stored)
}

// sayEncoded lets an encoded item go out with the next frame, behind all that was published.
func (s *session) sayEncoded(id uint64, field protowire.Number, body []byte) {
	s.seal()
	s.stream.put(encodeItem(id, field, body), false)
	s.stream.schedule()
}

// ping asks for an answer when all before it was taken, and with `isSent` has arrived at all replicas.
func (s *session) ping(isSent bool) (id uint64, awaited chan answer, err error) {
	if err := s.stream.check(); err != nil {
		return 0, nil, err
	}
	id = s.stream.nextID()
	awaited = s.stream.expect(id)
	s.say(&pb.OpenStreamRequest_ClientItem{Id: id, Item: &pb.OpenStreamRequest_ClientItem_Ping{
		Ping: &pb.OpenStreamRequest_Ping{Sent: isSent},
	}})
	return id, awaited, nil
}

// say lets an item go out with the next frame, behind all that was published.
func (s *session) say(items ...*pb.OpenStreamRequest_ClientItem) {
	s.seal()
	encoded, err := proto.Marshal(&pb.OpenStreamRequest{Items: items})
	if err != nil {
		s.stream.log.Error("what was to be said cannot be encoded", "error", err)
		return
	}
	s.stream.put(encoded, false)
	s.stream.schedule()
}

func (s *session) sayOf(id uint64, frame *pb.SubscribeRequest) {
	s.say(&pb.OpenStreamRequest_ClientItem{Id: id, Item: &pb.OpenStreamRequest_ClientItem_Subscribe{Subscribe: frame}})
}

func (s *session) cancelItem(id uint64, how *pb.OpenStreamRequest_Cancel) {
	s.say(&pb.OpenStreamRequest_ClientItem{Id: id, Item: &pb.OpenStreamRequest_ClientItem_Cancel{Cancel: how}})
}

// What the stream calls.

func (s *session) newFrame() proto.Message { return &pb.OpenStreamResponse{} }

func (s *session) gather() {
	s.gatherTouched()
	s.seal()
}

func (s *session) gatherTouched() {
	for each := range s.touched {
		delete(s.touched, each)
		each.role.gather()
	}
}

func (s *session) touch(subscription *Subscription) {
	s.touched[subscription] = struct{}{}
	s.stream.schedule()
}

func (s *session) wentUp(greeting metadata.MD) {
	away := greeting.Get("trunkline-bus")
	s.busAway = len(away) > 0 && away[0] == "away"
	s.isAsked = false
	kept := s.stream.waiting
	s.stream.waiting = nil
	open := s.open
	s.open = group{} // nothing of it goes before the subscriptions
	for _, each := range s.subscriptions {
		each.start()
	}
	s.stream.waiting = append(s.stream.waiting, kept...)
	s.open = open
}

func (s *session) wentDown(why *Error) {
	for id, each := range s.receipts {
		delete(s.receipts, id)
		fail(each.waiters, why)
	}
	if s.open.stored {
		fail(s.open.waiters, why)
		s.open = group{}
	}
	if s.unconfirmed && s.refused == nil {
		s.refused = why
		s.stream.log.Warn("what was published and not flushed may be lost", "address", string(s.stream.at))
	}
	clear(s.touched)
	for id := range s.visitors {
		s.endVisit(id, why)
	}
	for id, each := range s.asking {
		delete(s.asking, id)
		each.fail(why)
	}
	for id, each := range s.subscriptions {
		each.role.streamLost()
		if s.stream.closed != nil {
			delete(s.subscriptions, id)
			each.end(why)
		}
	}
}

func fail(waiters []waiter, why error) {
	for _, each := range waiters {
		each.awaited <- answer{err: why}
	}
}

func (s *session) take(frame proto.Message) {
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	for _, item := range frame.(*pb.OpenStreamResponse).GetItems() {
		switch came := item.GetItem().(type) {
		case *pb.OpenStreamResponse_ServerItem_Subscription:
			if subscription := s.subscriptions[item.GetId()]; subscription != nil {
				subscription.take(came.Subscription)
			} else if visits := s.visitors[item.GetId()]; visits != nil {
				visits.take(came.Subscription)
			}
		case *pb.OpenStreamResponse_ServerItem_Cancelled:
			s.endVisit(item.GetId(), nil)
		case *pb.OpenStreamResponse_ServerItem_Published:
			s.takeReceipts(item.GetId(), came.Published.GetReceipts())
		case *pb.OpenStreamResponse_ServerItem_Reply:
			s.stream.settle(item.GetId(), came.Reply, nil)
		case *pb.OpenStreamResponse_ServerItem_RequestEvents:
			s.takeEvents(item.GetId(), came.RequestEvents.GetEvents(), false)
		case *pb.OpenStreamResponse_ServerItem_RequestEnd:
			s.takeEvents(item.GetId(), came.RequestEnd.GetEvents(), true)
		case *pb.OpenStreamResponse_ServerItem_Error:
			s.takeError(item.GetId(), fromItem(came.Error))
		case *pb.OpenStreamResponse_ServerItem_Pong:
			s.stream.settle(item.GetId(), nil, nil)
		case *pb.OpenStreamResponse_ServerItem_BusConnected:
			s.busAway = false
		case *pb.OpenStreamResponse_ServerItem_Move:
			s.isAsked = true
			s.bus.moveIfAsked()
		}
	}
	s.stream.hasChanged()
}

func (s *session) takeReceipts(id uint64, receipts []*Receipt) {
	waiters := s.receipts[id].waiters
	delete(s.receipts, id)
	for _, each := range waiters {
		count := len(each.messages)
		if count > len(receipts) {
			each.awaited <- answer{err: newError(Internal, codes.Internal, "the service sent too few receipts")}
			continue
		}
		each.awaited <- answer{value: receipts[:count:count]}
		receipts = receipts[count:]
	}
}

func (s *session) takeError(id uint64, said *Error) {
	if subscription := s.subscriptions[id]; subscription != nil {
		if wait, isForNow := said.retryAfter(); isForNow && subscription.isKnown {
			// the service may not know yet that the stream is lost on which it was open
			s.startAgain(subscription, wait)
			return
		}
		delete(s.subscriptions, id)
		subscription.end(said)
		return
	}
	if s.visitors[id] != nil {
		s.endVisit(id, said)
		return
	}
	if asked := s.asking[id]; asked != nil {
		delete(s.asking, id)
		asked.fail(said)
		return
	}
	if refused, found := s.receipts[id]; found {
		delete(s.receipts, id)
		s.bus.slowDown(said)
		s.refuse(refused, said)
		return
	}
	if s.stream.settle(id, nil, said) {
		return
	}
	if id == 0 { // something live was refused
		s.stream.log.Error("the service refused a message", "error", said)
		s.bus.slowDown(said)
		if s.refused == nil {
			s.refused = said
		}
	}
}

// startAgain asks for a subscription that was refused for now, unless it was asked for since.
func (s *session) startAgain(subscription *Subscription, wait time.Duration) {
	life := s.stream.lives
	time.AfterFunc(wait, func() {
		s.bus.mu.Lock()
		defer s.bus.mu.Unlock()
		if s.stream.isUp && s.stream.lives == life && s.subscriptions[subscription.id] == subscription {
			subscription.start()
		}
	})
}

// refuse fails the call one of whose messages the service refused. Nothing of the frame was published: what other calls had
// in it is sent again.
func (s *session) refuse(refused sent, said *Error) {
	index, err := strconv.Atoi(said.Metadata["index"])
	if err != nil || len(refused.waiters) == 1 {
		fail(refused.waiters, said)
		return
	}
	for _, each := range refused.waiters {
		if index >= 0 && index < len(each.messages) {
			own := *said
			own.Metadata = maps.Clone(said.Metadata)
			each.awaited <- answer{err: own.with("index", strconv.Itoa(index))}
		} else {
			s.addStored(refused.channel, each)
		}
		index -= len(each.messages)
	}
}

func tooLarge(what string, size, limit int) *Error {
	return newError(MessageTooLarge, codes.InvalidArgument, "the %s has %d bytes, at most %d are allowed", what, size, limit).
		with("size", strconv.Itoa(size), "limit", strconv.Itoa(limit))
}
