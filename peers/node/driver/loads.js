// What the client is kept busy with.
import { setTimeout as sleep } from "node:timers/promises";

import { BIG, COUNTER, JOBS, milliseconds, NEWS, now, SPREAD_KEYS } from "./protocol.js";
import { CALL_TIMEOUT, connect } from "./settings.js";

// How long a user waits before trying again what failed, in milliseconds.
const AGAIN = 100;

// The time between two batches of a torrent, in milliseconds.
const TICK = 5;

// One client for ordinary commands, one for the consumer, one for the subscriber, as the README asks for what blocks or
// subscribes.
export class Loads {
  isStopped = false;
  #reading;

  constructor(order, target, witness, tally) {
    this.tally = tally;
    this.order = order;
    this.target = target;
    this.witness = witness;
    this.limit = order.pace === "fast" ? CALL_TIMEOUT : undefined;
    this.reading = new Promise((begin) => (this.#reading = begin));
  }

  begin() {
    this.#reading();
  }

  async connect() {
    const open = async (link) => {
      const client = connect(this.order, this.target, link, this.witness);
      await client.connect();
      return client;
    };
    this.commands = await open("commands");
    if (this.order.loads.includes("blocked")) {
      this.blocking = await open("blocking");
    }
    if (this.order.loads.includes("subscribed")) {
      this.subscriber = await open("subscriptions");
    }
    if (this.order.loads.includes("fetch")) {
      this.fetching = await open("fetch");
    }
  }

  async #count(call, limit = this.limit) {
    const since = this.tally.begin();
    try {
      const reply = await call();
      if (this.tally.worked(since, limit)) {
        this.witness.tell({ worked: { since } });
      }
      return reply;
    } catch {
      this.tally.failed(since, limit);
      return undefined;
    }
  }

  // A caller of INCR, a call after the other.
  async call() {
    let last = 0;
    while (!this.isStopped) {
      const value = await this.#count(() => this.commands.incr(COUNTER));
      if (value !== undefined) {
        // Each caller's own replies grow. A reply of somebody else's call sooner or later does not.
        if (value <= last) {
          this.tally.foreign();
        }
        last = value;
      }
      await this.#pause();
    }
  }

  // Spread, so that the callers do not march in step.
  #pause() {
    return sleep(milliseconds(this.order.pause) * (0.5 + Math.random()));
  }

  // A caller of INCR on many keys.
  async spread() {
    while (!this.isStopped) {
      const key = `${COUNTER}:${Math.floor(Math.random() * SPREAD_KEYS)}`;
      await this.#count(() => this.commands.incr(key));
      await this.#pause();
    }
  }

  // A caller that reads the large value.
  async fetch() {
    while (!this.isStopped) {
      await this.#count(() => this.fetching.get(BIG), null);
      await sleep(milliseconds(this.order.pause));
    }
  }

  // Calls at a fixed rate, whatever becomes of those before.
  async torrent() {
    let due = performance.now();
    while (!this.isStopped) {
      for (let call = 0; call < Math.floor(this.order.rate / 200); call += 1) {
        void this.#count(() => this.commands.incr(COUNTER));
      }
      due += TICK;
      await sleep(Math.max(0, due - performance.now()));
    }
    while (this.tally.read().open > 0) {
      await sleep(10);
    }
  }

  // BRPOP jobs 0, again and again.
  async consume() {
    while (!this.isStopped) {
      try {
        const reply = await this.blocking.brpop(JOBS, 0);
        if (reply === null) {
          console.error("BRPOP jobs 0 answered nil");
        } else {
          this.witness.tell({ element: Number(reply[1]) });
        }
      } catch (error) {
        console.error(`the consumer: ${error.message}`);
        // The client sends again by itself, so that the last error does not tell whether it was executed.
        this.witness.tell({ broken: { link: "blocking", cause: error.message } });
        await sleep(AGAIN);
      }
    }
  }

  // Subscribes, and returns once the server has confirmed. A listener is called for each message; there is no way to read
  // later, so that one who does not read yet keeps what arrives.
  async subscribe() {
    const kept = [];
    let take = (text) => kept.push(text);
    this.reading.then(() => {
      kept.forEach((text) => this.#message(text));
      take = (text) => this.#message(text);
    });
    const event = this.order.shard ? "smessage" : "message";
    this.subscriber.on(event, (_channel, text) => take(text));
    if (this.order.shard) {
      // What the client says when the server's unasked "sunsubscribe" comes (DataHandler.js): the channel's slot has moved, and
      // the connection is well. A cluster's client subscribes again by itself, and does not pass it on.
      this.subscriber.on("moved", () => void this.#subscribeAgain());
      await this.subscriber.ssubscribe(NEWS);
    } else {
      await this.subscriber.subscribe(NEWS);
    }
  }

  async #subscribeAgain() {
    while (!this.isStopped) {
      try {
        await this.subscriber.ssubscribe(NEWS);
        return;
      } catch (error) {
        console.error(`the subscriber: ${error.message}`);
        await sleep(AGAIN);
      }
    }
  }

  #message(text) {
    this.witness.back("subscriptions");
    // What comes after the number is ballast.
    this.witness.tell({ message: Number.parseInt(text, 10) });
  }

  // PING until one is answered, as a user would who wants to know whether it works.
  async probe() {
    while (!this.isStopped) {
      const since = now();
      try {
        await this.commands.ping();
        this.witness.tell({ worked: { since } });
        return;
      } catch (error) {
        console.error(`the probe: ${error.message}`);
        await sleep(AGAIN);
      }
    }
  }

  async tellTotals() {
    let before = "";
    while (!this.isStopped) {
      await sleep(100);
      const totals = this.tally.read();
      const text = JSON.stringify(totals);
      if (text !== before) {
        this.witness.tell({ calls: totals });
        before = text;
      }
    }
  }
}
