import { readFileSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";

import type { Address } from "./address.js";
import { TrunklineError } from "./errors.js";

const PATIENCE = 2000; // milliseconds

/**
 * What is trusted at a tls:// address, and what is shown of oneself. What is not given is what the variables TRUNKLINE_TLS_CA,
 * TRUNKLINE_TLS_CERT, TRUNKLINE_TLS_KEY and TRUNKLINE_TLS_SERVER_NAME say, as for every client.
 */
export interface Tls {
  /** The authorities that may sign the service's certificate: a PEM file, PEM itself, or "system", Node's own (the default). */
  ca?: string;
  /** The client's own certificate and key, PEM files or PEM, for a service that asks for one; read anew for each connection. */
  cert?: string;
  key?: string;
  /** The name that the service's certificate must have. Default: the host of the address. */
  serverName?: string;
}

/** What a connection is made with. */
export interface Trusted {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
  serverName?: string;
}

export function tlsError(at: Address, reason: string, words: string, cause?: unknown): TrunklineError {
  return new TrunklineError("TLS", `no TLS with ${at.text}: ${words}`, { reason, address: at.text }, { cause });
}

/** Reads what is given, or what the environment names. */
export function loadTls(at: Address, given: Tls): Trusted {
  const pick = (value: string | undefined, variable: string): string => value ?? process.env[variable] ?? "";
  const ca = pick(given.ca, "TRUNKLINE_TLS_CA");
  const cert = pick(given.cert, "TRUNKLINE_TLS_CERT");
  const key = pick(given.key, "TRUNKLINE_TLS_KEY");
  const serverName = pick(given.serverName, "TRUNKLINE_TLS_SERVER_NAME");
  if ((cert === "") !== (key === "")) {
    throw tlsError(at, "invalid_files", "a certificate and its key are given together (TRUNKLINE_TLS_CERT, TRUNKLINE_TLS_KEY)");
  }
  try {
    return {
      ...(ca !== "" && ca !== "system" ? { ca: pem(ca) } : {}),
      ...(cert !== "" ? { cert: pem(cert), key: pem(key) } : {}),
      ...(serverName !== "" ? { serverName } : {}),
    };
  } catch (error) {
    throw tlsError(at, "invalid_files", `its files cannot be read: ${String(error)}`, error);
  }
}

function pem(fileOrText: string): Buffer {
  return fileOrText.includes("-----BEGIN ") ? Buffer.from(fileOrText) : readFileSync(fileOrText);
}

/**
 * Asks why no connection can be made, by a handshake of its own; undefined where TLS is not the reason, or it cannot be told.
 */
export async function whyRefused(at: Address, trusted: Trusted | undefined): Promise<TrunklineError | undefined> {
  if (at.isUnix) {
    return undefined;
  }
  let socket: Socket;
  try {
    socket = await opened(connectTcp({ host: at.host, port: at.port }), "connect");
  } catch {
    return undefined;
  }
  const options: ConnectionOptions = {
    socket, ALPNProtocols: ["h2"], minVersion: "TLSv1.2", rejectUnauthorized: trusted !== undefined,
    ...(/^[\d.]+$|:/.test(trusted?.serverName ?? at.host) ? {} : { servername: trusted?.serverName ?? at.host }),
    ...(trusted?.ca ? { ca: trusted.ca } : {}),
    ...(trusted?.cert && trusted.key ? { cert: trusted.cert, key: trusted.key } : {}),
    host: trusted?.serverName ?? at.host,
  };
  const secure = connectTls(options);
  try {
    await opened(secure, "secureConnect");
    if (trusted === undefined) {
      return tlsError(at, "tls_required", `it speaks TLS: write tls://${at.text}`);
    }
    await opened(secure, "data"); // since TLS 1.3 a client's certificate is judged after the client's handshake
    return undefined;
  } catch (error) {
    return refusal(at, trusted, error as NodeJS.ErrnoException);
  } finally {
    secure.destroy();
    socket.destroy();
  }
}

class TooLate extends Error {}

async function opened<S extends Socket>(socket: S, event: string): Promise<S> {
  return new Promise<S>((resolve, reject) => {
    const timer = setTimeout(() => reject(new TooLate()), PATIENCE);
    const end = (settle: () => void) => (): void => {
      clearTimeout(timer);
      settle();
    };
    socket.once(event, end(() => resolve(socket)));
    socket.on("error", (error) => end(() => reject(error))());
    socket.once("close", end(() => reject(Object.assign(new Error("it hangs up"), { code: "ECONNRESET" }))));
  });
}

const UNTRUSTED = new Set([
  "SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "DEPTH_ZERO_SELF_SIGNED_CERT", "UNABLE_TO_GET_ISSUER_CERT", "CERT_SIGNATURE_FAILURE",
]);

function refusal(at: Address, trusted: Trusted | undefined, error: NodeJS.ErrnoException): TrunklineError | undefined {
  const code = error.code ?? "";
  const isAlert = code.includes("ALERT");
  if (error instanceof TooLate) {
    return undefined;
  }
  if (trusted === undefined) {
    return isAlert ? tlsError(at, "tls_required", `it speaks TLS: write tls://${at.text}`, error) : undefined;
  }
  if (UNTRUSTED.has(code)) {
    return tlsError(at, "untrusted_authority", `its certificate is not trusted: ${error.message} (TRUNKLINE_TLS_CA)`, error);
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return tlsError(at, "wrong_name", `its certificate is not for ${trusted.serverName ?? at.host} (TRUNKLINE_TLS_SERVER_NAME)`, error);
  }
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") {
    return tlsError(at, "expired", `its certificate is not valid now: ${error.message}`, error);
  }
  if (code.includes("CERTIFICATE_REQUIRED")) {
    return tlsError(at, "certificate_required", "it asks for a client certificate, and none is given (TRUNKLINE_TLS_CERT)", error);
  }
  if (isAlert && (code.includes("CERT") || code.includes("UNKNOWN_CA"))) {
    return tlsError(at, "certificate_refused", `it does not take the client certificate: ${error.message}`, error);
  }
  if (["ERR_SSL_WRONG_VERSION_NUMBER", "ERR_SSL_PACKET_LENGTH_TOO_LONG", "ECONNRESET", "EPIPE", "EPROTO"].includes(code)) {
    return tlsError(at, "not_tls", "it does not speak TLS", error);
  }
  return tlsError(at, "handshake_failed", error.message, error);
}
