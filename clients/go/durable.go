package trunkline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "trunkline/v1"
)

const (
	defaultAckWait = 30 * time.Second
	ackedFor       = 5 * time.Second // acks that were sent so lately are sent again after a reconnect
)

// Leased is a message that a durable subscription handed to this client. It is settled once: by what its handler returns, or by
// one of its methods before. Until then its lease is extended automatically.
type Leased struct {
	Received
	// Attempt is the how many-th time it is handed out, from 1.
	Attempt int

	durable   *durable
	isSettled bool // by the bus's lock
}

// SubscribeDurable gives each stored message of a channel or pattern to a handler, at least once: the durable subscription of
// that name keeps them until they are settled, also while nobody is connected, and is made here where there is none. All
// who name it share its messages. A handler that returns nil acks; an error or a panic naks with its text, and the message
// comes again by the subscription's backoff, until it is a dead letter.
func (b *Bus) SubscribeDurable(
	ctx context.Context, pattern, name string, handler func(context.Context, *Leased) error, options ...SubscribeOption,
) (*Subscription, error) {
	s := b.newSubscription(pattern, 1, options)
	d := &durable{
		subscription: s, name: name, handler: handler, held: map[int64]int32{}, given: map[int64]*Leased{},
		ackWait: defaultAckWait, acks: map[int32][]int64{}, repeated: map[int64]bool{},
	}
	s.role = d
	if name == "" || len(name) > maxChannel {
		s.cancel()
		return nil, invalid(InvalidMessage, "durable", name, "a durable subscription has a name of 1 to 255 characters")
	}
	if s.options.group != "" || s.options.observer || s.options.onLagged != nil {
		s.cancel()
		return nil, invalid(InvalidMessage, "durable", name, "a durable subscription has no group, no observers, and never lags")
	}
	return s.begin(ctx)
}

// Ack says that the message is done. A [StaleAck] says that it was handed on before; settling twice is no error.
func (l *Leased) Ack() error {
	return l.settle(func(d *durable) { d.acks[l.attempt()] = append(d.acks[l.attempt()], l.Sequence) })
}

// Nak says that it failed with an error, and shall be tried again: by the subscription's backoff, or after a delay where
// one is given, which may be 0.
func (l *Leased) Nak(why error, delay ...time.Duration) error {
	nak := &pb.Nak{Attempt: l.attempt(), Sequences: []int64{l.Sequence}, Error: errorText(why)}
	if len(delay) > 0 {
		nak.Delay = durationpb.New(delay[0])
	}
	return l.settle(func(d *durable) { d.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Nak{Nak: nak}}) })
}

// Terminate says that it can never be done: it becomes a dead letter now, with the reason.
func (l *Leased) Terminate(reason string) error {
	said := &pb.Terminate{Attempt: l.attempt(), Sequences: []int64{l.Sequence}, Reason: cleanText(reason)}
	return l.settle(func(d *durable) { d.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Terminate{Terminate: said}}) })
}

// Release says that it was not begun: somebody else gets it, and no attempt is counted.
func (l *Leased) Release() error {
	said := &pb.Release{Attempt: l.attempt(), Sequences: []int64{l.Sequence}}
	return l.settle(func(d *durable) { d.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Release{Release: said}}) })
}

// Extend lets its lease end so long from now; 0: the subscription's own. It is extended automatically while it is held.
func (l *Leased) Extend(lease time.Duration) error {
	extend := &pb.Extend{Attempt: l.attempt(), Sequences: []int64{l.Sequence}}
	if lease != 0 {
		extend.Lease = durationpb.New(lease)
	}
	mu := &l.durable.subscription.bus.mu
	mu.Lock()
	defer mu.Unlock()
	if l.isSettled {
		return l.stale()
	}
	l.durable.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Extend{Extend: extend}})
	return nil
}

func (l *Leased) attempt() int32 { return int32(l.Attempt) } //nolint:gosec // it came as one

func (l *Leased) stale() *Error {
	return newError(StaleAck, codes.FailedPrecondition, "message %d of %q, attempt %d, is not held any more", l.Sequence, l.durable.name, l.Attempt).
		with("durable", l.durable.name, "sequence", fmt.Sprint(l.Sequence), "attempt", fmt.Sprint(l.Attempt))
}

func (l *Leased) settle(say func(*durable)) error {
	d := l.durable
	mu := &d.subscription.bus.mu
	mu.Lock()
	defer mu.Unlock()
	if l.isSettled {
		return nil
	}
	l.isSettled = true
	if d.held[l.Sequence] != l.attempt() {
		return l.stale()
	}
	delete(d.held, l.Sequence)
	delete(d.given, l.Sequence)
	d.freed++
	say(d)
	d.rest()
	d.subscription.session.touch(d.subscription)
	return nil
}

// durable holds what the service leased to this client. All leases are extended at a third of their time.
type durable struct {
	subscription *Subscription
	name         string
	handler      func(context.Context, *Leased) error

	held       map[int64]int32   // the attempt by sequence
	given      map[int64]*Leased // of that, what handlers have
	ackWait    time.Duration
	extendedAt time.Time // when all leases began anew for the last time
	due        time.Time // when the timer is to go off
	timer      *time.Timer
	paused     bool
	acks       map[int32][]int64 // what is to be acked, by attempt
	sentAcks   []sentAck         // those that were sent lately
	repeated   map[int64]bool    // of these, the ones that were sent again: the service may know them
	freed      int               // settled since credit was granted last
}

type sentAck struct {
	at        time.Time
	attempt   int32
	sequences []int64
}

func (d *durable) start(start *pb.SubscribeRequest_Start) {
	credit := int32(max(1, d.subscription.options.credit-len(d.held))) //nolint:gosec // bounded by whoever set it
	start.Durable, start.Credit = d.name, &credit
	start.Position, start.Settings = d.subscription.options.position, d.subscription.options.settings
	d.freed = 0
}

// takeLast takes a frame of the stream that it has left.
func (d *durable) takeLast(frame *pb.SubscribeResponse) {
	if !d.subscription.isClosed { // else what it brings stays leased until its time is over
		d.freed -= len(frame.GetDeliveries().GetMessages()) // those had the credit of that stream
		d.subscription.takeNow(frame)
	}
}

// started says again what may not have arrived: what is held is extended, and late acks are sent again.
func (d *durable) started() {
	d.extend()
	clear(d.repeated)
	for _, each := range d.sentAcks {
		d.acks[each.attempt] = append(d.acks[each.attempt], each.sequences...)
		for _, sequence := range each.sequences {
			d.repeated[sequence] = true
		}
	}
	d.sentAcks = nil
	d.subscription.session.touch(d.subscription)
}

func (d *durable) say(frame *pb.SubscribeRequest) {
	d.subscription.session.sayOf(d.subscription.id, frame)
}

// byAttempt says something of messages, in as many frames as it takes.
func (d *durable) byAttempt(sequences map[int32][]int64, say func(attempt int32, some []int64)) {
	for attempt, all := range sequences {
		for len(all) > 0 {
			some := all[:min(len(all), maxSettled)]
			say(attempt, some)
			all = all[len(some):]
		}
	}
}

func (d *durable) gather() {
	now := time.Now()
	for len(d.sentAcks) > 0 && now.Sub(d.sentAcks[0].at) > ackedFor {
		d.sentAcks = d.sentAcks[1:]
	}
	d.byAttempt(d.acks, func(attempt int32, some []int64) {
		d.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Ack{Ack: &pb.Ack{Attempt: attempt, Sequences: some}}})
		d.sentAcks = append(d.sentAcks, sentAck{now, attempt, some})
	})
	clear(d.acks)
	if d.freed > 0 && !d.subscription.isOver() {
		d.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Credit_{
			Credit: &pb.SubscribeRequest_Credit{Messages: int32(d.freed)}, //nolint:gosec // bounded by the credit
		}})
		d.freed = 0
	}
}

func (d *durable) arrived(came *pb.SubscribeResponse_Deliveries) []entry {
	now := time.Now()
	entries := make([]entry, len(came.GetMessages()))
	for at, message := range came.GetMessages() {
		sequence := came.GetFirstSequence() + int64(at)
		d.held[sequence] = came.GetAttempt()
		entries[at] = entry{
			message: message, channel: came.GetChannel(), sequence: sequence, attempt: came.GetAttempt(), cameAt: now,
		}
	}
	if d.subscription.isClosed { // they were on their way when it was closed
		d.release()
		return nil
	}
	if d.timer == nil {
		d.arm()
	}
	return entries
}

func (d *durable) other(frame *pb.SubscribeResponse) {
	if started := frame.GetStarted(); started != nil {
		d.now(started.GetAckWait(), started.GetPaused())
	}
	if changed := frame.GetChanged(); changed != nil {
		d.now(changed.GetAckWait(), changed.GetPaused())
	}
	if refused := frame.GetRefused(); refused != nil {
		d.refused(refused)
	}
}

func (d *durable) now(ackWait *durationpb.Duration, paused bool) {
	if lease := ackWait.AsDuration(); ackWait != nil && lease != d.ackWait {
		d.ackWait = lease
		if d.timer != nil {
			d.timer.Stop()
			d.extend()
			d.arm()
		}
	}
	if paused != d.paused {
		d.paused = paused
		d.subscription.log.Info("a durable subscription was paused or resumed", "durable", d.name, "paused", paused)
		if d.subscription.options.onPaused != nil {
			go d.subscription.options.onPaused(paused)
		}
	}
}

func (d *durable) refused(said *pb.SubscribeResponse_Refused) {
	isRepeated, lost := true, 0
	for _, sequence := range said.GetSequences() {
		if d.held[sequence] == said.GetAttempt() && said.GetAttempt() != 0 {
			d.lose(sequence)
			lost++
		}
		isRepeated = isRepeated && d.repeated[sequence]
	}
	if lost == 0 && isRepeated {
		return // they were acked before the stream was lost, and again when it came back
	}
	if why := fromItem(said.GetError()); d.subscription.options.onError != nil || lost > 0 {
		d.subscription.tell(why)
	} else {
		d.subscription.log.Warn("what was said of messages came too late", "durable", d.name, "error", why)
	}
}

// lose gives up a message: it is another subscriber's now, or waits for one.
func (d *durable) lose(sequence int64) {
	delete(d.held, sequence)
	if given := d.given[sequence]; given != nil {
		given.isSettled = true
		delete(d.given, sequence)
	}
	d.freed++
	d.rest()
	d.subscription.session.touch(d.subscription)
}

func (d *durable) begin(came *entry) bool {
	if d.held[came.sequence] != came.attempt {
		return false // its lease was lost while it waited here
	}
	begun := came.cameAt
	if d.extendedAt.After(begun) {
		begun = d.extendedAt
	}
	if time.Since(begun) > d.ackWait { // another subscriber may be at it by now
		d.lose(came.sequence)
		return false
	}
	if expired(came.message) {
		delete(d.held, came.sequence)
		d.freed++
		d.rest()
		d.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Terminate{Terminate: &pb.Terminate{
			Sequences: []int64{came.sequence}, Attempt: came.attempt, Reason: "its TTL was over while it waited for a handler",
		}}})
		d.subscription.session.touch(d.subscription)
		return false
	}
	d.given[came.sequence] = &Leased{
		Received: Received{Message: came.message, Channel: came.channel, Sequence: came.sequence},
		Attempt:  int(came.attempt), durable: d,
	}
	return true
}

func (d *durable) run(ctx context.Context, came *entry) {
	mu := &d.subscription.bus.mu
	mu.Lock()
	leased := d.given[came.sequence]
	mu.Unlock()
	if leased == nil {
		return // it was lost just now
	}
	handler := func(ctx context.Context) error { return d.handler(ctx, leased) }
	d.subscription.invoke(ctx, handler, func(err error) {
		var settled error
		if err == nil {
			settled = leased.Ack()
		} else {
			d.subscription.logFailure(came, err)
			settled = leased.Nak(err)
		}
		if settled != nil {
			d.subscription.log.Warn("a message was handed on before it was settled", "error", settled)
		}
	})
}

func (d *durable) streamLost() {}

// closing gives back what was not begun.
func (d *durable) closing() { d.release() }

func (d *durable) release() {
	unstarted := map[int32][]int64{}
	for sequence, attempt := range d.held {
		if d.given[sequence] == nil {
			unstarted[attempt] = append(unstarted[attempt], sequence)
			delete(d.held, sequence)
		}
	}
	d.byAttempt(unstarted, func(attempt int32, some []int64) {
		d.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Release{Release: &pb.Release{Attempt: attempt, Sequences: some}}})
	})
	d.rest()
}

// abandon naks what handlers have: it will not be settled.
func (d *durable) abandon() {
	for sequence, each := range d.given {
		each.isSettled = true
		delete(d.held, sequence)
		delete(d.given, sequence)
		d.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Nak{Nak: &pb.Nak{
			Sequences: []int64{sequence}, Attempt: each.attempt(), Delay: durationpb.New(0),
			Error: "the client closed before the message was settled",
		}}})
	}
	d.rest()
}

// extend lets all leases begin anew.
func (d *durable) extend() {
	if len(d.held) == 0 || !d.subscription.session.stream.isUp {
		return
	}
	d.extendedAt = time.Now()
	all := map[int32][]int64{}
	for sequence, attempt := range d.held {
		all[attempt] = append(all[attempt], sequence)
	}
	d.byAttempt(all, func(attempt int32, some []int64) {
		d.say(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Extend{Extend: &pb.Extend{Attempt: attempt, Sequences: some}}})
	})
}

func (d *durable) arm() {
	d.due = time.Now().Add(d.ackWait / 3)
	d.timer = time.AfterFunc(d.ackWait/3, d.onTime)
}

func (d *durable) onTime() {
	mu := &d.subscription.bus.mu
	mu.Lock()
	defer mu.Unlock()
	if d.timer == nil || time.Until(d.due) > 0 {
		return // it was armed anew meanwhile
	}
	late := time.Since(d.due)
	d.timer = nil
	if late > d.ackWait/3 { // this process stood still: what was not begun may be with another by now
		for sequence := range d.held {
			if d.given[sequence] == nil {
				d.lose(sequence)
			}
		}
	}
	if _, open := d.subscription.session.subscriptions[d.subscription.id]; open && len(d.held) > 0 {
		d.extend()
		d.arm()
	}
}

// rest stops extending where nothing is held.
func (d *durable) rest() {
	if len(d.held) == 0 && d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// errorText returns an error's text as the wire can carry it.
func errorText(why error) string {
	if why == nil {
		return ""
	}
	var panicking *panicked
	if errors.As(why, &panicking) {
		why = panicking
	}
	return cleanText(why.Error())
}
