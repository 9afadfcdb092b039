import { readFileSync } from "node:fs";
import { hostname } from "node:os";

import { create, fromBinary, toBinary, type DescMethodUnary, type DescMethodServerStreaming, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ChannelOptions, type ClientDuplexStream, type ClientReadableStream } from "@grpc/grpc-js";

import { Address } from "./address.js";
import { fromCall, invalid, TrunklineError, type Reason } from "./errors.js";
import { loadTls, tlsError, whyRefused, type Tls, type Trusted } from "./tls.js";
import { Deferred, until, type CallOptions } from "./waiting.js";

const MIB = 1024 * 1024;
export const MAX_FRAME_BYTES = 64 * MIB;
const MAX_TOKEN_BYTES = 8 * 1024;
const MAX_CLIENT_NAME = 255; // characters

/** What is told of something that happens, or went wrong beside the calls. */
export interface Log {
  info(message: string, ...more: unknown[]): void;
  error(message: string, ...more: unknown[]): void;
}

/** How a connection is made. */
export interface ConnectOptions {
  /** Ends connecting when it is aborted; not the connection. */
  signal?: AbortSignal;
  /** What is trusted and shown at a tls:// address. Default: what the environment says. */
  tls?: Tls;
  /**
   * A bearer token, or what gives one, asked for anew each time. Default: TRUNKLINE_TOKEN, or what the file has that
   * TRUNKLINE_TOKEN_FILE names. It goes over TLS, to a UNIX socket or to loopback alone: elsewhere connecting fails.
   */
  token?: string | (() => string | Promise<string>);
  /**
   * What the client is called, for people: subscriptions, leases and records that it wrote show it, also after a reconnect. It
   * proves nothing. At most 255 characters that can be printed. Default: TRUNKLINE_CLIENT_NAME, else the host's name and the
   * process.
   */
  clientName?: string;
  /** Milliseconds that connecting may take. Default: 5,000. */
  connectTimeout?: number;
  /** Whether a service that cannot be reached is waited for. Default: true. */
  wait?: boolean;
  /** Bytes that one encoded message may have; the service has its own limit. Default: 4 MiB. */
  maxMessageBytes?: number;
  /** Where what nobody is told otherwise goes. Default: the console. */
  log?: Log;
  /** Called with the reason when the connection is lost. */
  onDisconnected?: (why: TrunklineError) => void;
  /** Called when it is back, after subscriptions were asked for again. */
  onReconnected?: () => void;
}

/** The gRPC channel to one address, and who calls on it. */
export class Connection {
  readonly at: Address;
  /** What the client is called. */
  readonly clientName: string;
  private client: Client;
  private trusted: Trusted | undefined;
  private given = "";

  constructor(address: string, readonly options: ConnectOptions, readonly lost: Reason) {
    this.at = new Address(address);
    if (options.tls !== undefined && !this.at.isTls) {
      throw tlsError(this.at, "tls_required", "`tls` is given, and it is called without: write tls://host:port");
    }
    if (this.asksToken() && !this.at.isTls && !this.at.isLocal) {
      throw tlsError(this.at, "tls_required", "a token goes over TLS, a UNIX socket or loopback alone: write tls://host:port");
    }
    this.clientName = options.clientName || process.env["TRUNKLINE_CLIENT_NAME"] || `${hostname()}:${process.pid}`;
    if ([...this.clientName].length > MAX_CLIENT_NAME || /[\p{C}\p{Zl}\p{Zp}]/u.test(this.clientName)) {
      const wanted = `it must be 1 to ${MAX_CLIENT_NAME} characters that can be printed`;
      throw invalid("INVALID_MESSAGE", "client_name", this.clientName, `client_name is ${JSON.stringify(this.clientName)}, ${wanted}`);
    }
    this.client = this.open();
  }

  private open(): Client {
    this.trusted = this.at.isTls ? loadTls(this.at, this.options.tls ?? {}) : undefined;
    const options: ChannelOptions = {
      "grpc.max_receive_message_length": MAX_FRAME_BYTES,
      "grpc.max_send_message_length": MAX_FRAME_BYTES,
      "grpc.keepalive_time_ms": 20_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.keepalive_permit_without_calls": 1,
      "grpc.initial_reconnect_backoff_ms": 50,
      "grpc.max_reconnect_backoff_ms": 5_000,
      "grpc.enable_http_proxy": 0,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0,
      "grpc-node.flow_control_window": 4 * MIB,
      ...(this.trusted?.serverName ? { "grpc.ssl_target_name_override": this.trusted.serverName } : {}),
    };
    const { ca = null, key = null, cert = null } = this.trusted ?? {};
    const carried = this.at.isTls ? credentials.createSsl(ca, key, cert) : credentials.createInsecure();
    return new Client(this.at.target, carried, options);
  }

  /** Makes the channel anew where certificates may have been renewed. */
  renew(): void {
    if (this.trusted?.cert !== undefined) {
      this.client.close();
      this.client = this.open();
    }
  }

  close(): void {
    this.client.close();
  }

  /** Why no connection can be made, where TLS is the reason. It connects to ask, unless the service has answered. */
  async refused(error: TrunklineError): Promise<TrunklineError | undefined> {
    return error.details["grpc_status"] === undefined ? undefined : whyRefused(this.at, this.trusted);
  }

  disconnected(why: string, cause?: unknown): TrunklineError {
    const message = `the connection to ${this.at.text} was lost: ${why}`;
    return new TrunklineError(this.lost, message, { address: this.at.text }, { cause });
  }

  private asksToken(): boolean {
    const { TRUNKLINE_TOKEN: token, TRUNKLINE_TOKEN_FILE: file } = process.env;
    if (this.options.token === undefined && token && file) {
      throw new TrunklineError("UNAUTHENTICATED", "both TRUNKLINE_TOKEN and TRUNKLINE_TOKEN_FILE are set: which of them counts?");
    }
    return this.options.token !== undefined || Boolean(token) || Boolean(file);
  }

  private async token(): Promise<string> {
    const { token } = this.options;
    let said: string;
    try {
      said = typeof token === "function" ? await token()
        : token ?? (process.env["TRUNKLINE_TOKEN"] || readFileSync(process.env["TRUNKLINE_TOKEN_FILE"] ?? "", "utf8"));
    } catch (error) {
      throw new TrunklineError("UNAUTHENTICATED", `the token cannot be had: ${String(error)}`, {}, { cause: error });
    }
    said = said.trim();
    if (said.length > MAX_TOKEN_BYTES || !/^[!-~]+$/.test(said)) {
      throw new TrunklineError("UNAUTHENTICATED", "what is given is no token: 1 to 8192 printable ASCII characters without blanks");
    }
    return said;
  }

  /** Whether there is another token now than was given last, or none to be had. */
  async hasOtherToken(): Promise<boolean> {
    return this.asksToken() && (await this.token().catch(() => "")) !== this.given;
  }

  private async metadata(moves = false): Promise<Metadata> {
    const metadata = new Metadata();
    metadata.set("trunkline-client", encodeURIComponent(this.clientName));
    if (moves) { // a promise; see Move in move.proto
      metadata.set("trunkline-moves", "1");
    }
    if (this.asksToken()) {
      this.given = await this.token();
      metadata.set("authorization", `Bearer ${this.given}`);
    }
    return metadata;
  }

  /** Opens the long stream of a service. */
  async duplex<O>(path: string, read: (bytes: Buffer) => O): Promise<ClientDuplexStream<Uint8Array, O>> {
    return this.client.makeBidiStreamRequest(path, (frame: Uint8Array) => frame as Buffer, read, await this.metadata(true));
  }

  /** Makes a call of one answer; its errors are this package's. */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>, request: MessageInitShape<I>, options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const answered = new Deferred<MessageShape<O>>();
    const call = this.client.makeUnaryRequest(
      path(method), (value: MessageShape<I>) => Buffer.from(toBinary(method.input, value)),
      (bytes: Buffer) => fromBinary(method.output, bytes), create(method.input, request), await this.metadata(),
      (error, value) => (error ? answered.reject(fromCall(error, this.lost)) : answered.resolve(value as MessageShape<O>)),
    );
    return until(answered.promise, options, undefined, () => call.cancel());
  }

  /** Opens a stream of answers, once the service can be reached. */
  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>, request: MessageShape<I>,
  ): Promise<ClientReadableStream<MessageShape<O>>> {
    return this.client.makeServerStreamRequest(
      path(method), (value: MessageShape<I>) => Buffer.from(toBinary(method.input, value)),
      (bytes: Buffer) => fromBinary(method.output, bytes), request, await this.metadata(true),
    );
  }
}

function path(method: { name: string; parent: { typeName: string } }): string {
  return `/${method.parent.typeName}/${method.name}`;
}
