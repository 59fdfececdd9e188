// The lines that the fault lab and a driver exchange.
import fs from "node:fs";

export const JOBS = "jobs";
export const NEWS = "news";
export const COUNTER = "counter";
// Over how many keys the load "spread" is spread: counter:0, counter:1, …
export const SPREAD_KEYS = 256;
export const BIG = "big";

const start = BigInt(Date.now()) * 1_000n - process.hrtime.bigint() / 1_000n;

// This moment: microseconds since 1970. Date has only milliseconds; the monotonic clock adds the rest, and Date corrects it
// when the two have drifted apart by more than that.
let offset = start;
export function now() {
  const moment = offset + process.hrtime.bigint() / 1_000n;
  const coarse = BigInt(Date.now()) * 1_000n;
  if (moment < coarse || moment > coarse + 1_000n) {
    offset += (moment < coarse ? coarse : coarse + 1_000n) - moment;
    return Number(moment < coarse ? coarse : coarse + 1_000n);
  }
  return Number(moment);
}

export function milliseconds(span) {
  return span.secs * 1e3 + span.nanos / 1e6;
}

export function span(milliseconds) {
  return { secs: Math.floor(milliseconds / 1e3), nanos: Math.round((milliseconds % 1e3) * 1e6) };
}

// The password that is in the file at this moment. An unreadable file is an empty password, which the server refuses: that is
// retried, too.
export function passwordNow(order) {
  try {
    return fs.readFileSync(order.password_file, "utf8").trim();
  } catch {
    return "";
  }
}

// Where an order's URL leads: redis://, redis-sentinel://…/name or redis-cluster://, perhaps with user:password@.
export function parseTarget(url) {
  const [scheme, rest] = url.split("://");
  if (!["redis", "redis-sentinel", "redis-cluster"].includes(scheme)) {
    throw new Error(`the URL is not understood: ${scheme}://…`);
  }
  const at = rest.lastIndexOf("@");
  const who = at < 0 ? [] : rest.slice(0, at).split(":");
  const [hosts, primary] = rest.slice(at + 1).split("/");
  return {
    scheme,
    primary,
    username: who.length > 1 && who[0] ? who[0] : undefined,
    password: who.length > 1 ? who.slice(1).join(":") : who[0],
    hosts: hosts.split(",").map((each) => {
      const colon = each.lastIndexOf(":");
      return { host: each.slice(0, colon), port: Number(each.slice(colon + 1)) };
    }),
  };
}

// Where observations go.
export class Witness {
  #down = new Set();

  tell(what) {
    process.stdout.write(JSON.stringify({ at: now(), what }) + "\n");
  }

  isDown(link) {
    return this.#down.has(link);
  }

  // A connection was lost. Said once for each outage.
  lost(link, cause) {
    if (!this.#down.has(link)) {
      this.#down.add(link);
      this.tell({ disconnected: { link, cause } });
    }
  }

  // A connection is there again. Said once for each outage.
  back(link) {
    if (this.#down.delete(link)) {
      this.tell({ activated: { link } });
    }
  }
}
