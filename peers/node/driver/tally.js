// Counts what becomes of calls.
import { now } from "./protocol.js";

// A working call is told at most so often, in microseconds.
const WORKED_EVERY = 5_000;

export class Tally {
  #begun = 0;
  #told = 0;
  #counts = { acked: 0, refused: 0, unknown: 0, late: 0, foreign: 0, never_returned: 0, slowest_ms: 0 };

  // The totals so far.
  read() {
    const { acked, refused, unknown } = this.#counts;
    return { ...this.#counts, open: this.#begun - acked - refused - unknown };
  }

  // Those that have not ended yet never will.
  giveUp() {
    this.#counts.never_returned = this.read().open;
  }

  begin() {
    this.#begun += 1;
    return now();
  }

  foreign() {
    this.#counts.foreign += 1;
  }

  // Counts a failed call. The client sends again what was in flight when a connection ended, so that the last error does not
  // tell whether it was executed.
  failed(since, limit) {
    this.#measure(since, limit);
    this.#counts.unknown += 1;
  }

  // Counts an answered call; true when it is time to tell that calls work.
  worked(since, limit) {
    this.#measure(since, limit);
    this.#counts.acked += 1;
    const moment = now();
    const isDue = moment - this.#told >= WORKED_EVERY;
    if (isDue) {
      this.#told = moment;
    }
    return isDue;
  }

  #measure(since, limit) {
    const took = Math.floor((now() - since) / 1_000);
    this.#counts.slowest_ms = Math.max(this.#counts.slowest_ms, took);
    if (limit && took > limit + 1_000) {
      this.#counts.late += 1;
    }
  }
}
