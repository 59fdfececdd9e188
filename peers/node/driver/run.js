// The course of a driver: the order, the load, the end.
import readline from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { Loads } from "./loads.js";
import { parseTarget, Witness } from "./protocol.js";
import { Tally } from "./tally.js";

// How long calls are waited for after the order to stop, in milliseconds: those that have not ended then are counted as never
// returned. Ten seconds more than the longest limit that any client sets a call by default (Lettuce: 60 s).
const CALLS_END_WITHIN = 70_000;

export async function main() {
  const witness = new Witness();
  try {
    await drive(witness);
  } catch (error) {
    console.error(error);
    witness.tell({ trouble: String(error.message || error) });
  }
  witness.tell("finished");
  // The client's timers may be waiting for what never comes.
  process.stdout.write("", () => process.exit(0));
}

async function drive(witness) {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done) {
    throw new Error("no order came");
  }
  const order = JSON.parse(first.value);
  const target = parseTarget(order.url);
  const tally = new Tally();
  const clients = [];
  for (let client = 0; client < (order.clients ?? 1); client += 1) {
    // Each client's outages are its own.
    const loads = new Loads(order, target, client === 0 ? witness : new Witness(), tally);
    await loads.connect();
    clients.push(loads);
  }
  const callers = [];
  for (const loads of clients) {
    for (const load of order.loads) {
      await start(load, order, loads, callers);
    }
  }
  void clients[0].tellTotals();
  witness.tell("ready");
  if (order.consume) {
    clients.forEach((loads) => loads.begin());
  }
  await obey(lines, clients);

  clients.forEach((loads) => (loads.isStopped = true));
  const inTime = await Promise.race([Promise.all(callers).then(() => true), sleep(CALLS_END_WITHIN, false)]);
  if (!inTime) {
    tally.giveUp();
  }
  witness.tell({ calls: tally.read() });
}

// Follows the controls until it is told to stop.
async function obey(lines, clients) {
  for (let line = await lines.next(); !line.done; line = await lines.next()) {
    switch (JSON.parse(line.value)) {
      case "probe":
        void clients[0].probe();
        break;
      case "consume":
        clients.forEach((loads) => loads.begin());
        break;
      case "stop":
        return;
      default:
        // A newer lab may know more.
        console.error(`not a control: ${line.value}`);
    }
  }
}

async function start(load, order, loads, callers) {
  switch (load) {
    case "idle":
      break;
    case "callers":
      for (let caller = 0; caller < order.callers; caller += 1) {
        callers.push(loads.call());
      }
      break;
    case "spread":
      for (let caller = 0; caller < order.callers; caller += 1) {
        callers.push(loads.spread());
      }
      break;
    case "droppers":
      throw new Error("not supported: a call of this client cannot be cancelled");
    case "torrent":
      callers.push(loads.torrent());
      break;
    case "fetch":
      callers.push(loads.fetch());
      break;
    case "blocked":
      void loads.consume();
      break;
    case "subscribed":
      await loads.subscribe();
      break;
    default:
      throw new Error(`not supported: the load ${load}`);
  }
}
