/**
 * The Java client of Trunkline: publish and subscribe, requests and replies, durable delivery and shared state between agents.
 *
 * <p>{@link trunkline.Bus#connect(String)} and {@link trunkline.State#connect(String)} connect to a service, or to a sidecar, which
 * serves both at one address. Each object has one long stream that carries everything, and restores it by itself: subscriptions
 * come back, watches resume. Where a replica asks for it, both move to another one. Messages and records are those of the contract,
 * package {@code trunkline.v1}; what this package has no method for is called by the stubs over {@link trunkline.Bus#channel()} and
 * {@link trunkline.State#channel()}.
 *
 * <p>Every error that a service or this package raises is a {@link trunkline.TrunklineException}. A future fails with it; {@code
 * join()} wraps it, as ever, in a {@link java.util.concurrent.CompletionException}.
 */
package trunkline;
