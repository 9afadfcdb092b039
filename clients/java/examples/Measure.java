import java.util.Map;
import trunkline.Bus;
import trunkline.Messages;
import trunkline.State;
import trunkline.TrunklineException;
import trunkline.v1.TaskResult;

/**
 * An agent that measures texts: it does tasks that wait in a durable subscription, answers requests, and keeps each result in the state
 * service, where a watch sees it.
 *
 * <pre>Measure [BUS [STATE]]</pre>
 *
 * Each address is host:port, tls://host:port or unix:/path; of a sidecar, the same for both.
 */
public final class Measure {
    record Text(String name, String source) {
        long lines() {
            return source.chars().filter(each -> each == '\n').count();
        }
    }

    private Measure() {}

    public static void main(String[] arguments) {
        Bus bus = Bus.connect(arguments.length > 0 ? arguments[0] : "127.0.0.1:7431").join();
        State state = State.connect(arguments.length > 1 ? arguments[1] : "127.0.0.1:7432").join();
        Runtime.getRuntime().addShutdownHook(new Thread(bus::close)); // waits for the task at work

        bus.respond("measure:ask", request -> Messages.json(Map.of("lines", request.decode(Text.class).lines()))).join();

        bus.subscribeDurable("measure:tasks", "measure", task -> {
            Text given;
            try {
                given = task.decode(Text.class);
            } catch (TrunklineException broken) {
                task.terminate(broken.getMessage());
                return;
            }
            state.save(TaskResult.newBuilder()
                            .setTaskId(given.name())
                            .setAgentId("measure-java")
                            .setStatus("completed")
                            .setOutputDataJson("{\"lines\": " + given.lines() + "}")
                            .build())
                    .join();
        }).join();

        System.out.println("ready");
    }
}
