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
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * The client's end of one long stream, which restores itself, with the answers that are awaited on it.
 *
 * <p>Frames are sent one at a time, each as soon as the one before it is written: no timer. Frames are repeated fields, so that
 * encoded frames joined are one frame of all their items: what gathered while one was written is the next. An idle stream has the
 * latency of one item, a busy one sends hundreds a frame.
 *
 * <p>One lock holds all of a connection together, since what is said of messages must keep its order with frames. What was scheduled
 * under it is written when it is given back, by whoever held it.
 *
 * @param <F> the frames that come
 */
final class MultiplexedStream<F extends MessageLite> {
    static final int FRAME_BYTES = 256 * 1024;
    static final int FRAME_MESSAGES = 512;
    private static final int BUFFER_BYTES = 4 * 1024 * 1024; // what publish takes before it waits for the service
    private static final long RECONNECT_MIN_MILLIS = 50;
    private static final long RECONNECT_MAX_MILLIS = 5000;
    private static final int WRITTEN = 1; // the call is ready for more when less than this is unwritten
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
    private final String lost;
    private final MethodDescriptor<byte[], F> method;
    private final User<F> user;

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition room = lock.newCondition();
    private final CountDownLatch closing = new CountDownLatch(1);
    private final CountDownLatch ended = new CountDownLatch(1);

    // All below by the lock.
    private boolean isUp;
    private TrunklineException closed; // why nothing comes any more
    private CompletableFuture<Void> up = new CompletableFuture<>(); // done when it is up, or closed
    private ClientCall<byte[], F> call;
    private ArrayDeque<Chunk> waiting = new ArrayDeque<>();
    private int size;
    private boolean isScheduled;
    private long lastId;
    private final Map<Long, Awaited<?>> pending = new HashMap<>();

    /** An encoded frame. What is kept goes out in the stream's next life where it did not in this one. */
    private record Chunk(byte[] encoded, boolean isKept) {}

    /** Who awaits an answer, and what is read of it. */
    private record Awaited<T>(CompletableFuture<T> future, Function<Object, T> read) {
        void settle(Object answer) {
            try {
                Threads.complete(future, read.apply(answer));
            } catch (TrunklineException none) {
                Threads.fail(future, none);
            }
        }
    }

    MultiplexedStream(
            Connection connection, String lost, MethodDescriptor<?, F> method, User<F> user) {
        this.connection = connection;
        this.lost = lost;
        this.user = user;
        this.method = method.toBuilder(new Encoded(), method.getResponseMarshaller()).build();
    }

    /** Connects, and stays connected until it is closed. */
    CompletableFuture<Void> open() {
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
        Threads.daemons("trunkline-" + address() + "-").newThread(() -> run(first)).start();
        return first;
    }

    /** Ends the stream; what is awaited fails. Idempotent. */
    void close() {
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
        lock();
        try {
            if (call != null) {
                call.cancel("closed", null);
            }
        } finally {
            unlock();
        }
    }

    String address() {
        return connection.at.text();
    }

    private boolean isClosing() {
        return closing.getCount() == 0;
    }

    private TrunklineException lost(String words, Throwable cause) {
        return new TrunklineException(lost, Status.Code.UNAVAILABLE, words, Map.of("address", address()), cause);
    }

    TrunklineException disconnected(String why, Throwable cause) {
        return lost("the connection to " + address() + " was lost: " + why, cause);
    }

    /** Opens the stream, again and again. */
    private void run(CompletableFuture<Void> first) {
        TrunklineException why = lost("disconnected from " + address(), null);
        try {
            TrunklineException refused = runUntilRefused(first);
            why = refused == null ? why : refused;
        } catch (RuntimeException | Error broken) {
            LOG.log(System.Logger.Level.ERROR, "a stream broke", broken);
            why = new TrunklineException(Reason.INTERNAL, Status.Code.INTERNAL, "the client broke: " + broken, Map.of(), broken);
        } finally {
            lock();
            try {
                closed = why;
                goDown(why);
            } finally {
                unlock();
            }
            Threads.fail(first, why);
            connection.close();
            ended.countDown();
        }
    }

    private TrunklineException runUntilRefused(CompletableFuture<Void> first) {
        long bound = RECONNECT_MIN_MILLIS;
        boolean wasEverUp = false;
        String told = "";
        while (true) {
            Life life = new Life(wasEverUp ? null : first);
            TrunklineException why = life.untilEnd();
            if (isClosing()) {
                return null;
            }
            if (life.wasUp) {
                wasEverUp = true;
                bound = RECONNECT_MIN_MILLIS;
                LOG.log(System.Logger.Level.INFO, "{0}", why.getMessage());
                TrunklineException asLost = asLost(why);
                Threads.tell(() -> connection.options.onDisconnected.accept(asLost));
            } else {
                TrunklineException refused = why.isOfService() ? null : connection.whyRefused();
                if (!wasEverUp && (refused != null || !connection.options.waits || !why.is(lost))) {
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
            if (sleeps(bound)) {
                return null;
            }
            bound = Math.min(2 * bound, RECONNECT_MAX_MILLIS);
        }
    }

    /** Waits before the next try; tells whether the stream was closed meanwhile. */
    private boolean sleeps(long bound) {
        try {
            return closing.await(ThreadLocalRandom.current().nextLong(bound) + 1, TimeUnit.MILLISECONDS);
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
            lock();
            try {
                call = own;
                own.start(this, new Metadata());
                own.request(2);
                if (isClosing()) {
                    own.cancel("closed", null);
                }
            } finally {
                unlock();
            }
            TrunklineException why = end.join();
            lock();
            try {
                call = null;
                if (wasUp) {
                    goDown(asLost(why));
                }
            } finally {
                unlock();
            }
            return why;
        }

        @Override
        public void onHeaders(Metadata greeting) { // the service sends it when it has accepted the stream
            lock();
            try {
                wasUp = true;
                isUp = true;
                user.wentUp(greeting);
                Threads.complete(up, null);
                schedule();
            } finally {
                unlock();
            }
            if (first != null) {
                Threads.complete(first, null);
            } else {
                Threads.tell(connection.options.onReconnected);
            }
        }

        @Override
        public void onMessage(F frame) {
            lock();
            try {
                user.take(frame);
            } finally {
                unlock();
            }
            own.request(1);
        }

        @Override
        public void onReady() {
            lock();
            try {
                schedule();
            } finally {
                unlock();
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

    // All below is called with the lock held, but for lock itself.

    void lock() {
        lock.lock();
    }

    /** Writes what was scheduled, and gives the lock back. */
    void unlock() {
        try {
            if (lock.getHoldCount() == 1) {
                write();
            }
        } finally {
            lock.unlock();
        }
    }

    Condition newCondition() {
        return lock.newCondition();
    }

    /** Waits for something, while others have the lock. */
    void await(Condition condition) {
        write();
        condition.awaitUninterruptibly();
    }

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
        if (closed != null) {
            Threads.complete(up, null); // whoever waits for it looks at `closed`
        }
    }

    /** Sends what waits, where the last frame is written. */
    private void write() {
        if (!isScheduled) {
            return;
        }
        isScheduled = false;
        while (isUp && call != null && !isClosing() && call.isReady()) {
            byte[] frame = nextFrame();
            isScheduled = false; // what was put meanwhile is in the frame, or goes with the next
            if (frame == null) {
                return;
            }
            call.sendMessage(frame);
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
        isScheduled = true;
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
     */
    <T> CompletableFuture<T> expect(long id, CompletableFuture<T> awaited, Function<Object, T> read, Runnable left) {
        pending.put(id, new Awaited<>(awaited, read));
        awaited.whenComplete((value, why) -> {
            if (why != null) {
                leave(id, awaited, left);
            }
        });
        return awaited;
    }

    private void leave(long id, CompletableFuture<?> awaited, Runnable left) {
        lock();
        try {
            Awaited<?> still = pending.get(id);
            if (still != null && still.future() == awaited) {
                pending.remove(id);
                left.run();
            }
        } finally {
            unlock();
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

    /** Gives an error to whoever awaits an answer; tells whether somebody does. */
    boolean fail(long id, TrunklineException why) {
        Awaited<?> awaited = pending.remove(id);
        if (awaited != null) {
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

    /** Returns what is done when the stream is up, or fails when it is closed. Called without the lock. */
    CompletableFuture<Void> whenUp() {
        lock();
        try {
            return closed != null ? CompletableFuture.failedFuture(closed) : isUp ? CompletableFuture.completedFuture(null)
                : up.thenCompose(done -> whenUp());
        } finally {
            unlock();
        }
    }

    /** Waits while the buffer is full. */
    void pace() {
        long left = connection.options.callTimeout.toNanos();
        while (size > BUFFER_BYTES && closed == null) {
            if (!isUp) {
                throw disconnected("its buffer of " + BUFFER_BYTES + " bytes is full", null);
            }
            if (left <= 0) {
                throw TrunklineException.late();
            }
            write();
            try {
                left = room.awaitNanos(left);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
                throw new CancellationException("interrupted while the buffer was full");
            }
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
