package trunkline;

import java.util.ArrayDeque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/** What two streams may both bring of one subscription, by its sequences, which are the same at all replicas. By the lock. */
final class Overlap {
    private static final long KNOWN_FOR = TimeUnit.MINUTES.toNanos(1); // it is known what came on the stream before

    private Set<Long> came; // what comes on the stream that is about to be left; null: it was left
    private final ArrayDeque<Known> known = new ArrayDeque<>();

    private record Known(long until, Set<Long> sequences) {}

    /** From now on the other stream may bring what this one does. */
    void begin() {
        if (came == null) {
            came = new HashSet<>();
        }
    }

    /** This stream has brought its last. */
    void end() {
        if (came != null && !came.isEmpty()) {
            known.addLast(new Known(System.nanoTime() + KNOWN_FOR, came));
        }
        came = null;
    }

    /** The other stream is given up: it has brought nothing. */
    void forget() {
        came = null;
    }

    /** Returns what is not known. */
    <T extends Subscription.Entry> List<T> sift(List<T> entries) {
        while (!known.isEmpty() && System.nanoTime() - known.peekFirst().until() > 0) {
            known.removeFirst();
        }
        List<T> unknown = known.isEmpty() ? entries : entries.stream().filter(each -> !isKnown(each.sequence)).toList();
        if (came != null) {
            unknown.forEach(each -> came.add(each.sequence));
        }
        return unknown;
    }

    private boolean isKnown(long sequence) {
        return known.stream().anyMatch(each -> each.sequences().contains(sequence));
    }
}
