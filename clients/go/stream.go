package trunkline

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
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

	mu      sync.Mutex
	isUp    bool
	closed  *Error // why nothing comes any more
	up      chan struct{}
	lastID  uint64
	waiting []chunk
	size    int
	room    chan struct{} // closed when there is room again, or the stream is lost; nil: nobody waits
	wake    chan struct{}
	pending map[uint64]chan answer
}

// chunk is an encoded frame. What is kept goes out in the stream's next life where it did not in this one.
type chunk struct {
	encoded []byte
	kept    bool
}

func newStream(at address, method string, lost Reason, user streamUser, options *options) (*stream, error) {
	conn, trusted, err := options.dial(at, lost)
	if err != nil {
		return nil, err
	}
	return &stream{
		at: at, method: method, lost: lost, user: user, log: options.log, options: options, trusted: trusted, conn: conn,
		ended: make(chan struct{}), up: make(chan struct{}), wake: make(chan struct{}, 1), pending: map[uint64]chan answer{},
	}, nil
}

// open connects, and stays connected until close.
func (s *stream) open(ctx context.Context) error {
	running, cancel := context.WithCancel(context.Background())
	s.closing, s.cancel = running, cancel
	first := make(chan error, 1)
	go s.run(running, first)
	patience := time.NewTimer(s.options.connectTimeout)
	defer patience.Stop()
	var err error
	select {
	case err = <-first:
	case <-ctx.Done():
		err = contextError(ctx)
	case <-patience.C:
		err = newError(s.lost, codes.Unavailable, "%s did not answer within %v", string(s.at), s.options.connectTimeout).
			with("address", string(s.at))
	}
	if err != nil {
		s.close()
	}
	return err
}

// close ends the stream; what is awaited fails. Idempotent.
func (s *stream) close() {
	s.cancel()
	<-s.ended
}

func (s *stream) disconnected(why string) *Error {
	return newError(s.lost, codes.Unavailable, "the connection to %s was lost: %s", string(s.at), why).with("address", string(s.at))
}

// run opens the stream, again and again.
func (s *stream) run(ctx context.Context, first chan<- error) {
	defer close(s.ended)
	bound, told := reconnectMin, ""
	closed := newError(s.lost, codes.Unavailable, "disconnected from %s", string(s.at)).with("address", string(s.at))
	for {
		wasUp, err := s.once(ctx, first)
		if ctx.Err() != nil {
			break
		}
		why := s.asLost(err)
		if wasUp {
			first = nil
			bound = reconnectMin
			s.log.Info("the connection was lost", "address", string(s.at), "error", err)
			if s.options.onDisconnected != nil {
				s.options.onDisconnected(why)
			}
		} else if refused := whyRefused(ctx, s.at, s.trusted); refused != nil {
			if first != nil {
				first <- refused // waiting longer would not help
				break
			}
			if told != refused.Message {
				told = refused.Message
				s.log.Error("the connection is not restored", "address", string(s.at), "error", refused)
			}
		} else if first != nil && (!s.options.wait || why != err) {
			first <- err
			break
		}
		if refused := s.refusal(ctx, err); first == nil && refused != nil {
			s.log.Error("the service is not called any more", "address", string(s.at), "error", refused)
			closed = refused
			break
		}
		select {
		case <-time.After(rand.N(bound) + 1):
			bound = min(2*bound, reconnectMax)
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	s.closed = closed
	s.goDown(closed)
	s.mu.Unlock()
	if err := s.conn.Close(); err != nil {
		s.log.Debug("the connection was closed already", "error", err)
	}
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
	call, err := s.conn.NewStream(ctx, description, s.method, grpc.ForceCodecV2(frameCodec{encoding.GetCodecV2("proto")}))
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
	s.user.wentUp(greeting)
	close(s.up)
	s.mu.Unlock()
	if first != nil {
		first <- nil
	} else if s.options.onReconnected != nil {
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
