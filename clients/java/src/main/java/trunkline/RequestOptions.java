package trunkline;

import java.time.Duration;
import trunkline.v1.RequestRequest;

/** What is wished of a request. */
public final class RequestOptions {
    private static final Duration MAX = Duration.ofDays(1);

    Duration timeout = Duration.ofSeconds(30);
    private Duration idleTimeout;
    boolean waitsForResponder;
    private boolean isRepeatable;
    private boolean outlivesAsker;

    /** Says how long to wait for the reply, at most a day. Default: 30 s. */
    public RequestOptions timeout(Duration timeout) {
        this.timeout = timeout;
        return this;
    }

    /** Says how long no sign of life may come from whoever holds the request. Default: only the timeout counts. */
    public RequestOptions idleTimeout(Duration timeout) {
        this.idleTimeout = timeout;
        return this;
    }

    /** Waits for somebody to subscribe, within the timeout, instead of failing with NO_RESPONDERS. */
    public RequestOptions waitForResponder() {
        this.waitsForResponder = true;
        return this;
    }

    /** Says that it may be done twice: where who held it is lost, it is handed out again. */
    public RequestOptions repeatable() {
        this.isRepeatable = true;
        return this;
    }

    /** Says that it goes on where the caller stops waiting. */
    public RequestOptions outlivesAsker() {
        this.outlivesAsker = true;
        return this;
    }

    /** Returns the request's own fields, but for its message and what is left of its time. */
    RequestRequest.Builder wanted(String channel) {
        check("timeout", timeout);
        RequestRequest.Builder wanted = RequestRequest.newBuilder()
                .setChannel(channel)
                .setWaitForResponder(waitsForResponder)
                .setRepeatable(isRepeatable)
                .setOutlivesAsker(outlivesAsker);
        if (idleTimeout != null) {
            check("idle_timeout", idleTimeout);
            wanted.setIdleTimeout(Messages.duration(idleTimeout));
        }
        return wanted;
    }

    private static void check(String field, Duration value) {
        if (value.isZero() || value.isNegative() || value.compareTo(MAX) > 0) {
            throw TrunklineException.invalid(
                    Reason.INVALID_MESSAGE, field, value, field + " is " + value + ", it must be more than 0 and at most a day");
        }
    }
}
