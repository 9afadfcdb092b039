package trunkline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "trunkline/v1"
)

const signsOfLife = 3 // within an idle timeout, while a handler runs and says nothing itself

// Failure is an error that a handler of requests returns where who asked shall get a code, and whether the same may be
// asked again with hope. Any other error fails a request with its type and its text.
type Failure struct {
	// Code is for programs, such as "MODEL_OVERLOADED".
	Code string
	// Text is for people.
	Text      string
	Retryable bool
}

func (f *Failure) Error() string { return f.Text }

// Request is a request that this client answers.
type Request struct {
	Received
	// Attempt is the how many-th time it is handed out, from 1.
	Attempt int

	asked *asked
}

// Progress says how far it is, from 0 to 1 and never less than before; of several that wait to be sent the last one counts.
func (r *Request) Progress(fraction float64, text string) error {
	if !(fraction >= 0 && fraction <= 1) {
		return invalid(InvalidMessage, "fraction", fmt.Sprint(fraction), "fraction is %v, it must be from 0 to 1", fraction)
	}
	return r.asked.progress(fraction, text)
}

// Part sends a piece of the outcome to who asked, in order. It waits while they are not read, until the context ends.
func (r *Request) Part(ctx context.Context, message *Message) error {
	return r.asked.part(ctx, message)
}

// Respond answers the requests on a channel or pattern: what the handler returns is the answer; nil means that it is done. An
// error or a panic fails the request, which who asked hears at once as [RequestFailed]. The handler's context ends with the
// request's deadline, and when nobody waits for the answer any more. What is no request is passed over.
func (b *Bus) Respond(
	ctx context.Context, pattern string, handler func(context.Context, *Request) (*Message, error), options ...SubscribeOption,
) (*Subscription, error) {
	s := b.newSubscription(pattern, 1, options)
	if s.options.credit < s.options.concurrency {
		s.options.credit = s.options.concurrency
	}
	s.role = &responder{live: live{subscription: s}, answer: handler}
	s.role.(*responder).clear()
	return s.begin(ctx)
}

// way is a subscription's item on one stream.
type way struct {
	session *session
	id      uint64
}

// responder answers requests, each on the stream on which it came. It is lost with its stream: who asked hears so, and what runs
// is called off.
type responder struct {
	live
	answer  func(context.Context, *Request) (*Message, error)
	askedBy map[string]*asked // by request id: what was handed out, and is not over
	saying  map[*asked]bool   // those that have something to say with the next frame
	source  *way              // the item of another stream whose frame is taken now
	left    map[way]func()    // the streams that it has left, and what is told when nothing is answered there any more
	counted map[way]int       // of other streams: messages taken since credit was granted there
	spares  map[string]entry  // requests that came a second time, on another stream: taken where the first one is called off
}

// asked is one request while it is answered. By the bus's lock.
type asked struct {
	responder *responder
	id        string
	way       way // on which it came, and is answered
	requested *pb.SubscribeResponse_Requested
	deadline  time.Time
	cancel    context.CancelFunc // of a handler that runs
	calledOff bool
	isOver    bool
	credit    int32         // parts that may be sent
	credited  chan struct{} // closed when there is more, or it is over
	fraction  float64
	events    []*pb.LifeEvent
}

func (r *responder) clear() {
	r.askedBy, r.saying, r.left = map[string]*asked{}, map[*asked]bool{}, map[way]func(){}
	r.counted, r.spares = map[way]int{}, map[string]entry{}
}

func (r *responder) start(start *pb.SubscribeRequest_Start) {
	r.live.start(start)
	start.Responder = true
}

func (r *responder) want(start *pb.SubscribeRequest_Start, messages int) {
	r.live.want(start, messages)
	start.Responder = true
}

// now returns its item on the stream of now.
func (r *responder) now() way { return way{r.subscription.session, r.subscription.id} }

// arrivingBy returns where the frame comes from that is taken now.
func (r *responder) arrivingBy() way {
	if r.source != nil {
		return *r.source
	}
	return r.now()
}

// takeFrom takes a frame of another stream than that of now.
func (r *responder) takeFrom(by way, frame *pb.SubscribeResponse) {
	r.source = &by
	r.subscription.takeNow(frame)
	r.source = nil
}

// moved is called when another stream has taken the place of the one before.
func (r *responder) moved() {
	r.taken = r.counted[r.now()]
	clear(r.counted)
	r.done(0)
}

// count counts messages that were taken, for the credit of the stream that brought them.
func (r *responder) count(by way, messages int) {
	if by == r.now() {
		r.done(messages)
	} else {
		r.counted[by] += messages
	}
}

// leave leaves a stream: what came there and was not begun goes to others. `tell` is called when what was begun is answered.
func (r *responder) leave(by way, tell func()) {
	r.letGoAll(by, true)
	r.left[by] = tell
	r.lookAnswered()
}

// lose is called when a stream is lost: who asked there hears so, and what runs is called off.
func (r *responder) lose(by way) {
	delete(r.left, by)
	delete(r.counted, by)
	r.letGoAll(by, false)
}

func (r *responder) letGoAll(by way, butBegun bool) {
	for id, spare := range r.spares {
		if spare.asked.way == by {
			delete(r.spares, id)
		}
	}
	for _, one := range r.askedBy {
		if one.way == by && !(butBegun && one.cancel != nil) {
			r.letGo(one)
		}
	}
}

// letGo answers a request no more, unless it came on another stream too.
func (r *responder) letGo(one *asked) {
	delete(r.askedBy, one.id)
	delete(r.saying, one)
	one.callOff()
	spare, found := r.spares[one.id]
	if found {
		delete(r.spares, one.id)
		r.askedBy[one.id] = spare.asked
		r.count(spare.asked.way, -1) // it counted as taken while it was in reserve
		r.subscription.push(Medium, []entry{spare})
	}
}

func (r *responder) lookAnswered() {
	for by, tell := range r.left {
		isAnswered := true
		for _, one := range r.askedBy {
			isAnswered = isAnswered && one.way != by
		}
		if isAnswered {
			delete(r.left, by)
			tell()
		}
	}
}

func (r *responder) arrived(came *pb.SubscribeResponse_Deliveries) []entry {
	entries := make([]entry, 0, len(came.GetRequests()))
	by := r.arrivingBy()
	for _, requested := range came.GetRequests() {
		at := int(requested.GetIndex())
		if at < 0 || at >= len(came.GetMessages()) {
			r.subscription.log.Error("the service named a request that is none", "index", at)
			continue
		}
		message := came.GetMessages()[at]
		one := &asked{
			responder: r, id: message.GetCorrelationId(), way: by, requested: requested, credit: requested.GetCredit(),
			deadline: time.Now().Add(requested.GetTimeout().AsDuration()), credited: make(chan struct{}),
		}
		waits := entry{message: message, channel: came.GetChannel(), sequence: came.GetFirstSequence() + int64(at), asked: one}
		if _, isKnown := r.askedBy[one.id]; isKnown {
			r.spares[one.id] = waits
			continue
		}
		if !r.subscription.isClosed {
			r.askedBy[one.id] = one
		}
		entries = append(entries, waits)
	}
	r.count(by, len(came.GetMessages())-len(entries))
	return entries
}

func (r *responder) begin(came *entry) bool {
	r.count(came.asked.way, 1)
	return !came.asked.calledOff && !expired(came.message)
}

func (r *responder) other(frame *pb.SubscribeResponse) {
	switch said := frame.GetFrame().(type) {
	case *pb.SubscribeResponse_PartCredit_:
		if one := r.askedBy[said.PartCredit.GetRequestId()]; one != nil && one.way == r.arrivingBy() {
			one.credit += said.PartCredit.GetParts()
			one.wake()
		}
	case *pb.SubscribeResponse_CalledOff_:
		r.callOff(said.CalledOff.GetRequestId())
	case *pb.SubscribeResponse_RefusedResponse_:
		r.refused(said.RefusedResponse)
	default:
		r.live.other(frame)
	}
}

func (r *responder) callOff(id string) {
	by := r.arrivingBy()
	if one := r.askedBy[id]; one != nil && one.way == by {
		r.letGo(one)
		r.lookAnswered()
	} else if spare, found := r.spares[id]; found && spare.asked.way == by {
		delete(r.spares, id)
	}
}

// refused ends a request whose events were refused: who asked would miss them, its end too.
func (r *responder) refused(said *pb.SubscribeResponse_RefusedResponse) {
	why := fromItem(said.GetError())
	r.callOff(said.GetRequestId())
	if errors.Is(why, RequestNotFound) {
		r.subscription.log.Debug("an answer came too late", "error", why)
		return
	}
	r.subscription.log.Warn("an answer was refused", "error", why)
	r.respond(r.arrivingBy(), said.GetRequestId(), []*pb.LifeEvent{failureOf(why)})
}

func (r *responder) respond(by way, id string, events []*pb.LifeEvent) {
	by.session.sayOf(by.id, &pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Respond{
		Respond: &pb.RespondRequest{RequestId: id, Events: events},
	}})
}

func (r *responder) gather() {
	for one := range r.saying {
		delete(r.saying, one)
		for {
			some := one.events[:min(len(one.events), maxReported)]
			size := 0
			for at, each := range some {
				if size += proto.Size(each); size > frameBytes {
					some = some[:max(at, 1)]
					break
				}
			}
			r.respond(one.way, one.id, some)
			if one.events = one.events[len(some):]; len(one.events) == 0 {
				break
			}
		}
		if one.isOver {
			delete(r.askedBy, one.id)
			delete(r.spares, one.id)
		}
	}
	r.lookAnswered()
}

func (r *responder) streamLost() {
	r.subscription.forget()
	r.lose(r.now())
}

// closing takes nothing more; what was accepted is still answered.
func (r *responder) closing() {
	clear(r.spares)
	for id, one := range r.askedBy {
		if one.cancel == nil {
			delete(r.askedBy, id)
		}
	}
	if _, open := r.subscription.session.subscriptions[r.subscription.id]; open {
		r.gather()
		r.subscription.session.cancelItem(r.subscription.id, &pb.OpenStreamRequest_Cancel{Finish: true})
	}
}

// abandon calls off what runs: who asked hears that its responder is lost, and not how its handler took that.
func (r *responder) abandon() {
	for _, one := range r.askedBy {
		if !one.isOver {
			r.letGo(one)
		}
	}
	r.lookAnswered()
}

func (r *responder) run(ctx context.Context, came *entry) {
	one := came.asked
	mu := &r.subscription.bus.mu
	ctx, cancel := context.WithDeadline(ctx, one.deadline)
	defer cancel()
	mu.Lock()
	if one.calledOff {
		mu.Unlock()
		return
	}
	one.cancel = cancel
	one.put(&pb.LifeEvent{Event: &pb.LifeEvent_Accepted_{Accepted: &pb.LifeEvent_Accepted{Responder: r.subscription.options.name}}})
	mu.Unlock()
	if idle := one.requested.GetIdleTimeout(); idle != nil {
		stop := one.live(idle.AsDuration() / signsOfLife)
		defer stop()
	}
	request := &Request{
		Received: Received{Message: came.message, Channel: came.channel, Sequence: came.sequence},
		Attempt:  int(one.requested.GetAttempt()), asked: one,
	}
	var reply *Message
	handler := func(ctx context.Context) (err error) {
		reply, err = r.answer(ctx, request)
		if err == nil && reply != nil {
			_, _, err = r.subscription.bus.encodeMessage(reply, false) // an answer that cannot be sent is a failure
		}
		return err
	}
	r.subscription.invoke(ctx, handler, func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			one.end(&pb.LifeEvent{Event: &pb.LifeEvent_Result_{Result: &pb.LifeEvent_Result{Message: one.named(reply)}}})
			return
		}
		if one.calledOff {
			return
		}
		if !time.Now().Before(one.deadline) { // who asked knows
			delete(r.spares, one.id)
			r.letGo(one)
			r.lookAnswered()
			return
		}
		r.subscription.logFailure(came, err)
		failure := failureOf(err)
		var panicking *panicked
		if one.requested.GetTraceback() && errors.As(err, &panicking) {
			failure.GetFailure().Traceback = cleanText(string(panicking.stack))
		}
		one.end(failure)
	})
}

// live says that a handler is at work, so often; an answer without events does.
func (a *asked) live(every time.Duration) (stop func()) {
	ended := make(chan struct{})
	go func() {
		beat := time.NewTicker(max(every, time.Millisecond))
		defer beat.Stop()
		for {
			select {
			case <-ended:
				return
			case <-beat.C:
			}
			mu := &a.responder.subscription.bus.mu
			mu.Lock()
			if !a.isOver {
				a.touch()
			}
			mu.Unlock()
		}
	}()
	return func() { close(ended) }
}

func (a *asked) progress(fraction float64, text string) error {
	mu := &a.responder.subscription.bus.mu
	mu.Lock()
	defer mu.Unlock()
	if fraction < a.fraction {
		return invalid(InvalidMessage, "fraction", fmt.Sprint(fraction), "fraction is %v, below the %v before", fraction, a.fraction)
	}
	a.fraction = fraction
	if last := len(a.events) - 1; last >= 0 && a.events[last].GetProgress() != nil {
		a.events = a.events[:last]
	}
	a.put(&pb.LifeEvent{Event: &pb.LifeEvent_Progress_{Progress: &pb.LifeEvent_Progress{Fraction: &fraction, Text: cleanText(text)}}})
	return nil
}

func (a *asked) part(ctx context.Context, message *Message) error {
	if _, _, err := a.responder.subscription.bus.encodeMessage(message, false); err != nil {
		return err
	}
	mu := &a.responder.subscription.bus.mu
	mu.Lock()
	defer mu.Unlock()
	for a.requested.Credit != nil && a.credit <= 0 && !a.isOver {
		credited := a.credited
		mu.Unlock()
		select {
		case <-credited:
			mu.Lock()
		case <-ctx.Done():
			mu.Lock()
			return contextError(ctx)
		}
	}
	if a.isOver {
		return newError(RequestNotFound, codes.NotFound, "nobody waits for the answer to request %q any more", a.id).with("request_id", a.id)
	}
	a.credit--
	a.put(&pb.LifeEvent{Event: &pb.LifeEvent_Part_{Part: &pb.LifeEvent_Part{Message: a.named(message)}}})
	return nil
}

// named returns an answer that carries the request's correlation id, as each answer does.
func (a *asked) named(message *Message) *Message {
	if message == nil || message.GetCorrelationId() != "" {
		return message
	}
	named := proto.Clone(message).(*Message)
	named.CorrelationId = a.id
	return named
}

func (a *asked) put(event *pb.LifeEvent) {
	if !a.isOver {
		a.events = append(a.events, event)
		a.touch()
	}
}

func (a *asked) end(event *pb.LifeEvent) {
	a.put(event)
	a.isOver = true
	a.wake()
}

func (a *asked) callOff() {
	a.calledOff, a.isOver, a.events = true, true, nil
	a.wake()
	if a.cancel != nil {
		a.cancel()
	}
}

func (a *asked) wake() {
	close(a.credited)
	a.credited = make(chan struct{})
}

func (a *asked) touch() {
	a.responder.saying[a] = true
	a.way.session.touch(a.responder.subscription)
}

func failureOf(err error) *pb.LifeEvent {
	said := &pb.LifeEvent_Failure{Type: strings.TrimLeft(fmt.Sprintf("%T", err), "*"), Text: errorText(err)}
	var failure *Failure
	var known *Error
	var panicking *panicked
	switch {
	case errors.As(err, &panicking):
		said.Type = "panic"
	case errors.As(err, &failure):
		said.Type, said.Code, said.Retryable = "Failure", cleanText(failure.Code), failure.Retryable
	case errors.As(err, &known):
		said.Code, said.Retryable = string(known.Reason), known.Retryable()
	}
	return &pb.LifeEvent{Event: &pb.LifeEvent_Failure_{Failure: said}}
}

// cleanText returns a text as the wire can carry it: UTF-8.
func cleanText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
