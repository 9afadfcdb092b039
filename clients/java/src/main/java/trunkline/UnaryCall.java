package trunkline;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * A unary call beside the stream. It is made when all of it is there, and again where the service refuses it for now. Whoever waits for
 * it hears of the last time alone.
 */
final class UnaryCall<A, B> extends ClientCall<A, B> {
    private final ClientLock lock;
    private final Supplier<ClientCall<A, B>> made;
    private final Executor executor; // of the listener
    private final Context context = Context.current();
    private final Context.CancellationListener cancelled =
            ended -> cancel("the context was cancelled", ended.cancellationCause());
    private final Again.Call<Void> call;

    // All below by the lock.
    private Listener<B> told;
    private Metadata headers;
    private boolean isCompressed = true;
    private int wanted; // answers
    private A message;
    private ClientCall<A, B> now; // null: none is under way
    private boolean isCancelled;

    /**
     * @param again makes it
     * @param options of the caller; without a deadline it is made again for as long as `patience`
     * @param made returns a call by the connection of now
     */
    UnaryCall(ClientLock lock, Again again, CallOptions options, Duration patience, Supplier<ClientCall<A, B>> made) {
        this.lock = lock;
        this.made = made;
        executor = options.getExecutor() == null ? Threads.POOL : options.getExecutor();
        Deadline ends = options.getDeadline();
        if (context.getDeadline() != null) {
            ends = ends == null ? context.getDeadline() : ends.minimum(context.getDeadline());
        }
        Duration timeout = ends == null ? patience : Duration.ofNanos(ends.timeRemaining(TimeUnit.NANOSECONDS));
        call = again.new Call<>(new CompletableFuture<>(), timeout, making -> make());
    }

    @Override
    public void start(Listener<B> told, Metadata headers) {
        this.told = told;
        this.headers = headers;
        call.told.whenComplete((ended, why) -> {
            context.removeListener(cancelled);
            if (why != null) {
                executor.execute(() -> told.onClose(statusOf(why), new Metadata()));
            }
        });
    }

    private static Status statusOf(Throwable why) {
        return why instanceof TrunklineException said
                ? said.code().toStatus().withDescription(said.getMessage())
                : Status.fromThrowable(why);
    }

    @Override
    public void setMessageCompression(boolean isCompressed) {
        this.isCompressed = isCompressed;
    }

    @Override
    public void request(int answers) {
        lock.lock();
        try {
            wanted += answers;
            if (now != null) {
                now.request(answers);
            }
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void sendMessage(A message) {
        this.message = message;
    }

    @Override
    public void halfClose() {
        call.begin();
    }

    /** With the lock held. */
    private void make() {
        context.removeListener(cancelled);
        if (isCancelled) {
            return;
        }
        context.run(() -> now = made.get());
        Metadata own = new Metadata(); // on the way more is put into it
        own.merge(headers);
        now.start(new Heard(), own);
        try {
            now.request(wanted);
            now.setMessageCompression(isCompressed);
            now.sendMessage(message);
            now.halfClose();
        } catch (RuntimeException | Error notSent) {
            now.cancel("it cannot be sent", notSent);
        }
    }

    @Override
    public void cancel(String why, Throwable cause) {
        lock.lock();
        try {
            isCancelled = true;
            if (now != null) {
                now.cancel(why, cause);
                return;
            }
        } finally {
            lock.unlock();
        }
        call.told.completeExceptionally(Status.CANCELLED.withDescription(why).withCause(cause).asException());
    }

    /** Hears what comes of it one time. */
    private final class Heard extends Listener<B> {
        private Metadata greeting; // that was not passed on yet
        private boolean isAnswered;

        @Override
        public void onHeaders(Metadata greeting) {
            this.greeting = greeting;
        }

        @Override
        public void onMessage(B answer) {
            isAnswered = true;
            passOnHeaders();
            told.onMessage(answer);
        }

        private void passOnHeaders() {
            Metadata first = greeting;
            greeting = null;
            if (first != null) {
                told.onHeaders(first);
            }
        }

        @Override
        public void onReady() {
            told.onReady();
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            if (!status.isOk() && !isAnswered && isMadeAgain(TrunklineException.fromStatus(status, trailers, Reason.BUS_DISCONNECTED))) {
                return;
            }
            call.told.complete(null);
            passOnHeaders();
            told.onClose(status, trailers);
        }

        private boolean isMadeAgain(TrunklineException why) {
            lock.lock();
            try {
                if (isCancelled || !call.again(why)) {
                    return false;
                }
                now = null;
                context.addListener(cancelled, Runnable::run);
                return true;
            } finally {
                lock.unlock();
            }
        }
    }
}
