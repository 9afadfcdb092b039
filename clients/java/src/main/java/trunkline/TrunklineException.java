package trunkline;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

/** What a service, or this package, says went wrong. */
public final class TrunklineException extends RuntimeException {
    private static final long serialVersionUID = 1;
    private static final String DOMAIN = "trunkline";

    private final String reason;
    private final Map<String, String> details;
    private final Status.Code code;

    TrunklineException(String reason, Status.Code code, String message, Map<String, String> details, Throwable cause) {
        super(message, cause);
        this.reason = reason;
        this.code = code;
        this.details = Collections.unmodifiableMap(new TreeMap<>(details));
    }

    TrunklineException(String reason, Status.Code code, String message, Map<String, String> details) {
        this(reason, code, message, details, null);
    }

    TrunklineException(String reason, Status.Code code, String message) {
        this(reason, code, message, Map.of());
    }

    static TrunklineException invalid(String reason, String field, Object value, String message) {
        return new TrunklineException(reason, Status.Code.INVALID_ARGUMENT, message, Map.of("field", field, "value", String.valueOf(value)));
    }

    static TrunklineException tooLarge(String what, int size, int limit) {
        return new TrunklineException(
                Reason.MESSAGE_TOO_LARGE, Status.Code.INVALID_ARGUMENT,
                "the " + what + " has " + size + " bytes, at most " + limit + " are allowed",
                Map.of("size", Integer.toString(size), "limit", Integer.toString(limit)));
    }

    static TrunklineException late() {
        return new TrunklineException(Reason.REQUEST_TIMEOUT, Status.Code.DEADLINE_EXCEEDED, "no answer came before the deadline");
    }

    static TrunklineException late(String channel, Duration timeout) {
        return new TrunklineException(
                Reason.REQUEST_TIMEOUT, Status.Code.DEADLINE_EXCEEDED, "no reply on \"" + channel + "\" within " + timeout,
                Map.of("channel", channel, "timeout_seconds", Double.toString(timeout.toNanos() / 1e9)));
    }

    TrunklineException with(String key, String value) {
        Map<String, String> more = new TreeMap<>(details);
        more.put(key, value);
        return new TrunklineException(reason, code, getMessage(), more, getCause());
    }

    TrunklineException because(Throwable cause) {
        return new TrunklineException(reason, code, getMessage(), details, cause);
    }

    /** Returns the word for programs, such as {@link Reason#NO_RESPONDERS}. */
    public String reason() {
        return reason;
    }

    /** Returns the figures, such as "size" and "limit", as text. */
    public Map<String, String> details() {
        return details;
    }

    /** Returns the status that a unary call ends with. */
    public Status.Code code() {
        return code;
    }

    /** Tells whether the error has a reason. */
    public boolean is(String reason) {
        return this.reason.equals(reason);
    }

    /**
     * Tells whether the same call may succeed later without a change: the connection was lost, a limit was reached, whoever held a
     * request is gone, or a handler said so of its failure. What became of a call whose connection was lost is not known: repeat it
     * where it may be done twice.
     */
    public boolean isRetryable() {
        return switch (reason) {
            case Reason.BUS_DISCONNECTED, Reason.STATE_DISCONNECTED, Reason.OVERLOADED, Reason.STORAGE_UNAVAILABLE,
                    Reason.KEYS_UNAVAILABLE, Reason.NO_RESPONDERS, Reason.REQUEST_TIMEOUT, Reason.RESPONDER_LOST -> true;
            case Reason.REQUEST_FAILED -> "true".equals(details.get("retryable"));
            default -> false;
        };
    }

    @Override
    public String toString() {
        return reason + ": " + getMessage();
    }

    /**
     * Returns the error in what a future or a stub failed with.
     *
     * @param failure what was caught: a {@link CompletionException}, an {@link ExecutionException}, the exception of a stub, or one of these
     * @return the error; null where it is none of a service and none of this package
     */
    public static TrunklineException of(Throwable failure) {
        Throwable bare = unwrap(failure);
        if (bare instanceof TrunklineException known) {
            return known;
        }
        if (bare instanceof StatusRuntimeException said) {
            return fromStatus(said.getStatus(), said.getTrailers(), Reason.BUS_DISCONNECTED);
        }
        if (bare instanceof StatusException said) {
            return fromStatus(said.getStatus(), said.getTrailers(), Reason.BUS_DISCONNECTED);
        }
        return null;
    }

    /** Returns when to try again, where the service said so of a limit; else null. */
    Duration retryAfter() {
        String seconds = is(Reason.OVERLOADED) ? details.get("retry_after") : null;
        if (seconds == null) {
            return null;
        }
        try {
            return Duration.ofNanos(Math.round(Double.parseDouble(seconds) * 1e9));
        } catch (NumberFormatException unreadable) {
            return null; // what cannot be read says nothing
        }
    }

    /** Tells whether the service itself said it, and no connection on the way. */
    boolean isOfService() {
        return !details.containsKey("grpc_status");
    }

    /** Returns what a future failed with, without what futures put around it. */
    static Throwable unwrap(Throwable failure) {
        Throwable bare = failure;
        while ((bare instanceof CompletionException || bare instanceof ExecutionException) && bare.getCause() != null) {
            bare = bare.getCause();
        }
        return bare;
    }

    /** Returns what a service said of one item of a stream. */
    static TrunklineException fromItem(trunkline.v1.Error item) {
        return new TrunklineException(
                item.getReason(), Status.fromCodeValue(item.getCode()).getCode(), item.getMessage(), item.getMetadataMap());
    }

    /** Returns the error with which a call ended; `lost` is the reason where the service cannot be reached. */
    static TrunklineException fromStatus(Status status, Metadata trailers, String lost) {
        com.google.rpc.Status said = trailers == null ? null : StatusProto.fromStatusAndTrailers(status, trailers);
        if (said != null) {
            for (Any detail : said.getDetailsList()) {
                ErrorInfo info = infoOf(detail);
                if (info != null && info.getDomain().equals(DOMAIN)) {
                    return new TrunklineException(info.getReason(), status.getCode(), said.getMessage(), info.getMetadataMap());
                }
            }
        }
        String words = status.getDescription() == null ? status.getCode().name() : status.getDescription();
        if (status.getCause() != null) {
            words += " (" + status.getCause().getMessage() + ")";
        }
        Map<String, String> name = Map.of("grpc_status", status.getCode().name());
        Throwable cause = status.getCause();
        return switch (status.getCode()) {
            case UNAVAILABLE, CANCELLED ->
                new TrunklineException(lost, Status.Code.UNAVAILABLE, "the service is unavailable: " + words, name, cause);
            case DEADLINE_EXCEEDED ->
                new TrunklineException(Reason.REQUEST_TIMEOUT, status.getCode(), "no answer came before the deadline", name, cause);
            case RESOURCE_EXHAUSTED -> words.contains("exceeds maximum") || words.contains("larger than max")
                ? new TrunklineException(
                        Reason.MESSAGE_TOO_LARGE, Status.Code.INVALID_ARGUMENT, "over gRPC's size limit: " + words, name, cause)
                : new TrunklineException(Reason.OVERLOADED, status.getCode(), words, name, cause);
            default -> new TrunklineException(status.getCode().name(), status.getCode(), words, name, cause);
        };
    }

    private static ErrorInfo infoOf(Any detail) {
        if (!detail.is(ErrorInfo.class)) {
            return null;
        }
        try {
            return detail.unpack(ErrorInfo.class);
        } catch (InvalidProtocolBufferException broken) {
            return null; // what cannot be read says nothing: the status itself does
        }
    }
}
