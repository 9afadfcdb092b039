package trunkline;

import trunkline.v1.Message;

/** A message as a subscriber, or who asked, gets it. */
public class Received {
    private final Message message;
    private final String channel;
    private final long sequence;

    Received(Message message, String channel, long sequence) {
        this.message = message;
        this.channel = channel;
        this.sequence = sequence;
    }

    /** Returns the message as it was published. */
    public Message message() {
        return message;
    }

    /** Returns where it was published; empty: an answer to who asked alone. */
    public String channel() {
        return channel;
    }

    /** Returns its place in the order of all messages that the service took; 0: an answer. */
    public long sequence() {
        return sequence;
    }

    /** Reads the JSON of the payload; see {@link Messages#decode(Message, Class)}. */
    public <T> T decode(Class<T> as) {
        return Messages.decode(message, as);
    }
}
