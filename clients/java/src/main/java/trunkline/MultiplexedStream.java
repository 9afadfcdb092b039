package trunkline;

import com.google.protobuf.MessageLite;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.KnownLength;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;

/**
 * The client's end of one long stream, which restores itself, with the answers that are awaited on it.
 *
 * <p>Frames are sent one at a time, each as soon as the one before it is written: no timer. Frames are repeated fields, so that
 * encoded frames joined are one frame of all their items: what gathered while one was written is the next. An idle stream has the
 * latency of one item, a busy one sends hundreds a frame.
 *
 * @param <F> the frames that come
 */
final class MultiplexedStream<F extends MessageLite> {
    static final int FRAME_BYTES = 256 * 1024;
    static final int FRAME_MESSAGES = 512;
    static final int BUFFER_BYTES = 4 * 1024 * 1024; // what publish takes before it waits for the service
    static final long RECONNECT_MIN_MILLIS = 50;
    static final long RECONNECT_MAX_MILLIS = 5000;
    private static final int WRITTEN = 1; // the call is ready for more when less than this is unwritten
    private static final long LOOK_AGAIN = TimeUnit.SECONDS.toNanos(1); // after which is looked whether a stream is idle
    private static final Metadata.Key<String> MOVES = Metadata.Key.of("trunkline-moves", Metadata.ASCII_STRING_MARSHALLER);
    private static final System.Logger LOG = System.getLogger("trunkline");

    /** Is told what happens to a stream, with its lock held. */
    interface User<F> {
        /** Takes a frame that arrived. */
        void take(F frame);

        /** Puts what must be sent before anything else, when the stream is up, first or again. */
        void wentUp(Metadata greeting);

        /** Fails or keeps what was under way. */
        void wentDown(TrunklineException why);

        /** Puts what waits to be said into the frame that goes next. */
        void gather();
    }

    final Connection connection;
    final ClientLock lock;
    private final String lost;
    private final MethodDescriptor<byte[], F> method;
    private final User<F> user;

    private final Condition room;
    private final Condition changed; // something has ended here
    private final CountDownLatch closing = new CountDownLatch(1);
    private final CountDownLatch ended = new CountDownLatch(1);

    // All below by the lock.
    private boolean isUp;
    private long lives; // how often it came up
    private TrunklineException closed; // why nothing comes any more
    private boolean waits; // whether the first connection is waited for
    private CompletableFuture<Void> up = new CompletableFuture<>(); // done when it is up, or closed
    private ClientCall<byte[], F> call;
    private ArrayDeque<Chunk> waiting = new ArrayDeque<>();
    private int size;
    private boolean isScheduled;
    private long lastId;
    private final Map<Long, Awaited<?>> pending = new HashMap<>();
    private boolean isAsked; // the service asks to move
    private boolean isQuiet; // the user hears nothing of it
    private boolean isHeld; // what is put waits; see hold
    private boolean isReplaced; // another has taken its place: it is not restored
    private int calls; // beside the stream, that have not ended
    private boolean hurries; // calls are not waited for

    /** An encoded frame. What is kept goes out in the stream's next life where it did not in this one. */
    private record Chunk(byte[] encoded, boolean isKept) {}

    /** Who awaits an answer, and what is read of it. */
    private record Awaited<T>(CompletableFuture<T> future, Function<Object, T> read, Predicate<TrunklineException> again) {
        void settle(Object answer) {
            try {
                Threads.complete(future, read.apply(answer));
            } catch (TrunklineException none) {
                Threads.fail(future, none);
            }
        }
    }

    MultiplexedStream(
            Connection connection, String lost, MethodDescriptor<?, F> method, User<F> user, ClientLock lock) {
        this.connection = connection;
        this.lost = lost;
        this.lock = lock;
        this.room = lock.newCondition();
        this.changed = lock.newCondition();
        this.user = user;
        this.method = method.toBuilder(new Encoded(), method.getResponseMarshaller()).build();
    }

    /** Connects, and stays connected until it is closed. */
    CompletableFuture<Void> open() {
        return open(connection.options.waits, connection.options.connectTimeout);
    }

    /** Connects to take the place of another stream: nothing is waited for, and nobody is told. */
    CompletableFuture<Void> openBeside() {
        isQuiet = true;
        return open(false, Duration.ZERO);
    }

    /**
     * @param waits whether a service that cannot be reached is waited for
     * @param timeout within which one that refuses it for now is asked again
     */
    private CompletableFuture<Void> open(boolean waits, Duration timeout) {
        this.waits = waits;
        long ends = System.nanoTime() + timeout.toNanos();
        CompletableFuture<Void> first = new CompletableFuture<>();
        Duration patience = connection.options.connectTimeout;
        Runnable late = () -> Threads.fail(first, lost(address() + " did not answer within " + patience, null));
        var timer = Threads.CLOCK.schedule(late, patience.toNanos(), TimeUnit.NANOSECONDS);
        first.whenComplete((up, why) -> {
            timer.cancel(false);
            if (why != null) {
                beginClose();
            }
        });
        Threads.daemons("trunkline-" + address() + "-").newThread(() -> run(first, ends)).start();
        return first;
    }

    /** Ends the stream; what is awaited fails. Idempotent. */
    void close() {
        lock.lock();
        try {
            hurries = true;
            hasChanged();
        } finally {
            lock.unlock();
        }
        leave();
    }

    /** Ends the stream; the connection stays until the calls beside it have ended, or `close` is called. */
    void leave() {
        beginClose();
        boolean isInterrupted = false;
        while (true) {
            try {
                ended.await();
                break;
            } catch (InterruptedException interrupted) {
                isInterrupted = true; // it ends at once in any case
            }
        }
        if (isInterrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private void beginClose() {
        closing.countDown();
        lock.lock();
        try {
            if (call != null) {
                call.cancel("closed", null);
            }
        } finally {
            lock.unlock();
        }
    }

    String address() {
        return connection.at.text();
    }

    boolean isClosing() {
        return closing.getCount() == 0;
    }

    private TrunklineException lost(String words, Throwable cause) {
        return new TrunklineException(lost, Status.Code.UNAVAILABLE, words, Map.of("address", address()), cause);
    }

    TrunklineException disconnected(String why, Throwable cause) {
        return lost("the connection to " + address() + " was lost: " + why, cause);
    }

    /** Opens the stream, again and again. */
    private void run(CompletableFuture<Void> first, long ends) {
        TrunklineException why = lost("disconnected from " + address(), null);
        try {
            TrunklineException refused = runUntilRefused(first, ends);
            why = refused == null ? why : refused;
        } catch (RuntimeException | Error broken) {
            LOG.log(System.Logger.Level.ERROR, "a stream broke", broken);
            why = new TrunklineException(Reason.INTERNAL, Status.Code.INTERNAL, "the client broke: " + broken, Map.of(), broken);
        } finally {
            lock.lock();
            try {
                closed = why;
                goDown(why);
            } finally {
                lock.unlock();
            }
            Threads.fail(first, why);
            awaitChange(() -> calls == 0 || hurries);
            connection.close();
            ended.countDown();
        }
    }

    private TrunklineException runUntilRefused(CompletableFuture<Void> first, long ends) {
        long bound = RECONNECT_MIN_MILLIS;
        boolean wasEverUp = false;
        String told = "";
        while (true) {
            Life life = new Life(wasEverUp ? null : first);
            TrunklineException why = life.untilEnd();
            Duration wait = why.retryAfter();
            long pause = wait == null ? 0 : wait.toNanos();
            if (isClosing()) {
                return null;
            }
            if (life.wasUp) {
                wasEverUp = true;
                bound = RECONNECT_MIN_MILLIS;
                LOG.log(System.Logger.Level.INFO, "{0}", why.getMessage());
                TrunklineException asLost = asLost(why);
                if (!is(() -> isQuiet)) {
                    Threads.tell(() -> connection.options.onDisconnected.accept(asLost));
                }
                if (is(() -> isReplaced)) {
                    return asLost;
                }
            } else {
                TrunklineException refused = why.isOfService() ? null : connection.whyRefused();
                boolean isAskedAgain = wait == null ? waits && why.is(lost) : System.nanoTime() + pause - ends < 0;
                if (!wasEverUp && (refused != null || !isAskedAgain)) {
                    return refused == null ? why : refused; // waiting longer would not help
                }
                if (refused != null && !told.equals(refused.getMessage())) {
                    told = refused.getMessage();
                    LOG.log(System.Logger.Level.ERROR, "the connection is not restored: {0}", told);
                }
            }
            boolean isRefusal = why.is(Reason.UNAUTHENTICATED) || why.is(Reason.PERMISSION_DENIED);
            if (isRefusal && !connection.hasOtherToken()) {
                LOG.log(System.Logger.Level.ERROR, "{0} is not called any more: {1}", address(), why.getMessage());
                return why;
            }
            if (closesWithin(Math.max(ThreadLocalRandom.current().nextLong(bound) + 1, pause / 1_000_000))) {
                return null;
            }
            bound = Math.min(2 * bound, RECONNECT_MAX_MILLIS);
        }
    }

    /** Waits so long; tells whether the stream was closed meanwhile. */
    boolean closesWithin(long millis) {
        try {
            return closing.await(millis, TimeUnit.MILLISECONDS);
        } catch (InterruptedException unexpected) {
            return isClosing(); // nobody interrupts this thread
        }
    }

    /** Returns an error as that of a lost connection. */
    private TrunklineException asLost(TrunklineException why) {
        return why.is(lost) ? why : disconnected(why.getMessage(), why);
    }

    /** One life of the stream: a call. */
    private final class Life extends ClientCall.Listener<F> {
        private final CompletableFuture<Void> first; // null: not the first
        private final CompletableFuture<TrunklineException> end = new CompletableFuture<>();
        private volatile boolean wasUp;
        private ClientCall<byte[], F> own;

        Life(CompletableFuture<Void> first) {
            this.first = first;
        }

        /** Opens it and returns why it ended. */
        TrunklineException untilEnd() {
            connection.renew();
            own = connection.channel.newCall(method, CallOptions.DEFAULT.withOnReadyThreshold(WRITTEN));
            lock.lock();
            try {
                call = own;
                own.start(this, moves());
                own.request(2);
                if (isClosing()) {
                    own.cancel("closed", null);
                }
            } finally {
                lock.unlock();
            }
            TrunklineException why = end.join();
            lock.lock();
            try {
                call = null;
                if (wasUp) {
                    goDown(asLost(why));
                }
            } finally {
                lock.unlock();
            }
            return why;
        }

        @Override
        public void onHeaders(Metadata greeting) { // the service sends it when it has accepted the stream
            boolean isTold;
            lock.lock();
            try {
                wasUp = true;
                isUp = true;
                lives++;
                isAsked = false;
                isTold = !isQuiet;
                user.wentUp(greeting);
                Threads.complete(up, null);
                schedule();
            } finally {
                lock.unlock();
            }
            if (first != null) {
                Threads.complete(first, null);
            } else if (isTold) {
                Threads.tell(connection.options.onReconnected);
            }
        }

        @Override
        public void onMessage(F frame) {
            lock.lock();
            try {
                user.take(frame);
                hasChanged();
            } finally {
                lock.unlock();
            }
            own.request(1);
        }

        @Override
        public void onReady() {
            lock.lock();
            try {
                schedule();
            } finally {
                lock.unlock();
            }
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            end.complete(
                    status.isOk()
                            ? disconnected("the service ended the stream", null)
                            : TrunklineException.fromStatus(status, trailers, lost));
        }
    }

    // All below is called with the lock held.

    boolean isUp() {
        return isUp;
    }

    /** Returns why nothing comes any more; null where that is not so. */
    TrunklineException closed() {
        return closed;
    }

    /** Fails what is awaited. */
    private void goDown(TrunklineException why) {
        if (isUp) {
            isUp = false;
            up = new CompletableFuture<>();
        }
        waiting.removeIf(each -> !each.isKept());
        size = waiting.stream().mapToInt(each -> each.encoded().length).sum();
        List<Awaited<?>> all = new ArrayList<>(pending.values());
        pending.clear();
        for (Awaited<?> each : all) {
            Threads.fail(each.future(), why);
        }
        user.wentDown(why);
        room.signalAll();
        hasChanged();
        if (closed != null) {
            Threads.complete(up, null); // whoever waits for it looks at `closed`
        }
    }

    /** Sends what waits, where the last frame is written. */
    void write() {
        try {
            byte[] frame;
            while (isUp && !isHeld && call != null && !isClosing() && call.isReady() && (frame = nextFrame()) != null) {
                call.sendMessage(frame);
            }
        } finally {
            isScheduled = false;
        }
    }

    /** Joins what waits to one frame of about FRAME_BYTES, or one that was larger when it was put. */
    private byte[] nextFrame() {
        user.gather();
        int bytes = 0;
        int count = 0;
        for (Chunk each : waiting) {
            if (count > 0 && bytes + each.encoded().length > FRAME_BYTES) {
                break;
            }
            bytes += each.encoded().length;
            count++;
        }
        if (count == 0) {
            return null;
        }
        size -= bytes;
        if (size <= BUFFER_BYTES / 2) {
            room.signalAll();
        }
        if (count == 1) {
            return waiting.removeFirst().encoded();
        }
        byte[] frame = new byte[bytes];
        for (int at = 0; count > 0; count--) {
            byte[] encoded = waiting.removeFirst().encoded();
            System.arraycopy(encoded, 0, frame, at, encoded.length);
            at += encoded.length;
        }
        return frame;
    }

    /** Lets an encoded frame go out behind all that was put before. */
    void put(byte[] encoded, boolean isKept) {
        if (isUp || isKept) {
            waiting.addLast(new Chunk(encoded, isKept));
            size += encoded.length;
            schedule();
        }
    }

    /** Puts something before all that waits. */
    void putFirst(Runnable putting) {
        ArrayDeque<Chunk> kept = waiting;
        waiting = new ArrayDeque<>();
        putting.run();
        waiting.addAll(kept);
    }

    /** Says that there is something to send or to gather. */
    void schedule() {
        if (!isScheduled) {
            isScheduled = true;
            lock.schedule(this);
        }
    }

    /** Returns an id that nothing on this stream has. */
    long nextId() {
        return ++lastId;
    }

    /**
     * Awaits the answer to an item.
     *
     * @param awaited gets it; where that is done before, it is late, or was cancelled
     * @param read of the answer
     * @param left called with the lock held where it is not waited for any more
     * @param again takes why the service refused it; tells whether it is asked again, which `awaited` waits for then
     */
    <T> void expect(
            long id, CompletableFuture<T> awaited, Function<Object, T> read, Runnable left, Predicate<TrunklineException> again) {
        pending.put(id, new Awaited<>(awaited, read, again));
        awaited.whenComplete((value, why) -> {
            if (why != null) {
                leave(id, awaited, left);
            }
        });
    }

    private void leave(long id, CompletableFuture<?> awaited, Runnable left) {
        lock.lock();
        try {
            Awaited<?> still = pending.get(id);
            if (still != null && still.future() == awaited) {
                pending.remove(id);
                left.run();
                hasChanged();
            }
        } finally {
            lock.unlock();
        }
    }

    /** Returns a future that fails where nothing completes it in time. */
    static <T> CompletableFuture<T> timed(Duration timeout, Supplier<TrunklineException> late) {
        CompletableFuture<T> awaited = new CompletableFuture<>();
        var timer = Threads.CLOCK.schedule(() -> Threads.fail(awaited, late.get()), timeout.toNanos(), TimeUnit.NANOSECONDS);
        awaited.whenComplete((value, why) -> timer.cancel(false));
        return awaited;
    }

    /** Gives an answer to whoever awaits it, if somebody does. */
    void settle(long id, Object answer) {
        Awaited<?> awaited = pending.remove(id);
        if (awaited != null) {
            awaited.settle(answer);
        }
    }

    /** Gives what the service said to whoever awaits an answer, or is asked again; tells whether somebody does. */
    boolean fail(long id, TrunklineException why) {
        Awaited<?> awaited = pending.remove(id);
        if (awaited != null && !awaited.again().test(why)) {
            Threads.fail(awaited.future(), why);
        }
        return awaited != null;
    }

    /** Throws why nothing can be sent now. */
    void check() {
        if (closed != null) {
            throw closed;
        }
        if (!isUp) {
            throw disconnected("it is being restored", null);
        }
    }

    /**
     * Returns what is done when the stream is up, or another has taken its place, and fails when it is closed. Called without the lock.
     */
    CompletableFuture<Void> whenUp() {
        lock.lock();
        try {
            return isUp || isReplaced ? CompletableFuture.completedFuture(null)
                : closed != null ? CompletableFuture.failedFuture(closed)
                : up.thenCompose(done -> whenUp());
        } finally {
            lock.unlock();
        }
    }

    /** Waits while the buffer is full, and no other stream has taken its place. */
    void pace() {
        long left = connection.options.callTimeout.toNanos();
        while (size > BUFFER_BYTES && closed == null && !isReplaced) {
            if (!isUp) {
                throw disconnected("its buffer of " + BUFFER_BYTES + " bytes is full", null);
            }
            if (left <= 0) {
                throw TrunklineException.late();
            }
            left = lock.await(room, left, "the buffer was full");
        }
    }

    // What a move needs: a client that is asked to go elsewhere opens another stream, which takes the place of this one.

    /** Returns metadata that promises the service to move when it asks for it; see `Move` in move.proto. */
    static Metadata moves() {
        Metadata promised = new Metadata();
        promised.put(MOVES, "1");
        return promised;
    }

    /** Notes whether the service asks to move. */
    void setAsked(boolean isAsked) {
        this.isAsked = isAsked;
    }

    boolean isAsked() {
        return isAsked;
    }

    /** Returns how often it came up. */
    long lives() {
        return lives;
    }

    /** Lets what is put wait until `release`, so that something else goes before it. */
    void hold() {
        isHeld = true;
    }

    void release() {
        isHeld = false;
        schedule();
    }

    /** Lets this stream take the place of another. */
    void replace(MultiplexedStream<?> old) {
        isQuiet = false;
        old.isQuiet = true;
        old.isReplaced = true;
        old.room.signalAll();
    }

    /** Tells whether something is on its way, or not answered yet. */
    boolean isPending() {
        return !pending.isEmpty() || !waiting.isEmpty();
    }

    /** Tells whether calls beside the stream have not ended. */
    boolean hasCalls() {
        return calls > 0;
    }

    /** Says that something has ended here. */
    void hasChanged() {
        changed.signalAll();
    }

    void callBegins() {
        calls++;
    }

    void callEnds() {
        calls--;
        hasChanged();
    }

    /** Waits for something that is looked at, with the lock held, whenever something has ended here. Called without the lock. */
    void awaitChange(BooleanSupplier isSo) {
        lock.lock();
        try {
            while (!isSo.getAsBoolean()) {
                lock.write();
                changed.awaitNanos(LOOK_AGAIN); // for what ends without a word
            }
        } catch (InterruptedException unexpected) {
            throw new IllegalStateException("nobody interrupts this thread", unexpected);
        } finally {
            lock.unlock();
        }
    }

    /** Looks at something. Called without the lock. */
    boolean is(BooleanSupplier isSo) {
        lock.lock();
        try {
            return isSo.getAsBoolean();
        } finally {
            lock.unlock();
        }
    }

    /** Sends frames that are encoded already. */
    private static final class Encoded implements MethodDescriptor.Marshaller<byte[]> {
        @Override
        public InputStream stream(byte[] frame) {
            return new Known(frame);
        }

        @Override
        public byte[] parse(InputStream stream) {
            throw new UnsupportedOperationException("requests are only sent");
        }
    }

    private static final class Known extends ByteArrayInputStream implements KnownLength {
        Known(byte[] frame) {
            super(frame);
        }
    }
}
