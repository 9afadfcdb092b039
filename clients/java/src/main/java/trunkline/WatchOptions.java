package trunkline;

import trunkline.v1.Filter;
import trunkline.v1.RecordKind;
import trunkline.v1.WatchRequest;

/** What a watch reports. Default: agent states, workflow states and task results. */
public final class WatchOptions {
    private final WatchRequest.Builder wanted = WatchRequest.newBuilder();

    /** Reports records of these kinds. */
    public WatchOptions kinds(RecordKind... kinds) {
        for (RecordKind each : kinds) {
            wanted.addKinds(each);
        }
        return this;
    }

    /** Reports one record; for one kind. */
    public WatchOptions id(String id) {
        wanted.setId(id);
        return this;
    }

    /** Reports the records that match; for one kind. */
    public WatchOptions filter(Filter filter) {
        wanted.setFilter(filter);
        return this;
    }

    /**
     * Reports the changes after a revision instead of the records that are there. Where they are no longer kept, the watch ends with
     * COMPACTED.
     */
    public WatchOptions afterRevision(long revision) {
        wanted.setAfterRevision(revision);
        return this;
    }

    WatchRequest wanted() {
        return wanted.build();
    }
}
