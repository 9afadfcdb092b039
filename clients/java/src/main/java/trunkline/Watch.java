package trunkline;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;
import trunkline.v1.WatchRequest;
import trunkline.v1.WatchResponse;

/**
 * A watch that runs. Its handler is called in a thread of its own, which keeps the program alive until the watch ends; while it is at
 * work, the service waits. Where the connection is lost, or the service ends the stream since it is read too slowly, it goes on where it
 * was, without gaps and without repetition.
 */
public final class Watch implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger("trunkline");
    private static final long RETRY_MIN_MILLIS = 50;
    private static final long RETRY_MAX_MILLIS = 5000;
    private static final int AHEAD = 64; // frames that are read ahead

    private final State state;
    private final WatchCursor cursor;
    private final Handler<Change> handler;
    private final CompletableFuture<Void> done = new CompletableFuture<>();
    private final Thread thread;
    private volatile boolean isClosed;

    Watch(State state, WatchOptions options, Handler<Change> handler) {
        this.state = state;
        this.handler = handler;
        this.cursor = new WatchCursor(options.wanted());
        this.thread = new Thread(this::run, "trunkline-watch");
    }

    Watch begin() {
        thread.start();
        return this;
    }

    /**
     * Returns what is done when the watch was closed, and fails with why it ended else: the service refused it, such as with COMPACTED,
     * the handler threw, or the state was closed.
     */
    public CompletableFuture<Void> done() {
        return done.copy();
    }

    /** Ends the watch. A handler that runs is interrupted. */
    @Override
    public void close() {
        isClosed = true;
        thread.interrupt();
    }

    private void run() {
        try {
            long bound = RETRY_MIN_MILLIS;
            while (true) {
                Life life = new Life();
                TrunklineException why = life.untilEnd();
                TrunklineException closed = state.closed();
                if (closed != null) {
                    why = closed;
                } else if (why.is(Reason.STATE_DISCONNECTED) || why.is(Reason.OVERLOADED)) {
                    LOG.log(System.Logger.Level.DEBUG, "a watch goes on with a new stream: {0}", why.getMessage());
                    bound = life.hasGiven ? RETRY_MIN_MILLIS : bound;
                    Duration wait = why.retryAfter();
                    Thread.sleep(Math.max(ThreadLocalRandom.current().nextLong(bound) + 1, wait == null ? 0 : wait.toMillis()));
                    bound = Math.min(2 * bound, RETRY_MAX_MILLIS);
                    continue;
                }
                throw why;
            }
        } catch (Throwable ended) {
            if (isClosed) {
                Threads.complete(done, null);
            } else {
                Threads.fail(done, ended);
            }
        }
    }

    /** One stream. What comes of it waits for the handler's thread. */
    private final class Life extends ClientCall.Listener<WatchResponse> {
        private final BlockingQueue<Object> came = new ArrayBlockingQueue<>(AHEAD + 1); // frames, and last why it ended
        private boolean hasGiven;

        /** Hands out what comes, and returns why it ended. */
        TrunklineException untilEnd() throws Exception {
            ClientCall<WatchRequest, WatchResponse> call = state.beginWatch(this);
            try {
                ask(call, cursor.begin());
                while (true) {
                    Object next = came.take();
                    if (next instanceof TrunklineException why) {
                        return why;
                    }
                    WatchResponse frame = (WatchResponse) next;
                    if (frame.hasMove()) {
                        state.askedToMove();
                    }
                    for (Change change : cursor.take(frame)) {
                        hasGiven = true;
                        handler.handle(change);
                    }
                    call.request(1);
                }
            } finally {
                state.endWatch(call);
            }
        }

        private void ask(ClientCall<WatchRequest, WatchResponse> call, WatchRequest wanted) {
            call.request(AHEAD);
            try {
                call.sendMessage(wanted);
                call.halfClose();
            } catch (IllegalStateException cancelled) { // it moved meanwhile, which is why it ends
                LOG.log(System.Logger.Level.DEBUG, "a watch was moved as it began");
            }
        }

        @Override
        public void onMessage(WatchResponse frame) {
            came.add(frame); // no more come than were asked for
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            came.add(
                    status.isOk()
                            ? state.disconnected("the service ended the watch")
                            : TrunklineException.fromStatus(status, trailers, Reason.STATE_DISCONNECTED));
        }
    }
}
