import { invalid } from "./errors.js";

const UNIX = "unix:";
const TLS = "tls://";
const MAX_SOCKET_PATH = 107; // bytes of sun_path on Linux, less its end
const FORMS = "want host:port, such as 127.0.0.1:7431, tls://host:port, or unix:/path";

/** Where a service or a sidecar is: host:port, tls://host:port or unix:/path. */
export class Address {
  readonly isUnix: boolean;
  readonly isTls: boolean;
  readonly host: string = "";
  readonly port: number = 0;

  constructor(readonly text: string) {
    this.isUnix = text.startsWith(UNIX);
    this.isTls = text.startsWith(TLS);
    const wrong = (why: string): Error => {
      const shown = text.slice(0, 80);
      return invalid("INVALID_ADDRESS", "address", shown, `${JSON.stringify(shown)} is no address: ${why}`);
    };
    if (this.isUnix) {
      const path = text.slice(UNIX.length);
      if (path === "" || path.includes("\0")) {
        throw wrong("a UNIX socket needs a path, such as unix:/run/trunkline/bus.sock");
      }
      if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
        throw wrong("a UNIX socket's path has at most 107 bytes");
      }
      return;
    }
    const rest = this.isTls ? text.slice(TLS.length) : text;
    if (rest.includes("://")) {
      throw wrong(`${FORMS}: ${rest.split("://")[0]}:// has no place in an address`);
    }
    const parts = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s/:[\]]+)):(\d+)$/.exec(rest);
    if (parts === null) {
      throw wrong(FORMS);
    }
    this.host = parts[1] ?? parts[2] ?? "";
    this.port = Number(parts[3]);
    if (this.port < 1 || this.port > 65535) {
      throw wrong(`${FORMS}: a port is 1 to 65535`);
    }
  }

  /** The address as gRPC takes it: names are looked up anew where a connection is lost. */
  get target(): string {
    return this.isUnix ? this.text : `dns:${this.host.includes(":") ? `[${this.host}]` : this.host}:${this.port}`;
  }

  /** Whether it stays on this machine whatever a name server says. */
  get isLocal(): boolean {
    return this.isUnix || this.host === "localhost" || this.host === "::1" || /^127(\.\d+){3}$/.test(this.host);
  }
}
