package trunkline;

import com.google.protobuf.util.Timestamps;
import java.time.Duration;
import java.time.Instant;
import java.util.function.Consumer;
import java.util.function.LongConsumer;
import trunkline.v1.DurableSettings;
import trunkline.v1.Position;

/** How messages are received. What is called back runs in a thread of its own. */
public final class SubscribeOptions {
    String group = "";
    int credit; // 0: not said
    int concurrency = 1;
    boolean isObserver;
    Duration handlerTimeout;
    String name = "";
    Position position;
    DurableSettings settings;
    LongConsumer onLagged;
    Consumer<TrunklineException> onError;
    Consumer<Boolean> onPaused;

    /** Shares the messages with all who subscribe to the same pattern in the same group: each message goes to one of them. */
    public SubscribeOptions group(String group) {
        this.group = group;
        return this;
    }

    /** Says how many messages may be sent ahead of the handler. Default: 8,192; of a durable subscription twice its concurrency. */
    public SubscribeOptions credit(int messages) {
        this.credit = messages == 0 ? -1 : messages; // 0 is as wrong as any that is less
        return this;
    }

    /** Says how many handlers run at once, each in a thread. Default: 1, which keeps the order. */
    public SubscribeOptions concurrency(int handlers) {
        this.concurrency = handlers;
        return this;
    }

    /** Only looks on, and does not count as somebody who could answer a request. */
    public SubscribeOptions observer() {
        this.isObserver = true;
        return this;
    }

    /**
     * Says how long a handler may take: then its thread is interrupted and its message has failed, also where the handler goes on.
     * Default: no limit.
     */
    public SubscribeOptions handlerTimeout(Duration timeout) {
        this.handlerTimeout = timeout;
        return this;
    }

    /** Says what a responder calls itself. Default: what the client is called. */
    public SubscribeOptions name(String name) {
        this.name = name;
        return this;
    }

    /** Lets a durable subscription that is made here begin with all that the bus has. Default: what is published from now on. */
    public SubscribeOptions fromBeginning() {
        this.position = Position.newBuilder().setAll(true).build();
        return this;
    }

    /** Lets a durable subscription that is made here begin with a sequence. */
    public SubscribeOptions fromSequence(long sequence) {
        this.position = Position.newBuilder().setSequence(sequence).build();
        return this;
    }

    /** Lets a durable subscription that is made here begin with what was published then or later. */
    public SubscribeOptions fromTime(Instant begin) {
        this.position = Position.newBuilder().setTime(Timestamps.fromMillis(begin.toEpochMilli())).build();
        return this;
    }

    /** Says how a durable subscription that is made here delivers; where it is there it must say the same. */
    public SubscribeOptions settings(DurableSettings settings) {
        this.settings = settings;
        return this;
    }

    /** The same with a lease of that length alone. */
    public SubscribeOptions ackWait(Duration lease) {
        return settings(DurableSettings.newBuilder().setAckWait(Messages.duration(lease)).build());
    }

    /** Is told how many messages the service dropped since this subscriber was too slow. Default: that is logged. */
    public SubscribeOptions onLagged(LongConsumer told) {
        this.onLagged = told;
        return this;
    }

    /**
     * Is told what goes wrong beside the messages: the service ended the subscription, or refused what was said of a message.
     * Default: that is logged.
     */
    public SubscribeOptions onError(Consumer<TrunklineException> told) {
        this.onError = told;
        return this;
    }

    /** Is told when the durable subscription is paused, and when it goes on. Default: that is logged. */
    public SubscribeOptions onPaused(Consumer<Boolean> told) {
        this.onPaused = told;
        return this;
    }

    void check() {
        if (concurrency < 1) {
            throw TrunklineException.invalid(Reason.INVALID_MESSAGE, "concurrency", concurrency, "concurrency must be at least 1");
        }
        if (credit < 0) {
            throw TrunklineException.invalid(Reason.INVALID_MESSAGE, "credit", credit, "credit must be at least 1");
        }
        if (handlerTimeout != null && (handlerTimeout.isZero() || handlerTimeout.isNegative())) {
            throw TrunklineException.invalid(
                    Reason.INVALID_MESSAGE, "handlerTimeout", handlerTimeout, "handlerTimeout is " + handlerTimeout + ", it must be more than 0");
        }
    }
}
