package trunkline;

/**
 * Handles what a subscription or a watch brings. What it throws fails its own message, and nothing else.
 *
 * @param <T> what it is given
 */
@FunctionalInterface
public interface Handler<T> {
    /** Handles one; its thread is interrupted where that is to end early. */
    void handle(T came) throws Exception;
}
