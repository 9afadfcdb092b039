package trunkline;

/**
 * The words for what went wrong, as every client and the wire have them; docs/errors.md says when each comes. They are texts and
 * no enum: one that a newer service made passes as it is.
 */
public final class Reason {
    public static final String INVALID_CHANNEL = "INVALID_CHANNEL";
    public static final String INVALID_MESSAGE = "INVALID_MESSAGE";
    public static final String INVALID_RECORD = "INVALID_RECORD";
    public static final String INVALID_ADDRESS = "INVALID_ADDRESS";
    public static final String TLS = "TLS";
    public static final String MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE";
    public static final String NO_RESPONDERS = "NO_RESPONDERS";
    public static final String REQUEST_TIMEOUT = "REQUEST_TIMEOUT";
    public static final String REQUEST_FAILED = "REQUEST_FAILED";
    public static final String REQUEST_CANCELLED = "REQUEST_CANCELLED";
    public static final String REQUEST_NOT_FOUND = "REQUEST_NOT_FOUND";
    public static final String RESPONDER_LOST = "RESPONDER_LOST";
    public static final String TASK_NOT_FOUND = "TASK_NOT_FOUND";
    public static final String NOT_FOUND = "NOT_FOUND";
    public static final String REVISION_MISMATCH = "REVISION_MISMATCH";
    public static final String LEASE_HELD = "LEASE_HELD";
    public static final String LEASE_LOST = "LEASE_LOST";
    public static final String STALE_ACK = "STALE_ACK";
    public static final String SUBSCRIPTION_EXISTS = "SUBSCRIPTION_EXISTS";
    public static final String SUBSCRIPTION_NOT_FOUND = "SUBSCRIPTION_NOT_FOUND";
    public static final String DEAD_LETTER_NOT_FOUND = "DEAD_LETTER_NOT_FOUND";
    public static final String COMPACTED = "COMPACTED";
    public static final String OVERLOADED = "OVERLOADED";
    public static final String STORAGE = "STORAGE";
    public static final String STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE";
    public static final String BUS_NOT_CONNECTED = "BUS_NOT_CONNECTED";
    public static final String STATE_NOT_CONNECTED = "STATE_NOT_CONNECTED";
    public static final String BUS_DISCONNECTED = "BUS_DISCONNECTED";
    public static final String STATE_DISCONNECTED = "STATE_DISCONNECTED";
    public static final String UNAUTHENTICATED = "UNAUTHENTICATED";
    public static final String KEYS_UNAVAILABLE = "KEYS_UNAVAILABLE";
    public static final String PERMISSION_DENIED = "PERMISSION_DENIED";
    public static final String INTERNAL = "INTERNAL";

    private Reason() {}
}
