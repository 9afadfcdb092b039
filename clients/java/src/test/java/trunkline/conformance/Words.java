package trunkline.conformance;

import static trunkline.conformance.Runner.said;
import static trunkline.conformance.Runner.text;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.ByteString;
import com.google.protobuf.Timestamp;
import com.google.protobuf.util.Timestamps;
import java.text.ParseException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Locale;
import trunkline.v1.AgentState;
import trunkline.v1.Message;
import trunkline.v1.Priority;

/** Messages and records as the table has them. Numbers of 64 bits are text, and so are times. */
final class Words {
    private Words() {}

    static Duration seconds(JsonElement number) {
        return Duration.ofNanos(Math.round(number.getAsDouble() * 1e9));
    }

    private static Timestamp time(String text) {
        try {
            return Timestamps.parse(text);
        } catch (ParseException wrong) {
            throw new IllegalArgumentException(text + " is no time", wrong);
        }
    }

    static Message toMessage(JsonObject words) {
        Message.Builder made = Message.newBuilder()
                .setMessageId(text(words, "id"))
                .setMessageType(text(words, "type"))
                .setSenderId(text(words, "sender"))
                .setRecipientId(text(words, "recipient"))
                .setContentType(text(words, "content_type"))
                .setCorrelationId(text(words, "correlation"))
                .setMetadataJson(text(words, "metadata"))
                .setOrderingKey(text(words, "key"));
        if (words.has("json")) {
            made.setJson(text(words, "json"));
        }
        if (words.has("data")) {
            made.setData(ByteString.copyFrom(HexFormat.of().parseHex(text(words, "data"))));
        }
        if (words.has("fill")) {
            made.setData(ByteString.copyFrom(new byte[words.get("fill").getAsInt()]));
        }
        if (words.has("priority")) {
            made.setPriority(Priority.valueOf("PRIORITY_" + text(words, "priority").toUpperCase(Locale.ROOT)));
        }
        if (words.has("ttl")) {
            made.setTtlSeconds(words.get("ttl").getAsInt());
        }
        if (words.has("time")) {
            made.setTimestamp(time(text(words, "time")));
        }
        return made.build();
    }

    private static void put(JsonObject told, String word, String value) {
        if (!value.isEmpty()) {
            told.addProperty(word, value);
        }
    }

    static JsonObject fromMessage(Message came) {
        JsonObject told = said("id", came.getMessageId());
        put(told, "type", came.getMessageType());
        put(told, "sender", came.getSenderId());
        put(told, "recipient", came.getRecipientId());
        put(told, "content_type", came.getContentType());
        put(told, "correlation", came.getCorrelationId());
        put(told, "metadata", came.getMetadataJson());
        put(told, "key", came.getOrderingKey());
        switch (came.getPayloadCase()) {
            case JSON -> told.addProperty("json", came.getJson());
            case DATA -> told.addProperty("data", HexFormat.of().formatHex(came.getData().toByteArray()));
            case PAYLOAD_NOT_SET -> { }
        }
        if (came.getPriority() != Priority.PRIORITY_UNSPECIFIED) {
            told.addProperty("priority", came.getPriority().name().substring("PRIORITY_".length()).toLowerCase(Locale.ROOT));
        }
        if (came.hasTtlSeconds()) {
            told.addProperty("ttl", came.getTtlSeconds());
        }
        if (came.hasTimestamp()) {
            told.addProperty("time", Timestamps.toString(came.getTimestamp()));
        }
        return told;
    }

    static AgentState toState(JsonObject words) {
        AgentState.Builder made = AgentState.newBuilder()
                .setAgentId(text(words, "id"))
                .setAgentType(text(words, "type"))
                .setStatus(text(words, "status"))
                .setCurrentTaskId(text(words, "task"))
                .setMetadataJson(text(words, "metadata"));
        if (words.has("completed")) {
            words.getAsJsonArray("completed").forEach(each -> made.addCompletedTasks(each.getAsString()));
        }
        if (words.has("errors")) {
            made.setErrorCount(Long.parseLong(text(words, "errors")));
        }
        if (words.has("heartbeat")) {
            made.setLastHeartbeat(time(text(words, "heartbeat")));
        }
        return made.build();
    }

    static JsonObject fromState(AgentState state) {
        JsonObject told = said("id", state.getAgentId());
        put(told, "type", state.getAgentType());
        put(told, "status", state.getStatus());
        put(told, "task", state.getCurrentTaskId());
        put(told, "metadata", state.getMetadataJson());
        if (state.getCompletedTasksCount() > 0) {
            JsonArray completed = new JsonArray();
            state.getCompletedTasksList().forEach(completed::add);
            told.add("completed", completed);
        }
        if (state.getErrorCount() != 0) {
            told.addProperty("errors", Long.toString(state.getErrorCount()));
        }
        if (state.hasLastHeartbeat()) {
            told.addProperty("heartbeat", Timestamps.toString(state.getLastHeartbeat()));
        }
        return told;
    }
}
