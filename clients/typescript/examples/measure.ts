// An agent that measures texts: it does tasks that wait in a durable subscription, answers requests, and keeps each result in the
// state service, where a watch sees it.
//
//     node dist/examples/measure.js [BUS [STATE]]
//
// Each address is host:port, tls://host:port or unix:/path; of a sidecar, the same for both.
import { connectBus, connectState, json } from "../src/index.js";

const [busAddress = "127.0.0.1:7431", stateAddress = "127.0.0.1:7432"] = process.argv.slice(2);
const bus = await connectBus(busAddress);
const state = await connectState(stateAddress);

const lines = (source: unknown): number => {
  if (typeof source !== "string") {
    throw new TypeError("there is no source to measure");
  }
  return source.split("\n").length - 1;
};

await bus.respond("measure:ask", ({ payload }) => json({ lines: lines(payload.source) })); // who asked hears what it throws

const tasks = await bus.subscribeDurable("measure:tasks", "measure");
process.once("SIGINT", () => bus.close());
console.log("ready");
await tasks.each(async (task) => {
  const { name, source } = task.payload;
  if (typeof source !== "string") {
    return task.terminate("there is no source to measure");
  }
  const outputDataJson = JSON.stringify({ lines: lines(source) });
  return state.save({ case: "taskResult", value: { taskId: name, agentId: "measure-typescript", status: "completed", outputDataJson } });
});
await state.close();
