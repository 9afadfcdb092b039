package trunkline;

import com.google.protobuf.ByteString;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.Condition;
import java.util.function.Consumer;
import trunkline.v1.Message;
import trunkline.v1.OpenStreamRequest.Cancel;
import trunkline.v1.Priority;
import trunkline.v1.SubscribeRequest;
import trunkline.v1.SubscribeResponse;
import trunkline.v1.SubscribeResponse.Deliveries;

/** One interest of this client. Each life of the connection asks for it anew. */
public abstract sealed class Subscription implements AutoCloseable permits LiveSubscription, DurableSubscription {
    static final System.Logger LOG = System.getLogger("trunkline");
    private static final int LEVELS = Priority.PRIORITY_CRITICAL_VALUE + 1;

    final Bus bus;
    final ClientLock lock;
    final String pattern;
    final SubscribeOptions options;
    final int credit;

    // All below by the lock.
    Way way; // on the stream of now
    private final Condition arrived;
    private final List<ArrayDeque<Entry>> levels = new ArrayList<>(LEVELS); // what was sent ahead, by priority
    private int waiting;
    private final CompletableFuture<Subscription> registering = new CompletableFuture<>();
    private boolean isKnown; // whether it is registered was told
    private final Set<Invocation> running = new HashSet<>();
    private int working;
    private boolean isClosed; // nobody wants more
    private boolean isOver; // no more comes
    private TrunklineException ended;
    private final CompletableFuture<Void> done = new CompletableFuture<>();
    private final CompletableFuture<Void> drained = new CompletableFuture<>();

    /** A message that waits here. */
    static class Entry {
        final Message message;
        final String channel;
        final long sequence;
        final int attempt;
        final long cameAt = System.nanoTime();

        Entry(Message message, String channel, long sequence, int attempt) {
            this.message = message;
            this.channel = channel;
            this.sequence = sequence;
            this.attempt = attempt;
        }
    }

    Subscription(Bus bus, String pattern, SubscribeOptions options, int window) {
        Channels.checkPattern(pattern);
        options.check();
        this.bus = bus;
        this.lock = bus.lock;
        this.pattern = pattern;
        this.options = options;
        this.credit = options.credit == 0 ? Math.max(window, 2 * options.concurrency) : options.credit;
        this.arrived = lock.newCondition();
        for (int level = 0; level < LEVELS; level++) {
            levels.add(new ArrayDeque<>());
        }
    }

    // What distinguishes a live subscription, a durable one and one that responds; all but `run` with the lock held.

    /** Fills in what is asked of the service. */
    abstract void fill(SubscribeRequest.Start.Builder start);

    /** Says what comes behind that. */
    void started() {}

    /** Returns what waits of what came. */
    abstract List<? extends Entry> arrived(Deliveries came);

    /** Takes what is neither deliveries nor a start. */
    abstract void other(SubscribeResponse frame);

    /** Tells whether a message that waited is still to be handled. */
    abstract boolean begin(Entry came);

    /** Handles a message to its end. It throws nothing. */
    abstract void run(Entry came);

    /** Says what has gathered. */
    void gather() {}

    /** The stream was lost. */
    void streamLost() {}

    /** Gives back what was not begun. */
    abstract void closing();

    /** Gives up what handlers have. */
    void abandoning() {}

    /** Returns what is subscribed to. */
    public String pattern() {
        return pattern;
    }

    /**
     * Returns what is done when no more messages come: the subscription was ended here, or fails with why the service ended it. It
     * cannot be ended by it.
     */
    public CompletableFuture<Void> done() {
        return done.copy();
    }

    /**
     * Takes no more messages; done when the handlers that run have ended and what they said is on its way. What was not begun goes to
     * others at once, without an attempt counted.
     */
    public CompletableFuture<Void> drain() {
        stop();
        return drained.thenRun(this::leave);
    }

    /**
     * Takes no more messages and interrupts the threads of the handlers that run, without waiting for them; what they hold of a durable
     * subscription is given up as failed.
     */
    @Override
    public void close() {
        lock.lock();
        try {
            stop();
            abandoning();
            running.forEach(Invocation::interrupt);
            leave(); // before a handler can say how it ended
        } finally {
            lock.unlock();
        }
    }

    /** Takes no more messages; what was handed out goes on. */
    void stop() {
        lock.lock();
        try {
            if (isClosed) {
                return;
            }
            isClosed = true;
            forgetWaiting();
            closing();
            registered(notBegun());
            finish(null);
        } finally {
            lock.unlock();
        }
    }

    TrunklineException notBegun() {
        return new TrunklineException(
                Reason.BUS_DISCONNECTED, io.grpc.Status.Code.UNAVAILABLE,
                "the subscription to \"" + pattern + "\" was ended before it began");
    }

    /** Ends it at the service, behind all that was said of it. */
    private void leave() {
        lock.lock();
        try {
            if (way.isOpen()) {
                way.session().forget(this);
                gather();
                way.cancel(Cancel.newBuilder().setNothingBegun(true).build());
            }
        } finally {
            lock.unlock();
        }
    }

    /** Asks for it, and lets the handlers begin. Done when the service has registered it. */
    CompletableFuture<Subscription> begin() {
        lock.lock();
        try {
            Session session = bus.now();
            if (session.stream.closed() != null) {
                throw session.stream.closed();
            }
            way = Way.on(session);
            session.subscriptions.put(way.id(), this);
            working = options.concurrency;
            if (way.isUp()) {
                start();
            }
        } finally {
            lock.unlock();
        }
        for (int worker = 1; worker <= options.concurrency; worker++) {
            new Thread(this::work, "trunkline-" + pattern + "-" + worker).start();
        }
        CompletableFuture<Subscription> told =
                MultiplexedStream.timed(bus.options.callTimeout, TrunklineException::late);
        registering.whenComplete((self, why) -> {
            if (why == null) {
                told.complete(self);
            } else {
                told.completeExceptionally(why);
            }
        });
        told.whenComplete((self, why) -> {
            if (why != null) {
                close();
            }
        });
        return told;
    }

    // All below but work and invoke is called with the lock held.

    /** Asks the service for it, in this life of the stream. */
    void start() {
        SubscribeRequest.Start.Builder start = SubscribeRequest.Start.newBuilder().setPattern(pattern);
        fill(start);
        say(SubscribeRequest.newBuilder().setStart(start));
        started();
    }

    void say(SubscribeRequest.Builder frame) {
        way.say(frame);
    }

    /** The service's end of it, or that of the connection: what waits is still handled. */
    void end(TrunklineException why) {
        boolean hasBegun = isKnown;
        registered(why);
        if (!isClosed) {
            if (hasBegun) {
                tell(why);
            }
            finish(why);
        } else {
            finish(null);
        }
    }

    /** Tells who asked for it whether it is registered. */
    private void registered(TrunklineException why) {
        if (isKnown) {
            return;
        }
        isKnown = true;
        if (why == null) {
            Threads.complete(registering, this);
        } else {
            Threads.fail(registering, why);
        }
    }

    private void finish(TrunklineException why) {
        if (!isOver) {
            isOver = true;
            ended = why;
            arrived.signalAll();
            rest();
        }
    }

    /** Tells whether the service has registered it, now or on a stream that was lost. */
    boolean isKnown() {
        return isKnown;
    }

    boolean isOver() {
        return isOver;
    }

    boolean isClosed() {
        return isClosed;
    }

    int waiting() {
        return waiting;
    }

    /** Notes that no more comes, and that nothing runs any more, where that is so. */
    private void rest() {
        if (!isOver) {
            return;
        }
        if (ended == null) {
            Threads.complete(done, null);
        } else {
            Threads.fail(done, ended);
        }
        if (working == 0) {
            Threads.complete(drained, null);
        }
    }

    /** Says to the user what went wrong beside the messages. */
    void tell(TrunklineException why) {
        if (options.onError != null) {
            Threads.tell(() -> options.onError.accept(why));
        } else {
            LOG.log(System.Logger.Level.ERROR, "something went wrong with the subscription to {0}: {1}", pattern, why.toString());
        }
    }

    void forgetWaiting() {
        levels.forEach(ArrayDeque::clear);
        waiting = 0;
    }

    /** Takes a frame of the stream of now. */
    void take(SubscribeResponse frame) {
        takeNow(frame);
    }

    /** Takes a frame of the stream that it has left. */
    abstract void takeLast(SubscribeResponse frame);

    void takeNow(SubscribeResponse frame) {
        switch (frame.getFrameCase()) {
            case DELIVERIES -> {
                List<? extends Entry> entries = arrived(frame.getDeliveries());
                if (isClosed || entries.isEmpty()) {
                    return;
                }
                int level = frame.getDeliveries().getPriorityValue();
                push(level < 1 || level >= LEVELS ? Priority.PRIORITY_MEDIUM_VALUE : level, entries);
            }
            case STARTED -> {
                other(frame);
                registered(null);
            }
            default -> other(frame);
        }
    }

    /** Lets messages wait for a handler. */
    void push(int level, List<? extends Entry> entries) {
        levels.get(level).addAll(entries);
        waiting += entries.size();
        if (entries.size() == 1) {
            arrived.signal();
        } else {
            arrived.signalAll();
        }
    }

    /** Returns the next message, the higher priority first; null when no more comes. */
    private Entry next() {
        while (true) {
            for (int level = LEVELS - 1; level >= 0; level--) {
                for (Entry came; (came = levels.get(level).pollFirst()) != null; ) {
                    waiting--;
                    if (begin(came)) {
                        return came;
                    }
                }
            }
            if (isOver) {
                return null;
            }
            lock.await(arrived);
        }
    }

    /** Gives messages to the handler, one after the other. */
    private void work() {
        while (true) {
            Entry came;
            lock.lock();
            try {
                came = next();
                if (came == null) {
                    working--;
                    rest();
                    return;
                }
            } finally {
                lock.unlock();
            }
            run(came);
        }
    }

    /** Calls a handler and gives its end to `settle`, exactly once: what it threw, null, or that it took too long. */
    void invoke(Invocation invocation, Invocation.Handling handler, Consumer<Throwable> settle) {
        lock.lock();
        try {
            running.add(invocation);
        } finally {
            lock.unlock();
        }
        try {
            settle.accept(options.handlerTimeout == null ? invocation.call(handler) : callWithin(invocation, handler));
        } catch (RuntimeException | Error broken) {
            LOG.log(System.Logger.Level.ERROR, "a message could not be settled", broken);
        } finally {
            lock.lock();
            try {
                running.remove(invocation);
            } finally {
                lock.unlock();
            }
        }
    }

    private Throwable callWithin(Invocation invocation, Invocation.Handling handler) {
        FutureTask<Throwable> task = new FutureTask<>(() -> invocation.call(handler));
        Threads.POOL.execute(task);
        try {
            return task.get(options.handlerTimeout.toNanos(), TimeUnit.NANOSECONDS);
        } catch (TimeoutException late) {
            invocation.interrupt();
            return new TimeoutException("the handler took longer than " + options.handlerTimeout);
        } catch (InterruptedException | ExecutionException unexpected) {
            return unexpected; // nobody interrupts this thread, and the task throws nothing
        }
    }

    void logFailure(Entry came, Throwable why) {
        LOG.log(
                System.Logger.Level.ERROR,
                "a handler failed: message " + came.message.getMessageId() + " of " + came.message.getSenderId() + " on " + came.channel
                        + (came.attempt > 0 ? ", attempt " + came.attempt : ""),
                why);
    }

    /** Returns what went wrong as the wire can carry it: as text of whole characters. */
    static String textOf(Throwable why) {
        return why == null ? "" : cleanText(why.getMessage() == null ? why.toString() : why.getMessage());
    }

    /** Returns a text without halves of characters, which UTF-8 does not have. */
    static String cleanText(String text) {
        return text == null ? "" : ByteString.copyFromUtf8(text).toStringUtf8();
    }
}
