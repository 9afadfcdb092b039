package trunkline;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.BooleanSupplier;
import trunkline.v1.OpenStreamRequest.Cancel;
import trunkline.v1.SubscribeRequest;
import trunkline.v1.SubscribeResponse;

/**
 * Moves a bus from one session to another without anything lost, doubled or failed.
 *
 * <p>The new session asks for what is live, and waits until all of that is confirmed; until then nothing has changed. Then, at one
 * moment, it takes the old one's place: there subscriptions end behind their last message, and a ping says when what was published there
 * has arrived at all replicas. Until that is answered, what goes out by the new one waits. Durable subscriptions begin there behind
 * their end here, for nothing of theirs can be missed; what is leased stays leased. The old session then ends what is under way:
 * requests, answers, receipts.
 */
final class SessionMover extends Mover<Session> {
    private static final Duration CONFIRM = Duration.ofSeconds(10); // what a new session has to confirm all subscriptions

    private final Bus bus;
    private CompletableFuture<Void> sent = CompletableFuture.completedFuture(null); // of the last move; see settle

    SessionMover(Bus bus) {
        super(bus.lock, bus.newSession());
        this.bus = bus;
    }

    @Override
    void arrive(Session old, BooleanSupplier isWanted) {
        for (CompletableFuture<Void> each : handovers(old)) { // of the move before this one
            await(each);
        }
        Session made = bus.newSession();
        Map<LiveSubscription, Coming> coming = new HashMap<>();
        try {
            await(made.stream.openBeside());
            confirm(made, old, coming, isWanted);
        } catch (RuntimeException | Error away) {
            lock.lock();
            try {
                coming.values().forEach(Coming::giveUp);
            } finally {
                lock.unlock();
            }
            made.stream.close();
            throw away;
        }
    }

    private List<CompletableFuture<Void>> handovers(Session old) {
        lock.lock();
        try {
            return live(old).stream().filter(each -> each.handover != null).map(each -> each.handover.finished()).toList();
        } finally {
            lock.unlock();
        }
    }

    /** Returns the live subscriptions that go on; with the lock held. */
    private static List<LiveSubscription> live(Session of) {
        return of.subscriptions.values().stream()
                .filter(each -> each instanceof LiveSubscription && !each.isClosed() && !each.isOver())
                .map(LiveSubscription.class::cast)
                .toList();
    }

    /** Asks for all that is live on the old session, and takes its place when all of it is served. */
    private void confirm(Session made, Session old, Map<LiveSubscription, Coming> coming, BooleanSupplier isWanted) {
        CompletableFuture<Void> late =
                MultiplexedStream.timed(CONFIRM, () -> made.stream.disconnected("it did not confirm in time", null));
        try {
            boolean isServed = false; // a stream that was let in can have been refused a moment later
            while (true) {
                List<Coming> missing = new ArrayList<>();
                CompletableFuture<Void> pong = new CompletableFuture<>();
                lock.lock();
                try {
                    check(made, isWanted);
                    for (LiveSubscription each : live(old)) {
                        if (!coming.containsKey(each)) {
                            Coming come = new Coming(each, made);
                            coming.put(each, come);
                            missing.add(come);
                        }
                    }
                    if (isServed && missing.isEmpty()) { // and nothing begins on the old one meanwhile
                        handOver(made, old, coming);
                        return;
                    }
                    made.ping(false, pong, () -> {});
                } finally {
                    lock.unlock();
                }
                for (Coming each : missing) {
                    await(each.started, late);
                }
                await(pong, late);
                isServed = true;
            }
        } finally {
            late.cancel(false);
        }
    }

    private static void check(Session made, BooleanSupplier isWanted) {
        if (!isWanted.getAsBoolean()) {
            throw made.stream.disconnected("the one that it was to take the place of was lost or closed", null);
        }
        if (made.isAway) {
            throw made.stream.disconnected("the bus is away there", null);
        }
        if (!made.stream.isUp() || made.stream.lives() != 1) {
            throw made.stream.disconnected("it was lost while it was being confirmed", null);
        }
    }

    /** Lets a session take the old one's place; with the lock held. */
    private void handOver(Session made, Session old, Map<LiveSubscription, Coming> coming) {
        takePlace(made, old);
        old.gatherTouched();
        for (Subscription each : List.copyOf(old.subscriptions.values())) {
            if (each.isClosed() || each.isOver()) {
                continue;
            }
            Way before = each.way;
            old.subscriptions.remove(before.id());
            Coming come = each instanceof LiveSubscription live ? coming.remove(live) : null;
            each.way = come == null ? Way.on(made) : come.way;
            made.visitors.remove(each.way.id());
            made.subscriptions.put(each.way.id(), each);
            if (each instanceof RespondSubscription responder) {
                responder.moved();
                LeavingResponder.leave(responder, before);
            } else if (come != null) {
                before.cancel(Cancel.newBuilder().setFinish(true).build());
                LiveSubscription live = come.subscription;
                live.handover = come.handover;
                live.handover.moved();
                old.visitors.put(before.id(), new Leaving(live, live.handover));
                live.moved();
            } else {
                before.cancel(Cancel.getDefaultInstance());
                old.visitors.put(before.id(), new Leaving(each, null));
                each.start();
            }
        }
        coming.values().forEach(Coming::leave); // those that were ended meanwhile
        coming.clear();
        sent = new CompletableFuture<>();
        old.ping(true, sent, () -> {});
    }

    @Override
    void settle(Session old) {
        await(sent);
    }

    /** A live subscription that begins on the new session, and still counts on the old one. */
    private static final class Coming implements Visitor {
        final LiveSubscription subscription;
        final Way way;
        final CompletableFuture<Void> started = new CompletableFuture<>();
        final Handover handover; // null: of a responder

        Coming(LiveSubscription subscription, Session session) {
            this.subscription = subscription;
            this.way = Way.on(session);
            this.handover = subscription.expectHandover();
            session.visitors.put(way.id(), this);
            SubscribeRequest.Start.Builder start = SubscribeRequest.Start.newBuilder().setPattern(subscription.pattern);
            subscription.want(start, subscription.credit);
            way.say(SubscribeRequest.newBuilder().setStart(start));
        }

        @Override
        public void take(SubscribeResponse frame) {
            if (frame.hasStarted()) {
                Threads.complete(started, null);
            } else if (subscription instanceof RespondSubscription responder) {
                responder.takeFrom(way, frame);
            } else {
                handover.holdNew(frame);
            }
        }

        @Override
        public void end(TrunklineException why) {
            Threads.fail(started, why == null ? subscription.notBegun() : why);
        }

        /** Ends it here, where it was ended there. */
        void leave() {
            if (subscription instanceof RespondSubscription responder) {
                LeavingResponder.leave(responder, way);
            } else {
                way.session().visitors.remove(way.id());
                way.cancel(Cancel.getDefaultInstance());
            }
        }

        /** Lets the old session go on alone. */
        void giveUp() {
            way.session().visitors.remove(way.id());
            if (subscription instanceof RespondSubscription responder) {
                responder.lose(way);
            } else {
                subscription.handover = null;
                handover.forget();
            }
        }
    }

    /** A subscription that has left its session, which still brings the last of it. */
    private record Leaving(Subscription subscription, Handover handover) implements Visitor {
        @Override
        public void take(SubscribeResponse frame) {
            subscription.takeLast(frame);
        }

        @Override
        public void end(TrunklineException why) {
            if (handover != null) {
                ((LiveSubscription) subscription).handover = null;
                handover.finish();
            }
        }
    }

    /**
     * A responder that has left its session, and answers there what it has begun with. What is handed to it there still is passed over:
     * the service takes that back, and gives it to others.
     */
    private record LeavingResponder(RespondSubscription responder, Way way) implements Visitor {
        static void leave(RespondSubscription responder, Way way) {
            way.session().visitors.put(way.id(), new LeavingResponder(responder, way));
            way.cancel(Cancel.newBuilder().setFinish(true).build());
            responder.leave(way, () -> way.cancel(Cancel.newBuilder().setNothingBegun(true).build()));
        }

        @Override
        public void take(SubscribeResponse frame) {
            if (!frame.hasDeliveries()) {
                responder.takeFrom(way, frame);
            }
        }

        @Override
        public void end(TrunklineException why) {
            if (why != null) {
                responder.lose(way);
            }
        }
    }
}
