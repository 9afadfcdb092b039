package trunkline;

import com.google.protobuf.Duration;
import trunkline.v1.Extend;
import trunkline.v1.Message;
import trunkline.v1.Nak;
import trunkline.v1.Release;
import trunkline.v1.SubscribeRequest;
import trunkline.v1.Terminate;

/**
 * A message that a durable subscription handed to this client. It is settled once: by the end of its handler, or by one of its methods
 * before. Until then its lease is extended automatically.
 */
public final class Leased extends Received {
    private final int attempt;
    private final DurableSubscription subscription;
    boolean isSettled; // by the lock

    Leased(DurableSubscription subscription, Message message, String channel, long sequence, int attempt) {
        super(message, channel, sequence);
        this.subscription = subscription;
        this.attempt = attempt;
    }

    /** Returns the how many-th time it is handed out, from 1. */
    public int attempt() {
        return attempt;
    }

    /**
     * Says that the message is done; settling twice is no error.
     *
     * @throws TrunklineException STALE_ACK: it was handed on before
     */
    public void ack() {
        subscription.settle(this, () -> subscription.acked(this));
    }

    /** Says that it failed, and shall be tried again by the subscription's backoff. */
    public void nak(Throwable why) {
        nak(why, null);
    }

    /** Says that it failed, and shall be tried again after a delay, which may be zero. */
    public void nak(Throwable why, java.time.Duration delay) {
        Nak.Builder nak = Nak.newBuilder().setAttempt(attempt).addSequences(sequence()).setError(Subscription.textOf(why));
        if (delay != null) {
            nak.setDelay(Messages.duration(delay));
        }
        subscription.settle(this, () -> subscription.say(SubscribeRequest.newBuilder().setNak(nak)));
    }

    /** Says that it can never be done: it becomes a dead letter now, with the reason. */
    public void terminate(String reason) {
        Terminate.Builder said =
                Terminate.newBuilder().setAttempt(attempt).addSequences(sequence()).setReason(Subscription.cleanText(reason));
        subscription.settle(this, () -> subscription.say(SubscribeRequest.newBuilder().setTerminate(said)));
    }

    /** Says that it was not begun: somebody else gets it, and no attempt is counted. */
    public void release() {
        Release.Builder said = Release.newBuilder().setAttempt(attempt).addSequences(sequence());
        subscription.settle(this, () -> subscription.say(SubscribeRequest.newBuilder().setRelease(said)));
    }

    /** Lets its lease end so long from now. It is extended automatically while it is held. */
    public void extend(java.time.Duration lease) {
        Duration wanted = Messages.duration(lease);
        subscription.extend(this, Extend.newBuilder().setAttempt(attempt).addSequences(sequence()).setLease(wanted));
    }
}
