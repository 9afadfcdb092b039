package trunkline;

import com.google.protobuf.util.Durations;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import trunkline.v1.LifeEvent;
import trunkline.v1.Message;
import trunkline.v1.OpenStreamRequest.Cancel;
import trunkline.v1.Priority;
import trunkline.v1.RespondRequest;
import trunkline.v1.SubscribeRequest;
import trunkline.v1.SubscribeResponse;
import trunkline.v1.SubscribeResponse.Deliveries;
import trunkline.v1.SubscribeResponse.Requested;

/** Answers requests, each on the stream on which it came. It is lost with its stream: who asked hears so, and what runs is called off. */
final class RespondSubscription extends LiveSubscription {
    private static final int SIGNS_OF_LIFE = 3; // within an idle timeout, while a handler runs and says nothing itself
    private static final int MAX_REPORTED = 1000; // events that one answer brings

    private final Responder answerer;
    private final String name;

    // All below by the lock.
    private final Map<String, Request> asked = new HashMap<>(); // by request id: what was handed out, and is not over
    private final Set<Request> saying = new LinkedHashSet<>(); // those that have something to say with the next frame
    private Way source; // the item of another stream whose frame is taken now
    private final Map<Way, Runnable> left = new HashMap<>(); // streams that it has left; what is told when nothing is answered there
    private final Map<Way, Integer> counted = new HashMap<>(); // of other streams: messages taken since credit was granted there
    private final Map<String, AskedEntry> spares = new HashMap<>(); // came again on another stream: taken if the first is called off

    /** A request that waits here. */
    private static final class AskedEntry extends Entry {
        final Request request;

        AskedEntry(Request request) {
            super(request.message(), request.channel(), request.sequence(), 0);
            this.request = request;
        }
    }

    RespondSubscription(Bus bus, String pattern, SubscribeOptions options, Responder answerer) {
        super(bus, pattern, options, 1, none -> {});
        this.answerer = answerer;
        this.name = options.name.isEmpty() ? bus.options.clientName() : options.name;
    }

    @Override
    void want(SubscribeRequest.Start.Builder start, int messages) {
        super.want(start, messages);
        start.setResponder(true);
    }

    @Override
    Handover expectHandover() {
        return null; // each stream brings its own
    }

    /** Returns where the frame comes from that is taken now. */
    private Way arrivingBy() {
        return source == null ? way : source;
    }

    /** Takes a frame of another stream than that of now. */
    void takeFrom(Way by, SubscribeResponse frame) {
        source = by;
        takeNow(frame);
        source = null;
    }

    @Override
    void moved() {
        taken = counted.getOrDefault(way, 0);
        counted.clear();
        done(0);
    }

    /** Counts messages that were taken, for the credit of the stream that brought them. */
    private void count(Way by, int messages) {
        if (by.equals(way)) {
            done(messages);
        } else {
            counted.merge(by, messages, Integer::sum);
        }
    }

    /** Leaves a stream: what came there and was not begun goes to others. `tell` is called when what was begun is answered. */
    void leave(Way by, Runnable tell) {
        letGoAll(by, true);
        left.put(by, tell);
        lookAnswered();
    }

    /** Loses a stream: who asked there hears so, and what runs is called off. */
    void lose(Way by) {
        left.remove(by);
        counted.remove(by);
        letGoAll(by, false);
    }

    private void letGoAll(Way by, boolean butBegun) {
        spares.values().removeIf(each -> each.request.way.equals(by));
        for (Request each : List.copyOf(asked.values())) {
            if (each.way.equals(by) && !(butBegun && each.hasBegun)) {
                letGo(each);
            }
        }
    }

    /** Answers a request no more, unless it came on another stream too. */
    private void letGo(Request request) {
        asked.remove(request.id());
        saying.remove(request);
        request.callOff();
        AskedEntry spare = spares.remove(request.id());
        if (spare != null) {
            asked.put(request.id(), spare.request);
            count(spare.request.way, -1); // it counted as taken while it was in reserve
            push(Priority.PRIORITY_MEDIUM_VALUE, List.of(spare));
        }
    }

    private void lookAnswered() {
        for (Way each : List.copyOf(left.keySet())) {
            if (asked.values().stream().noneMatch(one -> one.way.equals(each))) {
                left.remove(each).run();
            }
        }
    }

    @Override
    List<? extends Entry> arrived(Deliveries came) {
        List<AskedEntry> entries = new ArrayList<>(came.getRequestsCount());
        Way by = arrivingBy();
        for (Requested requested : came.getRequestsList()) {
            int at = requested.getIndex();
            if (at < 0 || at >= came.getMessagesCount()) {
                LOG.log(System.Logger.Level.ERROR, "the service named a request that is none: {0}", at);
                continue;
            }
            Request request = new Request(this, by, came.getMessages(at), came.getChannel(), came.getFirstSequence() + at, requested);
            AskedEntry entry = new AskedEntry(request);
            if (asked.containsKey(request.id())) {
                spares.put(request.id(), entry);
                continue;
            }
            if (!isClosed()) {
                asked.put(request.id(), request);
            }
            entries.add(entry);
        }
        count(by, came.getMessagesCount() - entries.size());
        return entries;
    }

    @Override
    boolean begin(Entry came) {
        Request request = ((AskedEntry) came).request;
        count(request.way, 1);
        return !request.isCalledOff() && !Messages.isExpired(came.message);
    }

    @Override
    void other(SubscribeResponse frame) {
        switch (frame.getFrameCase()) {
            case PART_CREDIT -> {
                Request request = asked.get(frame.getPartCredit().getRequestId());
                if (request != null && request.way.equals(arrivingBy())) {
                    request.addCredit(frame.getPartCredit().getParts());
                }
            }
            case CALLED_OFF -> callOff(frame.getCalledOff().getRequestId());
            case REFUSED_RESPONSE -> refused(frame.getRefusedResponse());
            default -> super.other(frame);
        }
    }

    private void callOff(String id) {
        Way by = arrivingBy();
        Request request = asked.get(id);
        AskedEntry spare = spares.get(id);
        if (request != null && request.way.equals(by)) {
            letGo(request);
            lookAnswered();
        } else if (spare != null && spare.request.way.equals(by)) {
            spares.remove(id);
        }
    }

    /** Ends a request whose events were refused: who asked would miss them, its end too. */
    private void refused(SubscribeResponse.RefusedResponse said) {
        TrunklineException why = TrunklineException.fromItem(said.getError());
        callOff(said.getRequestId());
        if (why.is(Reason.REQUEST_NOT_FOUND)) {
            LOG.log(System.Logger.Level.DEBUG, "an answer came too late: {0}", why.getMessage());
            return;
        }
        LOG.log(System.Logger.Level.WARNING, "an answer was refused: {0}", why.toString());
        respond(arrivingBy(), said.getRequestId(), List.of(failureOf(why, false)));
    }

    private static void respond(Way by, String id, List<LifeEvent> events) {
        by.say(SubscribeRequest.newBuilder().setRespond(RespondRequest.newBuilder().setRequestId(id).addAllEvents(events)));
    }

    void touch(Request request) {
        saying.add(request);
        request.way.session().touch(this);
    }

    @Override
    void gather() {
        for (Request request : saying) {
            do { // one without events is a sign of life
                List<LifeEvent> some = new ArrayList<>();
                int size = 0;
                while (!request.events().isEmpty() && some.size() < MAX_REPORTED && size < MultiplexedStream.FRAME_BYTES) {
                    size += request.events().peekFirst().getSerializedSize();
                    some.add(request.events().removeFirst());
                }
                respond(request.way, request.id(), some);
            } while (!request.events().isEmpty());
            if (request.isOver()) {
                asked.remove(request.id());
                spares.remove(request.id());
            }
        }
        saying.clear();
        lookAnswered();
    }

    @Override
    void streamLost() {
        forgetWaiting();
        lose(way);
    }

    /** Takes nothing more; what was accepted is still answered. */
    @Override
    void closing() {
        spares.clear();
        asked.values().removeIf(each -> !each.hasBegun);
        if (way.isOpen()) {
            gather();
            way.cancel(Cancel.newBuilder().setFinish(true).build());
        }
    }

    /** Calls off what runs: who asked hears that its responder is lost, and not how its handler took that. */
    @Override
    void abandoning() {
        List.copyOf(asked.values()).stream().filter(each -> !each.isOver()).forEach(this::letGo);
        lookAnswered();
    }

    @Override
    void run(Entry came) {
        Request request = ((AskedEntry) came).request;
        lock.lock();
        try {
            if (request.isCalledOff()) {
                return;
            }
            request.hasBegun = true;
            request.put(LifeEvent.newBuilder().setAccepted(LifeEvent.Accepted.newBuilder().setResponder(name)).build());
        } finally {
            lock.unlock();
        }
        List<ScheduledFuture<?>> timers = new ArrayList<>(2);
        timers.add(Threads.CLOCK.schedule(() -> late(request), request.deadline - System.nanoTime(), TimeUnit.NANOSECONDS));
        if (request.requested.hasIdleTimeout()) {
            long beat = Math.max(Durations.toNanos(request.requested.getIdleTimeout()) / SIGNS_OF_LIFE, 1_000_000);
            timers.add(Threads.CLOCK.scheduleAtFixedRate(() -> live(request), beat, beat, TimeUnit.NANOSECONDS));
        }
        Message[] reply = new Message[1];
        invoke(request.invocation, () -> reply[0] = answer(request), failed -> end(request, came, reply[0], failed));
        timers.forEach(each -> each.cancel(false));
    }

    /** Returns the answer; one that cannot be sent is a failure. */
    private Message answer(Request request) throws Exception {
        Message reply = answerer.answer(request);
        if (reply != null) {
            Messages.encode(reply, bus.options.maxMessageBytes);
        }
        return reply;
    }

    private void end(Request request, Entry came, Message reply, Throwable failed) {
        lock.lock();
        try {
            if (failed == null) {
                LifeEvent.Result.Builder result = LifeEvent.Result.newBuilder();
                if (reply != null) {
                    result.setMessage(request.named(reply));
                }
                request.end(LifeEvent.newBuilder().setResult(result).build());
            } else if (!request.isCalledOff()) {
                logFailure(came, failed);
                request.end(failureOf(failed, request.requested.getTraceback()));
            }
        } finally {
            lock.unlock();
        }
    }

    /** Calls a request off whose time is over: whoever asked waits no more. */
    private void late(Request request) {
        lock.lock();
        try {
            if (asked.get(request.id()) == request) {
                spares.remove(request.id());
                letGo(request);
                lookAnswered();
            }
        } finally {
            lock.unlock();
        }
    }

    /** Says that a handler is at work. */
    private void live(Request request) {
        lock.lock();
        try {
            if (!request.isOver()) {
                touch(request);
            }
        } finally {
            lock.unlock();
        }
    }

    private static LifeEvent failureOf(Throwable failed, boolean withTrace) {
        LifeEvent.Failure.Builder said =
                LifeEvent.Failure.newBuilder().setType(failed.getClass().getSimpleName()).setText(textOf(failed));
        if (failed instanceof Failure failure) {
            said.setCode(cleanText(failure.code())).setRetryable(failure.isRetryable());
        } else if (failed instanceof TrunklineException known) {
            said.setCode(known.reason()).setRetryable(known.isRetryable());
        }
        if (withTrace) {
            StringWriter trace = new StringWriter();
            failed.printStackTrace(new PrintWriter(trace));
            said.setTraceback(cleanText(trace.toString()));
        }
        return LifeEvent.newBuilder().setFailure(said).build();
    }
}
