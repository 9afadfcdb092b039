import { invalid } from "./errors.js";

const MAX_CHANNEL = 255;

/** Throws INVALID_CHANNEL, saying what is wrong with a channel, or with a pattern. */
export function checkChannel(channel: string, isPattern = false): void {
  const kind = isPattern ? "pattern" : "channel";
  const wrong = (why: string): Error => {
    const shown = channel.slice(0, MAX_CHANNEL);
    return invalid("INVALID_CHANNEL", kind, shown, `${kind} ${JSON.stringify(shown)}: ${why}`);
  };
  if (channel === "") {
    throw wrong("it is empty");
  }
  if (channel.length > MAX_CHANNEL) {
    throw wrong("it has more than 255 characters");
  }
  const tokens = channel.split(":");
  tokens.forEach((token, at) => {
    const isWild = isPattern && (token === "*" || (token === ">" && at === tokens.length - 1));
    if (!isWild && !/^[A-Za-z0-9_.-]+$/.test(token)) {
      throw wrong("a token is letters, digits, '_', '.' and '-', and ':' stands between two");
    }
  });
}
