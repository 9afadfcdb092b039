/** The generated code of the whole contract: schemas, and BusService and StateService for `bus.call` and `state.call`. */
export * from "./gen/trunkline/v1/bus_pb.js";
export * from "./gen/trunkline/v1/dead_letter_pb.js";
export * from "./gen/trunkline/v1/durable_pb.js";
export * from "./gen/trunkline/v1/error_pb.js";
export * from "./gen/trunkline/v1/life_pb.js";
export * from "./gen/trunkline/v1/message_pb.js";
export * from "./gen/trunkline/v1/move_pb.js";
export * from "./gen/trunkline/v1/state_pb.js";
export * from "./gen/trunkline/v1/task_pb.js";
export * from "./gen/trunkline/v1/waiting_pb.js";
