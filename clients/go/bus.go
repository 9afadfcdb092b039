package trunkline

import (
	"context"
	"errors"
	"maps"
	"strconv"
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

// Bus carries messages between agents. Its methods may be called by many goroutines.
type Bus struct {
	stream  *stream
	service pb.BusServiceClient

	// All below by the stream's lock.
	subscriptions map[uint64]*Subscription
	touched       map[*Subscription]struct{} // those that have something to say with the next frame
	open          group
	receipts      map[uint64]sent
	refused       error // the first one of something live since the last Flush
	unconfirmed   bool  // something live was published that the service may not have taken
	busAway       bool  // a sidecar took the stream while the bus is away
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
	b := &Bus{
		subscriptions: map[uint64]*Subscription{}, touched: map[*Subscription]struct{}{}, receipts: map[uint64]sent{},
	}
	var err error
	b.stream, err = newStream(address(at), pb.BusService_OpenStream_FullMethodName, BusDisconnected, b, newOptions(given))
	if err != nil {
		return nil, err
	}
	b.service = pb.NewBusServiceClient(b.stream.conn)
	if err := b.stream.open(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// Service returns the stubs over the same connection, for the calls that have no method here. Errors of unary calls are
// those of this package.
func (b *Bus) Service() pb.BusServiceClient { return b.service }

// Close drains all subscriptions and flushes what was published, until the context ends; then handlers that still run are
// cancelled, what they hold is given back, and the connection ends.
func (b *Bus) Close(ctx context.Context) error {
	b.stream.mu.Lock()
	open := make([]*Subscription, 0, len(b.subscriptions))
	for _, each := range b.subscriptions {
		open = append(open, each)
		each.close()
	}
	b.stream.mu.Unlock()
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
	b.stream.close()
	return failed
}

// IsConnected tells whether the connection is up, and the bus behind it.
func (b *Bus) IsConnected() bool {
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	return b.stream.isUp && !b.busAway
}

// Publish publishes live messages on a channel: at most once, to who subscribes now. It returns once the bounded buffer took
// them; [Bus.Flush] returns once the service did. While the connection is lost they wait in the buffer; where that is full,
// Publish fails with [BusDisconnected].
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
		b.stream.mu.Lock()
		err = b.stream.pace(ctx)
		if err == nil && b.stream.closed != nil {
			err = b.stream.closed
		}
		if err == nil {
			b.unconfirmed = true
			b.add(channel, false, encoded)
		}
		b.stream.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// PublishStored publishes messages to be stored, and returns their receipts after the sync to disk. What many goroutines
// publish at once goes together. Each message has an id, made here where it has none; where the connection is lost
// before the receipts came, the same messages are sent again until the context ends (30 s where it has no deadline): a
// message is stored once if its bus is back within its dedup window, 2 minutes by default.
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
		came, err := b.store(ctx, channel, some)
		if err != nil && errors.Is(err, BusDisconnected) && b.stream.waitUp(ctx) == nil {
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
	b.stream.mu.Lock()
	err := b.stream.check()
	if err == nil {
		err = b.stream.pace(ctx)
	}
	if err == nil {
		err = b.stream.check()
	}
	if err == nil {
		b.addStored(channel, waiter{all, awaited})
	}
	b.stream.mu.Unlock()
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
	b.stream.mu.Lock()
	if err := b.stream.check(); err != nil {
		b.stream.mu.Unlock()
		return err
	}
	id := b.stream.nextID()
	awaited := b.stream.expect(id)
	b.say(&pb.OpenStreamRequest_ClientItem{Id: id, Item: &pb.OpenStreamRequest_ClientItem_Ping{Ping: &pb.OpenStreamRequest_Ping{}}})
	b.stream.mu.Unlock()
	if _, err := b.stream.await(ctx, id, awaited, nil); err != nil {
		return err
	}
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	b.unconfirmed = b.open.count > 0 && !b.open.stored
	refused := b.refused
	b.refused = nil
	return refused
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
	if err := checkChannel(channel, false); err != nil {
		return nil, err
	}
	wanted := &pb.RequestRequest{Channel: channel}
	for _, each := range wished {
		each(wanted)
	}
	if err := checkTimeouts(wanted); err != nil {
		return nil, err
	}
	timeout := defaultCall
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(time.Until(deadline), maxRequest)
	}
	if wanted.Timeout != nil {
		timeout = wanted.Timeout.AsDuration()
	}
	if ctx.Err() != nil || timeout <= 0 {
		return nil, newError(RequestTimeout, codes.DeadlineExceeded, "the deadline was over before the request to %q was sent", channel)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, newError(
		RequestTimeout, codes.DeadlineExceeded, "no reply on %q within %v", channel, timeout,
	).with("channel", channel, "timeout_seconds", strconv.FormatFloat(timeout.Seconds(), 'g', -1, 64)))
	defer cancel()
	encoded, id, err := b.encodeMessage(message, true)
	if err != nil {
		return nil, err
	}
	if message.GetCorrelationId() == "" {
		encoded = protowire.AppendString(protowire.AppendTag(encoded, correlationIDField, protowire.BytesType), id)
	}
	if wanted.WaitForResponder {
		if err := b.stream.waitUp(ctx); err != nil {
			return nil, err
		}
	}
	deadline, _ := ctx.Deadline()
	wanted.Timeout = durationpb.New(max(time.Until(deadline), time.Millisecond))
	return b.ask(ctx, wanted, encoded)
}

func (b *Bus) ask(ctx context.Context, wanted *pb.RequestRequest, encoded []byte) (*Received, error) {
	head, err := encode(wanted, InvalidMessage, "request")
	if err != nil {
		return nil, err
	}
	head = protowire.AppendBytes(protowire.AppendTag(head, requestMessageField, protowire.BytesType), encoded)
	b.stream.mu.Lock()
	if err := b.stream.check(); err != nil {
		b.stream.mu.Unlock()
		return nil, err
	}
	id := b.stream.nextID()
	awaited := b.stream.expect(id)
	b.seal()
	b.stream.put(encodeItem(id, itemRequestField, head), false)
	b.stream.schedule()
	b.stream.mu.Unlock()
	reply, err := b.stream.await(ctx, id, awaited, func() { b.cancelItem(id, &pb.OpenStreamRequest_Cancel{}) })
	if err != nil {
		return nil, err
	}
	said := reply.(*pb.RequestResponse)
	return &Received{Message: said.GetMessage(), Channel: said.GetChannel()}, nil
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
	publishMessageField protowire.Number = 2 // PublishRequest.messages
	requestMessageField protowire.Number = 2 // RequestRequest.message
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
func (b *Bus) openGroup(channel string, stored bool) *group {
	if b.open.count > 0 && (b.open.channel != channel || b.open.stored != stored) {
		b.seal()
	}
	b.open.channel, b.open.stored = channel, stored
	return &b.open
}

func (b *Bus) gatherOne(channel string, stored bool, encoded []byte) {
	open := b.openGroup(channel, stored)
	open.encoded = protowire.AppendTag(open.encoded, publishMessageField, protowire.BytesType)
	open.encoded = protowire.AppendBytes(open.encoded, encoded)
	open.count++
}

// addStored adds the messages of one call, whose receipts come with one answer.
func (b *Bus) addStored(channel string, call waiter) {
	if b.open.count > 0 && b.open.count+len(call.messages) > frameMessages {
		b.seal()
	}
	for _, each := range call.messages {
		b.gatherOne(channel, true, each)
	}
	b.open.waiters = append(b.open.waiters, call)
	b.sealFull()
	b.stream.schedule()
}

func (b *Bus) sealFull() {
	if b.open.count >= frameMessages || len(b.open.encoded) >= frameBytes {
		b.seal()
	}
}

func (b *Bus) add(channel string, stored bool, encoded []byte) {
	b.gatherOne(channel, stored, encoded)
	if b.open.count == 1 { // those that follow go with it
		b.stream.schedule()
	}
	b.sealFull()
}

// seal lets the open group go out with the next frame.
func (b *Bus) seal() {
	open := b.open
	if open.count == 0 {
		return
	}
	b.open = group{}
	head := &pb.PublishRequest{Channel: open.channel}
	var id uint64
	if open.stored {
		head.Durability = pb.Durability_DURABILITY_STORED
		id = b.stream.nextID()
		b.receipts[id] = sent{open.channel, open.waiters}
	}
	encoded, err := proto.MarshalOptions{}.MarshalAppend(open.encoded, head)
	if err != nil { // a channel that was checked has only ASCII
		panic(err)
	}
	b.stream.put(encodeItem(id, itemPublishField, encoded), !open.stored)
}

// say lets an item go out with the next frame, behind all that was published.
func (b *Bus) say(items ...*pb.OpenStreamRequest_ClientItem) {
	b.seal()
	encoded, err := proto.Marshal(&pb.OpenStreamRequest{Items: items})
	if err != nil {
		b.stream.log.Error("what was to be said cannot be encoded", "error", err)
		return
	}
	b.stream.put(encoded, false)
	b.stream.schedule()
}

func (b *Bus) sayOf(id uint64, frame *pb.SubscribeRequest) {
	b.say(&pb.OpenStreamRequest_ClientItem{Id: id, Item: &pb.OpenStreamRequest_ClientItem_Subscribe{Subscribe: frame}})
}

func (b *Bus) cancelItem(id uint64, how *pb.OpenStreamRequest_Cancel) {
	b.say(&pb.OpenStreamRequest_ClientItem{Id: id, Item: &pb.OpenStreamRequest_ClientItem_Cancel{Cancel: how}})
}

// What the stream calls.

func (b *Bus) newFrame() proto.Message { return &pb.OpenStreamResponse{} }

func (b *Bus) gather() {
	for each := range b.touched {
		delete(b.touched, each)
		each.role.gather()
	}
	b.seal()
}

func (b *Bus) touch(subscription *Subscription) {
	b.touched[subscription] = struct{}{}
	b.stream.schedule()
}

func (b *Bus) wentUp(greeting metadata.MD) {
	away := greeting.Get("trunkline-bus")
	b.busAway = len(away) > 0 && away[0] == "away"
	kept := b.stream.waiting
	b.stream.waiting = nil
	open := b.open
	b.open = group{} // nothing of it goes before the subscriptions
	for _, each := range b.subscriptions {
		each.start()
	}
	b.stream.waiting = append(b.stream.waiting, kept...)
	b.open = open
}

func (b *Bus) wentDown(why *Error) {
	for id, each := range b.receipts {
		delete(b.receipts, id)
		fail(each.waiters, why)
	}
	if b.open.stored {
		fail(b.open.waiters, why)
		b.open = group{}
	}
	if b.unconfirmed && b.refused == nil {
		b.refused = why
		b.stream.log.Warn("what was published and not flushed may be lost", "address", string(b.stream.at))
	}
	clear(b.touched)
	for id, each := range b.subscriptions {
		each.role.streamLost()
		if b.stream.closed != nil {
			delete(b.subscriptions, id)
			each.end(why)
		}
	}
}

func fail(waiters []waiter, why error) {
	for _, each := range waiters {
		each.awaited <- answer{err: why}
	}
}

func (b *Bus) take(frame proto.Message) {
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	for _, item := range frame.(*pb.OpenStreamResponse).GetItems() {
		switch came := item.GetItem().(type) {
		case *pb.OpenStreamResponse_ServerItem_Subscription:
			if subscription := b.subscriptions[item.GetId()]; subscription != nil {
				subscription.take(came.Subscription)
			}
		case *pb.OpenStreamResponse_ServerItem_Published:
			b.takeReceipts(item.GetId(), came.Published.GetReceipts())
		case *pb.OpenStreamResponse_ServerItem_Reply:
			b.stream.settle(item.GetId(), came.Reply, nil)
		case *pb.OpenStreamResponse_ServerItem_Error:
			b.takeError(item.GetId(), fromItem(came.Error))
		case *pb.OpenStreamResponse_ServerItem_Pong:
			b.stream.settle(item.GetId(), nil, nil)
		case *pb.OpenStreamResponse_ServerItem_BusConnected:
			b.busAway = false
		}
	}
}

func (b *Bus) takeReceipts(id uint64, receipts []*Receipt) {
	waiters := b.receipts[id].waiters
	delete(b.receipts, id)
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

func (b *Bus) takeError(id uint64, said *Error) {
	if subscription := b.subscriptions[id]; subscription != nil {
		delete(b.subscriptions, id)
		subscription.end(said)
		return
	}
	if refused, found := b.receipts[id]; found {
		delete(b.receipts, id)
		b.refuse(refused, said)
		return
	}
	if b.stream.settle(id, nil, said) {
		return
	}
	if id == 0 { // something live was refused
		b.stream.log.Error("the service refused a message", "error", said)
		if b.refused == nil {
			b.refused = said
		}
	}
}

// refuse fails the call one of whose messages the service refused. Nothing of the frame was published: what other calls had
// in it is sent again.
func (b *Bus) refuse(refused sent, said *Error) {
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
			b.addStored(refused.channel, each)
		}
		index -= len(each.messages)
	}
}

func tooLarge(what string, size, limit int) *Error {
	return newError(MessageTooLarge, codes.InvalidArgument, "the %s has %d bytes, at most %d are allowed", what, size, limit).
		with("size", strconv.Itoa(size), "limit", strconv.Itoa(limit))
}
