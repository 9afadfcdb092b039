package trunkline;

import trunkline.v1.Message;

/** Answers requests. */
@FunctionalInterface
public interface Responder {
    /** Returns the answer; null: it is done. What it throws fails the request; see {@link Failure}. */
    Message answer(Request request) throws Exception;
}
