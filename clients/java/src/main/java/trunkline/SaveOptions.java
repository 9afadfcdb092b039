package trunkline;

import java.time.Duration;
import trunkline.v1.Hold;
import trunkline.v1.Message;
import trunkline.v1.OutboxMessage;
import trunkline.v1.SaveRequest;

/** What a save shall hold to. */
public final class SaveOptions {
    private final SaveRequest.Builder wished = SaveRequest.newBuilder();

    /** Lets a save fail with REVISION_MISMATCH unless the record has this revision; 0: unless there is none. Default: the last write wins. */
    public SaveOptions expectRevision(long revision) {
        wished.setExpectedRevision(revision);
        return this;
    }

    /** Publishes a message with the save: both happen or neither. Without an id it gets one. */
    public SaveOptions publish(String channel, Message message) {
        wished.addPublish(OutboxMessage.newBuilder().setChannel(channel).setMessage(Messages.named(message)));
        return this;
    }

    /** Ends the record so long after its last save or touch. */
    public SaveOptions expireAfter(Duration ttl) {
        wished.setTtl(Messages.duration(ttl));
        return this;
    }

    /** Ends the record with a lease, which must be held with that number. */
    public SaveOptions boundTo(String lease, long number) {
        wished.setLease(Hold.newBuilder().setName(lease).setNumber(number));
        return this;
    }

    /** Refuses the write with LEASE_LOST unless a lease is held with that number. */
    public SaveOptions fenced(String lease, long number) {
        wished.setFence(Hold.newBuilder().setName(lease).setNumber(number));
        return this;
    }

    SaveRequest.Builder wished() {
        return wished.clone();
    }
}
