/**
 * Trunkline for Node: publish and subscribe, requests and replies, durable delivery and shared state, by one address.
 *
 * @packageDocumentation
 */
export type { LifeEvent } from "./asking.js";
export { Bus, connectBus, type RequestOptions } from "./bus.js";
export type { ConnectOptions, Log } from "./connection.js";
export { DurableSubscription, Leased, type DurableOptions } from "./durable.js";
export { isRetryable, isTrunklineError, TrunklineError, type Reason } from "./errors.js";
export * as v1 from "./v1.js";
export { json, Priority, read, Received, text, type Message, type MessageInit } from "./message.js";
export { Failure, Request, Responder, type RequestHandler, type RespondOptions } from "./respond.js";
export { connectState, RecordKind, State, type Filter, type Hold, type Page, type SaveOptions, type SaveValue, type StateRecord } from "./state.js";
export { Subscription, type EachOptions, type Handling, type LiveOptions, type SubscribeOptions } from "./subscription.js";
export type { Tls } from "./tls.js";
export type { CallOptions } from "./waiting.js";
export type { Change, WatchOptions } from "./watch.js";
