package trunkline

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	pb "trunkline/v1"
)

// Moving: from one session to another, when the service asks for it, without anything lost, doubled or failed.
//
// The new session's stream goes over a connection of its own, so that another replica may answer. It asks for what is live,
// and waits until all of that is confirmed; until then nothing has changed. Then, at one moment, it takes the old one's place:
// there subscriptions end behind their last message, and a ping says when what was published there has arrived at all
// replicas. Until that is answered, what goes out by the new one waits. Durable subscriptions begin there behind their end
// here, for nothing of theirs can be missed; what is leased stays leased. The old session then ends what is under way:
// requests, answers, receipts.

const (
	confirmTime = 10 * time.Second       // what a new session has to confirm all subscriptions
	lingerTime  = 100 * time.Millisecond // how long a session stays that has nothing under way: somebody may be about to use it
	knownTime   = time.Minute            // how long it is known what came on the stream before
)

// moving is one move of a bus. By its lock.
type moving struct {
	cancel context.CancelFunc
	isMade bool          // the new session has the old one's place
	ended  chan struct{} // closed when the new session may send, or the bus stays
}

// visitor takes what comes for an item whose subscription is another session's; with the bus's lock held.
type visitor interface {
	take(*pb.SubscribeResponse)
	// end says that no more comes; nil: as it was asked for.
	end(why *Error)
}

func (s *session) endVisit(id uint64, why *Error) {
	if visits := s.visitors[id]; visits != nil {
		delete(s.visitors, id)
		visits.end(why)
	}
}

// moveIfAsked begins to move where the session of now was asked to; with the lock held.
func (b *Bus) moveIfAsked() {
	if !b.now.isAsked || b.moving != nil || b.stays {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.moving = &moving{cancel: cancel, ended: make(chan struct{})}
	go b.move(ctx, b.moving, b.now)
}

// stay ends a move, or waits for its end where it is made; it moves no more.
func (b *Bus) stay(ctx context.Context) {
	b.mu.Lock()
	b.stays = true
	under := b.moving
	if under != nil && !under.isMade {
		under.cancel()
	}
	b.mu.Unlock()
	if under == nil {
		return
	}
	select {
	case <-under.ended:
	case <-ctx.Done():
		under.cancel()
		<-under.ended
	}
}

func (b *Bus) move(ctx context.Context, under *moving, old *session) {
	defer close(under.ended)
	defer under.cancel()
	b.mu.Lock()
	life := old.stream.lives
	before := old.handovers()
	b.mu.Unlock()
	for _, each := range before { // of the move before this one
		select {
		case <-each.finished:
		case <-ctx.Done():
		}
	}
	made, isOpen := elsewhere(ctx, old.stream, func(ctx context.Context) (*arriving, error) { return b.confirm(ctx, old) })
	if !isOpen {
		b.mu.Lock()
	}
	if !isOpen || b.stays || !old.stream.isUp || old.stream.lives != life {
		b.moving, old.isAsked = nil, false
		if isOpen {
			made.giveUp()
		}
		b.mu.Unlock()
		if isOpen {
			made.session.stream.close()
		}
		return
	}
	now := made.session
	now.handOver(old, made)
	b.now = now
	under.isMade = true
	b.leaving[old] = struct{}{}
	id, awaited, err := old.ping(true)
	b.mu.Unlock()
	if err == nil {
		_, err = old.stream.await(ctx, id, awaited, nil)
	}
	b.mu.Lock()
	old.unconfirmed = false
	if now.refused == nil { // what was refused there is told with the next flush
		now.refused = old.refused
	}
	if now.refused == nil && err != nil {
		now.refused = old.stream.disconnected("it was lost while what was published on it was being sent").because(err)
	}
	b.moving = nil
	b.moveIfAsked()
	b.mu.Unlock()
	now.stream.release()
	go b.windUp(old)
}

// windUp closes a session that another has taken the place of, when nothing is under way there any more.
func (b *Bus) windUp(old *session) {
	isOver := false
	for !isOver {
		old.stream.waitUntil(old.stream.closing, func() bool { return old.isIdle() || !old.stream.isUp })
		select {
		case <-time.After(lingerTime):
		case <-old.stream.closing.Done():
		}
		b.mu.Lock()
		isOver = old.isIdle() || !old.stream.isUp || old.stream.closing.Err() != nil
		b.mu.Unlock()
	}
	old.stream.leave()
	b.mu.Lock()
	delete(b.leaving, old)
	b.mu.Unlock()
}

// isIdle tells whether nothing is under way any more; with the lock held.
func (s *session) isIdle() bool {
	return len(s.visitors) == 0 && len(s.subscriptions) == 0 && len(s.asking) == 0 && len(s.receipts) == 0 &&
		len(s.stream.pending) == 0 && len(s.stream.waiting) == 0 && s.open.count == 0 && s.stream.calls == 0
}

// live returns the live subscriptions that go on; with the lock held.
func (s *session) live() []*Subscription {
	var found []*Subscription
	for _, each := range s.subscriptions {
		if _, isDurable := each.role.(*durable); !isDurable && !each.isClosed && !each.isOver() {
			found = append(found, each)
		}
	}
	return found
}

func (s *session) handovers() []*handover {
	var found []*handover
	for _, each := range s.subscriptions {
		if each.handover != nil {
			found = append(found, each.handover)
		}
	}
	return found
}

// arriving is a new session with what begins there.
type arriving struct {
	session *session
	coming  map[*Subscription]*coming
}

// confirm opens a session and what is live on the old one; it returns when the service serves it. Where it returns no error,
// the lock is held: nothing begins on the old one meanwhile.
func (b *Bus) confirm(ctx context.Context, old *session) (*arriving, error) {
	options := *b.options
	options.wait = false // it may be the replica that stops
	opened, err := b.newSession(&options)
	if err != nil {
		return nil, err
	}
	opened.stream.isQuiet = true
	if err := opened.stream.open(ctx); err != nil {
		return nil, err
	}
	made := &arriving{opened, map[*Subscription]*coming{}}
	ctx, cancel := context.WithTimeoutCause(ctx, confirmTime, opened.stream.disconnected("it did not confirm in time"))
	defer cancel()
	if err := made.confirmAll(ctx, old); err != nil {
		b.mu.Lock()
		made.giveUp()
		b.mu.Unlock()
		opened.stream.close()
		return nil, err
	}
	return made, nil
}

func (a *arriving) confirmAll(ctx context.Context, old *session) error {
	mu := &a.session.bus.mu
	isServed := false // a stream that was let in can have been refused a moment later
	for {
		mu.Lock()
		var missing []*coming
		for _, each := range old.live() {
			if a.coming[each] == nil {
				a.coming[each] = a.session.expectComing(each)
				missing = append(missing, a.coming[each])
			}
		}
		isAway := a.session.busAway
		isLost := !a.session.stream.isUp || a.session.stream.lives != 1
		if isServed && len(missing) == 0 && !isAway && !isLost {
			return nil
		}
		id, awaited, err := a.session.ping(false)
		mu.Unlock()
		switch {
		case isAway:
			return a.session.stream.disconnected("the bus is away there")
		case isLost:
			return a.session.stream.disconnected("it was lost while it was being confirmed")
		case err != nil:
			return err
		}
		for _, each := range missing {
			select {
			case err := <-each.started:
				if err != nil {
					return err
				}
			case <-ctx.Done():
				return contextError(ctx)
			}
		}
		if _, err := a.session.stream.await(ctx, id, awaited, nil); err != nil {
			return err
		}
		isServed = true
	}
}

// giveUp lets the old session go on alone; with the lock held.
func (a *arriving) giveUp() {
	for _, each := range a.coming {
		each.giveUp()
	}
}

// handOver lets this session take the old one's place; with the lock held.
func (s *session) handOver(old *session, made *arriving) {
	s.stream.hold()
	old.gatherTouched()
	for id, each := range old.subscriptions {
		if each.isClosed || each.isOver() {
			continue
		}
		come := made.coming[each]
		durable, isDurable := each.role.(*durable)
		delete(old.subscriptions, id)
		delete(made.coming, each)
		if isDurable {
			old.visitors[id] = &leaving{durable, each, nil}
			old.cancelItem(id, &pb.OpenStreamRequest_Cancel{})
			each.session, each.id = s, s.stream.nextID()
			s.subscriptions[each.id] = each
			each.start()
			continue
		}
		delete(s.visitors, come.at.id)
		old.cancelItem(id, &pb.OpenStreamRequest_Cancel{Finish: true})
		each.session, each.id = s, come.at.id
		s.subscriptions[each.id] = each
		if answers, isResponder := each.role.(*responder); isResponder {
			before := way{old, id}
			old.visitors[id] = &leavingResponder{answers, before}
			answers.moved()
			answers.leave(before, func() { old.cancelItem(id, &pb.OpenStreamRequest_Cancel{NothingBegun: true}) })
			continue
		}
		each.handover = come.handover
		each.handover.isMoved = true
		old.visitors[id] = &leaving{each.role.(*live), each, come.handover}
		each.role.(*live).moved()
	}
	for _, each := range made.coming { // those that were ended meanwhile
		delete(s.visitors, each.at.id)
		s.cancelItem(each.at.id, &pb.OpenStreamRequest_Cancel{})
	}
	s.stream.replace(old.stream)
}

// coming is a live subscription that begins on the new session, and still counts on the old one.
type coming struct {
	subscription *Subscription
	at           way
	started      chan error // gets something once
	handover     *handover  // of a responder: nil
}

// expectComing asks for a subscription of another session; with the lock held.
func (s *session) expectComing(subscription *Subscription) *coming {
	made := &coming{subscription: subscription, at: way{s, s.stream.nextID()}, started: make(chan error, 1)}
	start := &pb.SubscribeRequest_Start{Pattern: subscription.pattern}
	switch role := subscription.role.(type) {
	case *responder:
		role.want(start, subscription.options.credit)
	case *live:
		role.want(start, subscription.options.credit)
		made.handover = &handover{take: subscription.takeHeld, finished: make(chan struct{})}
		if subscription.options.group != "" {
			subscription.handover = made.handover
			break
		}
		if role.overlap == nil {
			role.overlap = &overlap{}
		}
		role.overlap.begin()
		made.handover.overlap = role.overlap
	}
	s.visitors[made.at.id] = made
	s.sayOf(made.at.id, &pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Start_{Start: start}})
	return made
}

func (c *coming) take(frame *pb.SubscribeResponse) {
	switch role, isResponder := c.subscription.role.(*responder); {
	case frame.GetStarted() != nil:
		c.tell(nil)
	case c.handover != nil:
		c.handover.holdNew(frame)
	case isResponder:
		role.takeFrom(c.at, frame)
	}
}

func (c *coming) end(why *Error) {
	if why == nil {
		why = newError(BusDisconnected, codes.Unavailable, "the subscription to %q ended before it began", c.subscription.pattern)
	}
	c.tell(why)
}

func (c *coming) tell(err error) {
	select {
	case c.started <- err:
	default: // it was told
	}
}

// giveUp lets the old session go on alone.
func (c *coming) giveUp() {
	delete(c.at.session.visitors, c.at.id)
	if c.handover != nil {
		c.subscription.handover = nil
		c.handover.forget()
	} else if answers, isResponder := c.subscription.role.(*responder); isResponder {
		answers.lose(c.at)
	}
}

// leaving is a subscription that has left its session, which still brings the last of it.
type leaving struct {
	role         interface{ takeLast(*pb.SubscribeResponse) }
	subscription *Subscription
	handover     *handover
}

func (l *leaving) take(frame *pb.SubscribeResponse) { l.role.takeLast(frame) }

func (l *leaving) end(*Error) {
	if l.handover != nil {
		l.subscription.handover = nil
		l.handover.finish()
	}
}

// leavingResponder is a responder that has left its session, and answers there what it has begun with. What is handed to it there
// still is passed over: the service takes that back, and gives it to others.
type leavingResponder struct {
	responder *responder
	at        way
}

func (l *leavingResponder) take(frame *pb.SubscribeResponse) {
	if frame.GetDeliveries() == nil {
		l.responder.takeFrom(l.at, frame)
	}
}

func (l *leavingResponder) end(why *Error) {
	if why != nil {
		l.responder.lose(l.at)
	}
}

// handover holds back what comes until the stream has ended that is left: for a while both streams have a subscription. Of a group
// each stream brings what the other does not: both wait, and what has come is put in order, for one publisher's sequences rise.
// Of others both may bring the same: what is known from the one that is left is left out. By the bus's lock.
type handover struct {
	take     func(*pb.SubscribeResponse)
	overlap  *overlap // nil: each stream brings its own
	frames   []*pb.SubscribeResponse
	isMoved  bool // the new stream is the one that counts
	lastHeld int  // messages of the old one that wait here
	finished chan struct{}
}

// hold keeps a frame of the stream that counts.
func (h *handover) hold(frame *pb.SubscribeResponse) {
	if h.isMoved {
		h.holdNew(frame)
	} else {
		h.holdLast(frame)
	}
}

func (h *handover) holdNew(frame *pb.SubscribeResponse) { h.frames = append(h.frames, frame) }

func (h *handover) holdLast(frame *pb.SubscribeResponse) {
	h.lastHeld += len(frame.GetDeliveries().GetMessages())
	h.frames = append(h.frames, frame)
}

// finish gives out what waits: the old stream has brought its last.
func (h *handover) finish() {
	frames := h.frames
	h.frames = nil
	if h.overlap != nil {
		h.overlap.end()
	} else {
		slices.SortStableFunc(frames, func(one, other *pb.SubscribeResponse) int {
			return cmp.Compare(one.GetDeliveries().GetFirstSequence(), other.GetDeliveries().GetFirstSequence())
		})
	}
	for _, each := range frames {
		h.take(each)
	}
	close(h.finished)
}

// forget lets the old stream go on: the new one is given up.
func (h *handover) forget() {
	if h.overlap == nil {
		h.finish()
		return
	}
	h.overlap.forget()
	h.frames = nil
	close(h.finished)
}

// takeHeld takes a frame that was held back.
func (s *Subscription) takeHeld(frame *pb.SubscribeResponse) {
	if !s.isClosed {
		s.takeNow(frame)
	}
}

// overlap is what two streams may both bring of one subscription, by its sequences, which are the same at all replicas.
type overlap struct {
	came  map[int64]bool // what comes on the stream that is about to be left; nil: it was left
	known []knownSequences
}

type knownSequences struct {
	until     time.Time
	sequences map[int64]bool
}

// begin says that from now on the other stream may bring what this one does.
func (o *overlap) begin() {
	if o.came == nil {
		o.came = map[int64]bool{}
	}
}

// end says that this stream has brought its last.
func (o *overlap) end() {
	if len(o.came) > 0 {
		o.known = append(o.known, knownSequences{time.Now().Add(knownTime), o.came})
	}
	o.came = nil
}

// forget gives the other stream up: it has brought nothing.
func (o *overlap) forget() { o.came = nil }

// sift returns what is not known.
func (o *overlap) sift(came []entry) []entry {
	for len(o.known) > 0 && time.Now().After(o.known[0].until) {
		o.known = o.known[1:]
	}
	came = slices.DeleteFunc(came, func(each entry) bool {
		return slices.ContainsFunc(o.known, func(known knownSequences) bool { return known.sequences[each.sequence] })
	})
	if o.came != nil {
		for _, each := range came {
			o.came[each.sequence] = true
		}
	}
	return came
}
