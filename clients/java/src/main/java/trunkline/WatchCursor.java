package trunkline;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import trunkline.v1.RecordKind;
import trunkline.v1.WatchRequest;
import trunkline.v1.WatchResponse;

/**
 * How far a watch has come, over all streams that carry it. Before SYNCED a new stream begins with the records again: those that were
 * given are left out, and those that are gone are reported. After it, a new stream continues after the last revision.
 */
final class WatchCursor {
    private final WatchRequest wanted;
    private final Change.Type gone;
    private final Map<Key, Long> given = new HashMap<>(); // until SYNCED: the records that were given, with their revisions
    private Set<Key> seen = new HashSet<>(); // the same of the current stream
    private boolean isSynced;
    private Long after; // null: begin with the records

    private record Key(RecordKind kind, String id) {}

    WatchCursor(WatchRequest wanted) {
        this.wanted = wanted;
        this.after = wanted.hasAfterRevision() ? wanted.getAfterRevision() : null;
        this.gone = wanted.hasFilter() ? Change.Type.LEFT : Change.Type.DELETED;
    }

    /** Returns what a new stream is asked. */
    WatchRequest begin() {
        seen = new HashSet<>();
        return after == null ? wanted : wanted.toBuilder().setAfterRevision(after).build();
    }

    /** Returns what is to be reported of a frame. */
    List<Change> take(WatchResponse frame) {
        return switch (frame.getFrameCase()) {
            case PROGRESS -> {
                if (isSynced) {
                    advance(frame.getProgress().getRevision());
                }
                yield List.of();
            }
            case SYNCED -> sync(frame.getSynced().getRevision());
            case RECORD -> change(Change.saved(frame.getRecord()));
            case LEFT -> change(Change.left(frame.getLeft()));
            default -> List.of(); // a `move`, or of a newer service
        };
    }

    private void advance(long revision) {
        if (after == null || revision > after) {
            after = revision;
        }
    }

    private List<Change> change(Change change) {
        if (after != null) {
            after = change.revision();
            return List.of(change);
        }
        Key key = new Key(change.kind(), change.id());
        seen.add(key);
        Long before = given.put(key, change.revision());
        return before != null && before == change.revision() ? List.of() : List.of(change);
    }

    private List<Change> sync(long revision) {
        List<Change> told = new ArrayList<>();
        if (after == null) {
            for (Key key : given.keySet()) {
                if (!seen.contains(key)) {
                    told.add(Change.gone(gone, revision, key.kind(), key.id()));
                }
            }
        }
        given.clear();
        if (!isSynced) {
            told.add(Change.synced(revision));
        }
        isSynced = true;
        advance(revision);
        return told;
    }
}
