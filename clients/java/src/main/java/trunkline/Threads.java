package trunkline;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicLong;

/** The threads that all connections share. None of them keeps a program alive. */
final class Threads {
    private static final System.Logger LOG = System.getLogger("trunkline");

    /** Reads, completes futures and calls back; whatever runs in it may wait. */
    static final ExecutorService POOL = Executors.newCachedThreadPool(daemons("trunkline-pool-"));

    /** Looks at clocks; what it runs must not wait. */
    static final ScheduledThreadPoolExecutor CLOCK = new ScheduledThreadPoolExecutor(1, daemons("trunkline-clock-"));

    static {
        CLOCK.setRemoveOnCancelPolicy(true);
    }

    private Threads() {}

    static ThreadFactory daemons(String name) {
        AtomicLong count = new AtomicLong();
        return task -> {
            Thread thread = new Thread(task, name + count.incrementAndGet());
            thread.setDaemon(true);
            return thread;
        };
    }

    /** Calls somebody back in a thread of its own; what that throws is logged. */
    static void tell(Runnable told) {
        POOL.execute(() -> {
            try {
                told.run();
            } catch (RuntimeException | Error failed) {
                LOG.log(System.Logger.Level.ERROR, "a callback failed", failed);
            }
        });
    }

    /** Completes a future where whoever waits behind it holds nobody up. */
    static <T> void complete(CompletableFuture<T> future, T value) {
        if (!future.isDone()) {
            POOL.execute(() -> future.complete(value));
        }
    }

    /** The same with an error. */
    static void fail(CompletableFuture<?> future, Throwable why) {
        if (!future.isDone()) {
            POOL.execute(() -> future.completeExceptionally(why));
        }
    }
}
