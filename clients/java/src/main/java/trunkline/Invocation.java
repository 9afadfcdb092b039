package trunkline;

/** A handler that runs, and can be interrupted from outside as long as it does. */
final class Invocation {
    private Thread thread; // while it runs
    private boolean isInterrupted;

    /** What is run. */
    interface Handling {
        void run() throws Exception;
    }

    /** Runs a handler; returns what it threw, whatever that is, or null. */
    Throwable call(Handling handler) {
        try {
            begin();
            handler.run();
            return null;
        } catch (Throwable failed) {
            return TrunklineException.unwrap(failed);
        } finally {
            end();
        }
    }

    private synchronized void begin() throws InterruptedException {
        if (isInterrupted) {
            throw new InterruptedException("it was interrupted before it began");
        }
        thread = Thread.currentThread();
    }

    private synchronized void end() {
        thread = null;
        Thread.interrupted(); // what was meant for the handler ends with it
    }

    synchronized void interrupt() {
        isInterrupted = true;
        if (thread != null) {
            thread.interrupt();
        }
    }
}
