package trunkline;

import trunkline.v1.OpenStreamRequest.Cancel;
import trunkline.v1.SubscribeRequest;

/** A subscription's item on one stream. Its methods are called with the lock held. */
record Way(Session session, long id) {
    static Way on(Session session) {
        return new Way(session, session.stream.nextId());
    }

    void say(SubscribeRequest.Builder frame) {
        session.sayOf(id, frame);
    }

    void cancel(Cancel how) {
        session.cancelItem(id, how);
    }

    /** Tells whether it is open, and the subscription's own. */
    boolean isOpen() {
        return session.subscriptions.containsKey(id);
    }

    boolean isUp() {
        return session.stream.isUp();
    }
}
