package trunkline

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// streamUser is told what happens to a stream. All but newFrame, take and told are called with the stream's lock held.
type streamUser interface {
	// newFrame makes the message that a frame is read into.
	newFrame() proto.Message
	// take takes a frame that arrived.
	take(frame proto.Message)
	// wentUp puts what must be sent before anything else, when the stream is up, first or again.
	wentUp(greeting metadata.MD)
	// wentDown fails or keeps what was under way.
	wentDown(why *Error)
	// gather puts what waits to be said into the frame that goes next.
	gather()
}

// answer is what came for one item.
type answer struct {
	value any
	err   error
}

// stream is the client's end of one long stream, which restores itself, with the answers that are awaited on it.
//
// Frames are sent one at a time, each as soon as the one before it is written: no timer. Frames are repeated fields, so
// that encoded frames joined are one frame of all their items: what gathered while one was written is the next. An idle
// stream has the latency of one item, a busy one sends hundreds a frame.
type stream struct {
	at      address
	method  string
	lost    Reason
	user    streamUser
	log     *slog.Logger
	options *options
	trusted *tls.Config
	conn    *grpc.ClientConn
	cancel  context.CancelFunc
	closing context.Context // ends with close
	ended   chan struct{}   // closed when run has returned
	hurry   context.Context // ends when calls beside the stream are not waited for any more
	abandon context.CancelFunc

	mu      *sync.Mutex // one for all streams of a client
	isUp    bool
	lives   int    // how often it came up
	isHeld  bool   // what is put waits; see hold
	isGone  bool   // another has taken its place: it is not restored
	isQuiet bool   // the user hears nothing of it
	calls   int    // beside the stream, that have not ended
	closed  *Error // why nothing comes any more
	up      chan struct{}
	lastID  uint64
	waiting []chunk
	size    int
	room    chan struct{} // closed when there is room again, or the stream is lost; nil: nobody waits
	wake    chan struct{}
	changed chan struct{} // gets something when something has ended here
	pending map[uint64]chan answer
}

// chunk is an encoded frame. What is kept goes out in the stream's next life where it did not in this one.
type chunk struct {
	encoded []byte
	kept    bool
}

func newStream(
	at address, method string, lost Reason, user streamUser, given *options, mu *sync.Mutex,
) (*stream, error) {
	options := *given // each connection has what it gives of its own
	conn, trusted, err := options.dial(at, lost)
	if err != nil {
		return nil, err
	}
	hurry, abandon := context.WithCancel(context.Background())
	return &stream{
		at: at, method: method, lost: lost, user: user, log: options.log, options: &options, trusted: trusted, conn: conn,
		hurry: hurry, abandon: abandon, mu: mu, ended: make(chan struct{}), up: make(chan struct{}),
		wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), pending: map[uint64]chan answer{},
	}, nil
}

// open connects, and stays connected until close.
func (s *stream) open(ctx context.Context) error {
	running, cancel := context.WithCancel(context.Background())
	s.closing, s.cancel = running, cancel
	first := make(chan error, 1)
	opening, ended := context.WithTimeoutCause(ctx, s.options.connectTimeout, newError(
		s.lost, codes.Unavailable, "%s did not answer within %v", string(s.at), s.options.connectTimeout,
	).with("address", string(s.at)))
	defer ended()
	go s.run(running, opening, first)
	var err error
	select {
	case err = <-first:
	case <-opening.Done():
		err = contextError(opening)
	}
	if err != nil {
		s.close()
	}
	return err
}

// close ends the stream; what is awaited fails. Idempotent.
func (s *stream) close() {
	s.abandon()
	s.leave()
}

// leave ends the stream; the connection stays until the calls beside it have ended, or close is called.
func (s *stream) leave() {
	s.cancel()
	<-s.ended
}

func (s *stream) disconnected(why string) *Error {
	return newError(s.lost, codes.Unavailable, "the connection to %s was lost: %s", string(s.at), why).with("address", string(s.at))
}

// run opens the stream, again and again. The first time is told to who waits for it, until `opening` ends.
func (s *stream) run(ctx, opening context.Context, first chan<- error) {
	defer close(s.ended)
	bound, told := reconnectMin, ""
	closed := newError(s.lost, codes.Unavailable, "disconnected from %s", string(s.at)).with("address", string(s.at))
	for {
		wasUp, err := s.once(ctx, first)
		if ctx.Err() != nil {
			break
		}
		if wasUp {
			first, bound = nil, reconnectMin
		}
		why, next := s.asLost(err), delay(bound, err)
		if wasUp {
			s.log.Info("the connection was lost", "address", string(s.at), "error", err)
			isGone, isQuiet := s.standing()
			if !isQuiet && s.options.onDisconnected != nil {
				s.options.onDisconnected(why)
			}
			if isGone {
				closed = why
				break
			}
		} else if refused := s.whyUnreachable(ctx, err); refused != nil {
			if first != nil {
				first <- refused // waiting longer would not help
				break
			}
			if told != refused.Message {
				told = refused.Message
				s.log.Error("the connection is not restored", "address", string(s.at), "error", refused)
			}
		} else if first != nil && !s.isTriedAgain(opening, err, next) {
			first <- err
			break
		}
		if refused := s.refusal(ctx, err); first == nil && refused != nil {
			s.log.Error("the service is not called any more", "address", string(s.at), "error", refused)
			closed = refused
			break
		}
		select {
		case <-time.After(next):
			bound = min(2*bound, reconnectMax)
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	s.closed = closed
	s.goDown(closed)
	s.mu.Unlock()
	s.waitForCalls()
	if err := s.conn.Close(); err != nil {
		s.log.Debug("the connection was closed already", "error", err)
	}
}

// isTriedAgain tells whether a stream that was not opened yet is tried again, after `next`: who is not there is waited for, or the
// service refuses it for now, and `opening` has not ended by then.
func (s *stream) isTriedAgain(opening context.Context, err error, next time.Duration) bool {
	if _, isForNow := waitOf(err); isForNow {
		deadline, _ := opening.Deadline()
		return next < time.Until(deadline)
	}
	return s.options.wait && errors.Is(err, s.lost)
}

// refusal returns why the service does not take this client any more, where to try again is of no use: it has said so, to the
// token that there is. Else nil.
func (s *stream) refusal(ctx context.Context, err error) *Error {
	var said *Error
	if !errors.As(err, &said) || (said.Reason != Unauthenticated && said.Reason != PermissionDenied) || s.options.bearer.hasOther(ctx) {
		return nil
	}
	return said
}

// whyUnreachable returns why no connection can be made, where TLS is the reason. It connects to ask, unless the service has
// answered.
func (s *stream) whyUnreachable(ctx context.Context, err error) *Error {
	var said *Error
	if errors.As(err, &said) && said.Metadata["grpc_status"] == "" {
		return nil
	}
	return whyRefused(ctx, s.at, s.trusted)
}

// asLost returns an error as that of a lost connection.
func (s *stream) asLost(err error) *Error {
	var said *Error
	if errors.As(err, &said) && said.Reason == s.lost {
		return said
	}
	return s.disconnected(err.Error()).because(err)
}

// once opens the stream and reads it to its end; tells whether it was accepted, and why it ended.
func (s *stream) once(ctx context.Context, first chan<- error) (wasUp bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.conn.ResetConnectBackoff() // the delays between tries are those of run
	description := &grpc.StreamDesc{StreamName: "OpenStream", ServerStreams: true, ClientStreams: true}
	call, err := s.conn.NewStream(moves(ctx), description, s.method, grpc.ForceCodecV2(frameCodec{encoding.GetCodecV2("proto")}))
	if err != nil {
		return false, fromCall(ctx, err, s.lost)
	}
	greeting, err := call.Header() // the service sends it when it has accepted the stream
	if err != nil {
		return false, fromCall(ctx, err, s.lost)
	}
	if greeting == nil { // the stream is over: what it ended with is told by the read
		return false, fromCall(ctx, s.readEnd(call), s.lost)
	}
	s.mu.Lock()
	s.isUp = true
	s.lives++
	s.user.wentUp(greeting)
	close(s.up)
	isQuiet := s.isQuiet
	s.mu.Unlock()
	if first != nil {
		first <- nil
	} else if !isQuiet && s.options.onReconnected != nil {
		s.options.onReconnected()
	}
	written := make(chan struct{})
	go s.write(ctx, call, written)
	s.schedule()
	for err == nil {
		frame := s.user.newFrame()
		if err = call.RecvMsg(frame); err == nil {
			s.user.take(frame)
		}
	}
	cancel()
	<-written
	if errors.Is(err, io.EOF) {
		err = s.disconnected("the service ended the stream")
	}
	err = fromCall(ctx, err, s.lost)
	s.mu.Lock()
	s.goDown(s.asLost(err))
	s.mu.Unlock()
	return true, err
}

func (s *stream) readEnd(call grpc.ClientStream) error {
	err := call.RecvMsg(s.user.newFrame())
	if err == nil || errors.Is(err, io.EOF) {
		return s.disconnected("the service ended the stream")
	}
	return err
}

// goDown fails what is awaited, with the lock held.
func (s *stream) goDown(why *Error) {
	if s.isUp {
		s.isUp = false
		s.up = make(chan struct{})
	}
	kept := s.waiting[:0]
	s.size = 0
	for _, each := range s.waiting {
		if each.kept {
			kept = append(kept, each)
			s.size += len(each.encoded)
		}
	}
	clear(s.waiting[len(kept):])
	s.waiting = kept
	for id, awaited := range s.pending {
		delete(s.pending, id)
		awaited <- answer{err: why}
	}
	s.user.wentDown(why)
	s.makeRoom()
	s.hasChanged()
	if s.closed != nil {
		select {
		case <-s.up:
		default:
			close(s.up) // whoever waits for it looks at closed
		}
	}
}

// write sends what waits until the stream is lost.
func (s *stream) write(ctx context.Context, call grpc.ClientStream, written chan<- struct{}) {
	defer close(written)
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		runtime.Gosched() // whoever is ready to say something says it in this frame
		for {
			s.mu.Lock()
			frame := s.nextFrame()
			s.mu.Unlock()
			if len(frame) == 0 {
				break
			}
			if err := call.SendMsg(encodedFrame(frame)); err != nil {
				return // the reader learns why
			}
		}
	}
}

// nextFrame joins what waits to one frame of about frameBytes, or one that was larger when it was put.
func (s *stream) nextFrame() []byte {
	if s.isHeld {
		return nil
	}
	s.user.gather()
	size, count := 0, 0
	for _, each := range s.waiting {
		if count > 0 && size+len(each.encoded) > frameBytes {
			break
		}
		size += len(each.encoded)
		count++
	}
	if count == 0 {
		return nil
	}
	var frame []byte
	if count == 1 {
		frame = s.waiting[0].encoded
	} else {
		frame = make([]byte, 0, size)
		for _, each := range s.waiting[:count] {
			frame = append(frame, each.encoded...)
		}
	}
	rest := copy(s.waiting, s.waiting[count:])
	clear(s.waiting[rest:])
	s.waiting = s.waiting[:rest]
	s.size -= size
	if s.size <= bufferBytes/2 {
		s.makeRoom()
	}
	return frame
}

func (s *stream) makeRoom() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// put lets an encoded frame go out behind all that was put before; with the lock held.
func (s *stream) put(encoded []byte, kept bool) {
	if !s.isUp && !kept {
		return
	}
	s.waiting = append(s.waiting, chunk{encoded, kept})
	s.size += len(encoded)
}

// schedule says that there is something to send or to gather.
func (s *stream) schedule() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// nextID returns an id that nothing on this stream has; with the lock held.
func (s *stream) nextID() uint64 {
	s.lastID++
	return s.lastID
}

// expect returns where the answer to an item comes; with the lock held.
func (s *stream) expect(id uint64) chan answer {
	awaited := make(chan answer, 1)
	s.pending[id] = awaited
	return awaited
}

// settle gives an answer to whoever awaits it, if somebody does; with the lock held.
func (s *stream) settle(id uint64, value any, err error) bool {
	awaited, found := s.pending[id]
	if found {
		delete(s.pending, id)
		awaited <- answer{value, err}
		s.hasChanged()
	}
	return found
}

// await waits for an answer. Where the context ends first, `left` says what becomes of the item, with the lock held.
func (s *stream) await(ctx context.Context, id uint64, awaited <-chan answer, left func()) (any, error) {
	select {
	case came := <-awaited:
		return came.value, came.err
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		select {
		case came := <-awaited:
			return came.value, came.err
		default:
		}
		delete(s.pending, id)
		if left != nil {
			left()
		}
		return nil, contextError(ctx)
	}
}

// check returns why nothing can be sent now; with the lock held.
func (s *stream) check() error {
	if s.closed != nil {
		return s.closed
	}
	if !s.isUp {
		return s.disconnected("it is being restored")
	}
	return nil
}

// waitUp waits until the stream is up.
func (s *stream) waitUp(ctx context.Context) error {
	for {
		s.mu.Lock()
		err, up := s.check(), s.up
		closed := s.closed
		s.mu.Unlock()
		if closed != nil {
			return closed
		}
		if err == nil {
			return nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return s.asLost(err).because(contextError(ctx))
		}
	}
}

// pace waits, with the lock held before and after, while the buffer is full.
func (s *stream) pace(ctx context.Context) error {
	for s.size > bufferBytes {
		if !s.isUp {
			return s.disconnected("its buffer of 4194304 bytes is full")
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
			s.mu.Lock()
		case <-ctx.Done():
			s.mu.Lock()
			return contextError(ctx)
		}
	}
	return nil
}

// What a move needs: a client that is asked to go elsewhere opens another stream, which takes the place of this one.

const lookAgain = time.Second // after which is looked whether a stream is idle, for what ends without a word

// moves promises the service to move when it asks for it; see `Move` in move.proto.
func moves(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "trunkline-moves", "1")
}

// hold lets what is put wait until release, so that something else goes before it; with the lock held.
func (s *stream) hold() { s.isHeld = true }

func (s *stream) release() {
	s.mu.Lock()
	s.isHeld = false
	s.mu.Unlock()
	s.schedule()
}

// standing tells whether another stream has taken its place, and whether the user hears nothing of it.
func (s *stream) standing() (isGone, isQuiet bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isGone, s.isQuiet
}

// replace lets this stream take the place of another; with the lock held.
func (s *stream) replace(old *stream) {
	s.isQuiet = false
	old.isGone, old.isQuiet = true, true
}

// hasChanged says that something has ended here.
func (s *stream) hasChanged() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// waitUntil waits, until the context ends, for something that is looked at with the lock held whenever something has ended here.
func (s *stream) waitUntil(ctx context.Context, isSo func() bool) {
	for {
		s.mu.Lock()
		done := isSo()
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-s.changed:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return
		}
	}
}

func (s *stream) waitForCalls() {
	s.waitUntil(s.hurry, func() bool { return s.calls == 0 })
}

// elsewhere opens a stream that shall take the place of `old`, as often as it takes. False: `old` was lost meanwhile, and
// comes back by itself, or the context has ended.
func elsewhere[T any](ctx context.Context, old *stream, open func(context.Context) (T, error)) (opened T, isOpen bool) {
	old.mu.Lock()
	life := old.lives
	old.mu.Unlock()
	for bound := reconnectMin; ; bound = min(2*bound, reconnectMax) {
		var err error
		if opened, err = open(ctx); err == nil {
			return opened, true
		}
		old.log.Info("the service asks to move, which cannot be done yet", "address", string(old.at), "error", err)
		select {
		case <-time.After(delay(bound, err)):
		case <-ctx.Done():
		}
		old.mu.Lock()
		isWanted := ctx.Err() == nil && old.isUp && old.lives == life
		old.mu.Unlock()
		if !isWanted {
			return opened, false
		}
	}
}

// beside makes the calls beside a client's stream, by the connection of now.
type beside struct {
	// now returns the stream of now; called with the lock of all streams held.
	now     func() *stream
	mu      *sync.Mutex
	closing context.Context // ends when the client is closed
}

func (b beside) begin(options []grpc.CallOption) (on *grpc.ClientConn, with []grpc.CallOption, ended func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	now.calls++
	ended = sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		now.calls--
		now.hasChanged()
	})
	return now.conn, append(options[:len(options):len(options)], grpc.OnFinish(func(error) { ended() })), ended
}

// Invoke makes a call of one answer; see [again].
func (b beside) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	asking, cancel := withDefault(ctx) // one call may take longer
	defer cancel()
	_, err := again(asking, b.closing, func() (any, error) {
		conn, with, ended := b.begin(options)
		defer ended()
		return reply, conn.Invoke(ctx, method, request, reply, with...)
	})
	return err
}

// NewStream opens a stream, which stays with its connection.
func (b beside) NewStream(
	ctx context.Context, description *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	conn, options, ended := b.begin(options)
	opened, err := conn.NewStream(ctx, description, method, options...)
	if err != nil {
		ended()
	}
	return opened, err
}

// encodedFrame is a frame that is encoded already.
type encodedFrame []byte

// frameCodec sends encoded frames as they are, and reads frames as protobuf does.
type frameCodec struct{ encoding.CodecV2 }

func (c frameCodec) Marshal(value any) (mem.BufferSlice, error) {
	if frame, ok := value.(encodedFrame); ok {
		return mem.BufferSlice{mem.SliceBuffer(frame)}, nil
	}
	return c.CodecV2.Marshal(value)
}

// encode encodes a message of the wire. It fails where a text of it is no UTF-8.
func encode(message proto.Message, reason Reason, field string) ([]byte, error) {
	encoded, err := proto.Marshal(message)
	if err != nil {
		return nil, invalid(reason, field, "", "%s cannot be encoded: %v", field, err).because(err)
	}
	return encoded, nil
}
