package trunkline;

import trunkline.v1.SubscribeResponse;

/**
 * Takes what comes for an item whose subscription is another session's: it is about to come here, or has left. Its methods are called
 * with the lock held.
 */
interface Visitor {
    void take(SubscribeResponse frame);

    /** No more comes; null: as it was asked for. */
    void end(TrunklineException why);
}
