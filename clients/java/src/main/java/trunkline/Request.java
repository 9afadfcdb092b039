package trunkline;

import com.google.protobuf.util.Durations;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.Condition;
import trunkline.v1.LifeEvent;
import trunkline.v1.Message;
import trunkline.v1.SubscribeResponse.Requested;

/** A request that this client answers. */
public final class Request extends Received {
    private final RespondSubscription subscription;
    final Way way; // on which it came, and is answered
    final Requested requested;
    final long deadline; // of the clock that only rises
    final Invocation invocation = new Invocation();
    private final CompletableFuture<Void> calledOff = new CompletableFuture<>();

    // All below by the lock.
    private final Condition credited; // there is more credit, or it is over
    private final ArrayDeque<LifeEvent> events = new ArrayDeque<>(); // what waits to be said
    private int credit; // parts that may be sent
    private double fraction;
    private boolean isCalledOff;
    private boolean isOver;
    boolean hasBegun;

    Request(RespondSubscription subscription, Way way, Message message, String channel, long sequence, Requested requested) {
        super(message, channel, sequence);
        this.subscription = subscription;
        this.way = way;
        this.requested = requested;
        this.credit = requested.getCredit();
        this.deadline = System.nanoTime() + Durations.toNanos(requested.getTimeout());
        this.credited = subscription.lock.newCondition();
    }

    String id() {
        return message().getCorrelationId();
    }

    /** Returns the how many-th time it is handed out, from 1. */
    public int attempt() {
        return requested.getAttempt();
    }

    /** Returns how much of its time is left. */
    public Duration remaining() {
        return Duration.ofNanos(Math.max(deadline - System.nanoTime(), 0));
    }

    /** Returns what is done when nobody waits for the answer any more. */
    public CompletableFuture<Void> calledOff() {
        return calledOff.copy();
    }

    /** Says how far it is, from 0 to 1 and never less than before; of several that wait to be sent the last one counts. */
    public void progress(double fraction, String text) {
        if (!(fraction >= 0 && fraction <= 1)) {
            throw TrunklineException.invalid(
                    Reason.INVALID_MESSAGE, "fraction", fraction, "fraction is " + fraction + ", it must be from 0 to 1");
        }
        subscription.lock.lock();
        try {
            if (fraction < this.fraction) {
                throw TrunklineException.invalid(
                        Reason.INVALID_MESSAGE, "fraction", fraction, "fraction is " + fraction + ", below the " + this.fraction + " before");
            }
            this.fraction = fraction;
            if (!events.isEmpty() && events.peekLast().hasProgress()) {
                events.removeLast();
            }
            put(LifeEvent.newBuilder()
                    .setProgress(LifeEvent.Progress.newBuilder().setFraction(fraction).setText(Subscription.cleanText(text)))
                    .build());
        } finally {
            subscription.lock.unlock();
        }
    }

    /**
     * Sends a piece of the outcome to who asked, in order. It waits while they are not read.
     *
     * @throws TrunklineException REQUEST_NOT_FOUND: nobody waits for the answer any more
     */
    public void part(Message message) throws InterruptedException {
        Messages.encode(message, subscription.bus.options.maxMessageBytes);
        subscription.lock.lock();
        try {
            while (requested.hasCredit() && credit <= 0 && !isOver) {
                credited.await();
            }
            if (isOver) {
                throw new TrunklineException(
                        Reason.REQUEST_NOT_FOUND, io.grpc.Status.Code.NOT_FOUND,
                        "nobody waits for the answer to request \"" + id() + "\" any more", java.util.Map.of("request_id", id()));
            }
            credit--;
            put(LifeEvent.newBuilder().setPart(LifeEvent.Part.newBuilder().setMessage(named(message))).build());
        } finally {
            subscription.lock.unlock();
        }
    }

    /** Returns an answer that carries the request's correlation id, as each answer does. */
    Message named(Message message) {
        return message.getCorrelationId().isEmpty() ? message.toBuilder().setCorrelationId(id()).build() : message;
    }

    // All below is called with the lock held.

    ArrayDeque<LifeEvent> events() {
        return events;
    }

    boolean isCalledOff() {
        return isCalledOff;
    }

    boolean isOver() {
        return isOver;
    }

    void put(LifeEvent event) {
        if (!isOver) {
            events.addLast(event);
            subscription.touch(this);
        }
    }

    void end(LifeEvent event) {
        put(event);
        isOver = true;
        credited.signalAll();
    }

    void addCredit(int parts) {
        credit += parts;
        credited.signalAll();
    }

    void callOff() {
        isCalledOff = true;
        isOver = true;
        events.clear();
        credited.signalAll();
        invocation.interrupt();
        Threads.complete(calledOff, null);
    }
}
