import type { MessageInitShape } from "@bufbuild/protobuf";

import type { SubscribeRequest_StartSchema, SubscribeRequestSchema } from "./gen/trunkline/v1/bus_pb.js";

export type { SubscribeResponse, SubscribeResponse_Deliveries } from "./gen/trunkline/v1/bus_pb.js";
/** A frame of a subscription, before it is made. */
export type SubscribeRequestInit = { frame: NonNullable<Exclude<MessageInitShape<typeof SubscribeRequestSchema>["frame"], undefined>> };
/** What is asked of a subscription. */
export type StartInit = Omit<MessageInitShape<typeof SubscribeRequest_StartSchema>, "$typeName" | "$unknown">;
