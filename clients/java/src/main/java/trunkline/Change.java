package trunkline;

import trunkline.v1.EndReason;
import trunkline.v1.RecordKind;

/**
 * What a watch reports.
 *
 * @param type what happened
 * @param revision of the change; a watch that shall go on later begins after it
 * @param kind of the record
 * @param id of the record
 * @param record that which was saved; else null
 * @param reason why a record is no more; else unspecified
 */
public record Change(Type type, long revision, RecordKind kind, String id, trunkline.v1.Record record, EndReason reason) {
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
        return new Change(Type.SAVED, record.getRevision(), kind, id, record, EndReason.END_REASON_UNSPECIFIED);
    }

    static Change gone(Type type, long revision, RecordKind kind, String id, EndReason reason) {
        return new Change(type, revision, kind, id, null, reason);
    }

    static Change synced(long revision) {
        return gone(Type.SYNCED, revision, RecordKind.RECORD_KIND_UNSPECIFIED, "", EndReason.END_REASON_UNSPECIFIED);
    }
}
