package trunkline;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonParseException;
import com.google.gson.Strictness;
import com.google.protobuf.Duration;
import com.google.protobuf.Timestamp;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.Timestamps;
import java.lang.reflect.Type;
import java.util.UUID;
import trunkline.v1.Message;
import trunkline.v1.Priority;

/** Makes messages and reads them. */
public final class Messages {
    private static final int MAX_ORDERING_KEY = 255;
    private static final Gson GSON =
            new GsonBuilder().disableHtmlEscaping().serializeNulls().setStrictness(Strictness.STRICT).create();

    private Messages() {}

    /**
     * Makes a message whose payload is a value as JSON, as Gson writes it: a record, a map, a list, a {@link JsonElement}. Set what else
     * the message shall have by {@code json(value).toBuilder()}.
     */
    public static Message json(Object value) {
        return Message.newBuilder().setJson(GSON.toJson(value)).build();
    }

    /** Returns the JSON of a message's payload; neither payload means an empty object, as everywhere. Of bytes it returns them as UTF-8. */
    public static String text(Message message) {
        return switch (message.getPayloadCase()) {
            case JSON -> message.getJson();
            case DATA -> message.getData().toStringUtf8();
            case PAYLOAD_NOT_SET -> "{}";
        };
    }

    /**
     * Reads the JSON of a message's payload. In a {@link JsonElement} numbers stay exact.
     *
     * @throws TrunklineException INVALID_MESSAGE, saying where it is broken
     */
    public static <T> T decode(Message message, Class<T> as) {
        return as.cast(decode(message, (Type) as));
    }

    /** Reads the JSON of a message's payload as a type that no class names, such as a list of records. */
    public static Object decode(Message message, Type as) {
        try {
            return GSON.fromJson(text(message), as);
        } catch (JsonParseException broken) {
            throw TrunklineException.invalid(
                            Reason.INVALID_MESSAGE, "payload", message.getMessageId(),
                            "the payload of message \"" + message.getMessageId() + "\" is not the JSON that is wanted: " + broken.getMessage())
                    .because(broken);
        }
    }

    /** Tells whether a message is past its TTL, which counts from its time. */
    static boolean isExpired(Message message) {
        return message.hasTtlSeconds()
                && message.hasTimestamp()
                && System.currentTimeMillis() > Timestamps.toMillis(message.getTimestamp()) + 1000L * message.getTtlSeconds();
    }

    static String newId() {
        return UUID.randomUUID().toString();
    }

    /** Returns a message that has an id, so that it stays the same message where it is sent again. */
    static Message named(Message message) {
        return message == null || !message.getMessageId().isEmpty() ? message : message.toBuilder().setMessageId(newId()).build();
    }

    /**
     * Encodes a message that a service would take: it refuses a frame as a whole, and so what others publish with it.
     *
     * @throws TrunklineException INVALID_MESSAGE or MESSAGE_TOO_LARGE
     */
    static byte[] encode(Message message, int limit) {
        check(message);
        int size = message.getSerializedSize();
        if (size > limit) {
            throw TrunklineException.tooLarge("message", size, limit);
        }
        return message.toByteArray();
    }

    private static TrunklineException wrong(String field, Object value, String why) {
        return TrunklineException.invalid(Reason.INVALID_MESSAGE, field, value, field + " is " + value + ", " + why);
    }

    private static void check(Message message) {
        if (message == null) {
            throw TrunklineException.invalid(Reason.INVALID_MESSAGE, "message", "null", "the message is null");
        }
        if (message.getPriority() == Priority.UNRECOGNIZED) {
            throw wrong("priority", message.getPriorityValue(), "which is none");
        }
        if (message.hasTtlSeconds() && message.getTtlSeconds() < 1) {
            throw wrong("ttl_seconds", message.getTtlSeconds(), "it must be at least 1");
        }
        if (message.getOrderingKeyBytes().size() > MAX_ORDERING_KEY) {
            throw wrong("ordering_key", "too long", "at most 255 bytes are allowed");
        }
        checkTime("timestamp", message.hasTimestamp(), message.getTimestamp());
        checkTime("deliver_at", message.hasDeliverAt(), message.getDeliverAt());
        if (message.hasDeliverAfter()) {
            Duration delay = message.getDeliverAfter();
            if (!Durations.isValid(delay) || Durations.isNegative(delay)) {
                throw wrong("deliver_after", delay.getSeconds() + " s", "it must be 0 or more");
            }
            if (message.hasDeliverAt()) {
                throw wrong("deliver_after", Durations.toString(delay), "and deliver_at is set too: at most one is allowed");
            }
        }
        checkText("message_id", message.getMessageId());
        checkText("message_type", message.getMessageType());
        checkText("sender_id", message.getSenderId());
        checkText("recipient_id", message.getRecipientId());
        checkText("correlation_id", message.getCorrelationId());
        checkText("content_type", message.getContentType());
        checkText("metadata_json", message.getMetadataJson());
        checkText("ordering_key", message.getOrderingKey());
        if (message.hasJson()) {
            checkText("json", message.getJson());
        }
    }

    private static void checkTime(String field, boolean isSet, Timestamp time) {
        if (isSet && !Timestamps.isValid(time)) {
            throw wrong(field, time.getSeconds() + " s and " + time.getNanos() + " ns", "which is no time");
        }
    }

    /** Refuses half of a character, which UTF-8 does not have: it would arrive as a question mark. */
    private static void checkText(String field, String text) {
        for (int at = 0; at < text.length(); at++) {
            char unit = text.charAt(at);
            if (Character.isSurrogate(unit)) {
                if (at + 1 == text.length() || !Character.isSurrogatePair(unit, text.charAt(at + 1))) {
                    throw TrunklineException.invalid(
                            Reason.INVALID_MESSAGE, field, "", field + " has half of a character at " + at + ", which UTF-8 does not have");
                }
                at++;
            }
        }
    }

    /** Throws INVALID_MESSAGE for what only a stored message can have. */
    static void checkLive(Message message) {
        if (message == null) {
            return; // `encode` says it
        }
        if (message.hasDeliverAt() || message.hasDeliverAfter()) {
            throw TrunklineException.invalid(
                    Reason.INVALID_MESSAGE, "deliver_at", "set", "only a stored message can be held back: use publishStored");
        }
        if (!message.getOrderingKey().isEmpty()) {
            throw TrunklineException.invalid(
                    Reason.INVALID_MESSAGE, "ordering_key", message.getOrderingKey(),
                    "only a stored message has an ordering key: use publishStored");
        }
    }

    static Duration duration(java.time.Duration time) {
        return Duration.newBuilder().setSeconds(time.getSeconds()).setNanos(time.getNano()).build();
    }

    static java.time.Duration time(Duration duration) {
        return java.time.Duration.ofSeconds(duration.getSeconds(), duration.getNanos());
    }
}
