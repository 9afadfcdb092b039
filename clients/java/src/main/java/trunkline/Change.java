package trunkline;

import com.google.protobuf.Timestamp;
import java.time.Instant;
import trunkline.v1.EndReason;
import trunkline.v1.RecordKind;
import trunkline.v1.WatchResponse;

/**
 * What a watch reports.
 *
 * @param type what happened
 * @param revision of the change; a watch that shall go on later begins after it
 * @param kind of the record
 * @param id of the record
 * @param record that which was saved; else null
 * @param reason why a record is no more; else unspecified
 * @param writtenBy whose write it was: who saved it, deleted it, or released the lease that it was bound to; empty where nobody did, or
 *     that is not known
 * @param writtenAt when it was made; null where that is not known
 */
public record Change(
        Type type, long revision, RecordKind kind, String id, trunkline.v1.Record record, EndReason reason, String writtenBy,
        Instant writtenAt) {
    /** What happened. */
    public enum Type {
        /** A record as it is now; at the beginning, or saved since. */
        SAVED,
        /** It is no more. */
        DELETED,
        /** It was saved, and matches the filter no longer. */
        LEFT,
        /** What was there has been reported; from here on, changes. */
        SYNCED
    }

    static Change saved(trunkline.v1.Record record) {
        return switch (record.getValueCase()) {
            case AGENT_STATE -> saved(record, RecordKind.RECORD_KIND_AGENT_STATE, record.getAgentState().getAgentId());
            case WORKFLOW_STATE -> saved(record, RecordKind.RECORD_KIND_WORKFLOW_STATE, record.getWorkflowState().getWorkflowId());
            case TASK_RESULT -> saved(record, RecordKind.RECORD_KIND_TASK_RESULT, record.getTaskResult().getTaskId());
            case LEASE -> saved(record, RecordKind.RECORD_KIND_LEASE, record.getLease().getName());
            case AGENT_PRESENCE -> saved(record, RecordKind.RECORD_KIND_AGENT_PRESENCE, record.getAgentPresence().getAgentId());
            case VALUE_NOT_SET -> saved(record, RecordKind.RECORD_KIND_UNSPECIFIED, ""); // of a kind that a newer service has
        };
    }

    private static Change saved(trunkline.v1.Record record, RecordKind kind, String id) {
        return new Change(
                Type.SAVED, record.getRevision(), kind, id, record, EndReason.END_REASON_UNSPECIFIED, record.getWrittenBy(),
                record.hasWrittenAt() ? instant(record.getWrittenAt()) : null);
    }

    static Change left(WatchResponse.Left left) {
        return new Change(
                left.getDeleted() ? Type.DELETED : Type.LEFT, left.getRevision(), left.getKind(), left.getId(), null,
                left.getDeleted() ? left.getReason() : EndReason.END_REASON_UNSPECIFIED, left.getWrittenBy(),
                left.hasWrittenAt() ? instant(left.getWrittenAt()) : null);
    }

    private static Instant instant(Timestamp time) {
        return Instant.ofEpochSecond(time.getSeconds(), time.getNanos());
    }

    /** A record that went while no stream told of it. */
    static Change gone(Type type, long revision, RecordKind kind, String id) {
        return new Change(type, revision, kind, id, null, EndReason.END_REASON_UNSPECIFIED, "", null);
    }

    static Change synced(long revision) {
        return gone(Type.SYNCED, revision, RecordKind.RECORD_KIND_UNSPECIFIED, "");
    }
}
