// The driver for BullMQ. `../src/drive.rs` describes the arguments and what is printed.
//
// A completed job is removed at once, as the guide recommends for production
// (https://docs.bullmq.io/guide/going-to-production, "Auto-job removal"); the rest are defaults: a lock of 30 s, renewed
// at half of that, ioredis beneath it.

import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';

const QUEUE = 'bench';
// Jobs in a call of addBulk, which sends them in one MULTI.
const BULK = 1000;
const LOOK_EVERY_MS = 1;
const PATIENCE_MS = 180_000;
// So long a worker is given to fall idle before the first latency is taken.
const SETTLE_MS = 500;
const KEEP_NONE = { count: 0 };

const text = { type: 'string' };
const { values } = parseArgs({
  options: {
    url: text,
    measure: text,
    jobs: text,
    'warm-up': { ...text, default: '0' },
    workers: { ...text, default: '1' },
    concurrency: { ...text, default: '32' },
    rate: { ...text, default: '50' },
  },
});
const { hostname: host, port } = new URL(values.url);
const connection = () => ({ host, port: Number(port) });
const [jobs, warmUp, workers, concurrency, rate] = ['jobs', 'warm-up', 'workers', 'concurrency', 'rate'].map((name) =>
  Number(values[name]),
);

const seconds = () => Number(process.hrtime.bigint()) / 1e9;
const report = (found) => console.log(JSON.stringify(found));

async function enqueue(queue, count) {
  for (let first = 0; first < count; first += BULK) {
    const numbers = Array.from({ length: Math.min(BULK, count - first) }, (_, index) => first + index);
    await queue.addBulk(numbers.map((number) => ({ name: 'empty', data: number })));
  }
}

function start(count, handler) {
  const options = () => ({ connection: connection(), concurrency, removeOnComplete: KEEP_NONE });
  return Array.from({ length: count }, () => {
    const worker = new Worker(QUEUE, handler, options());
    worker.on('error', fail);
    return worker;
  });
}

// Starts workers and waits until `count` jobs are acknowledged.
async function workOff(queue, workerCount, count) {
  let started = 0;
  let allStarted;
  const all = new Promise((resolve) => (allStarted = resolve));
  const running = start(workerCount, async () => {
    started += 1;
    if (started === count) allStarted();
  });
  await all;
  for (;;) {
    const left = await queue.getJobCounts('wait', 'active');
    if (left.wait === 0 && left.active === 0) break;
    await sleep(LOOK_EVERY_MS);
  }
  if (started !== count) throw new Error(`${started} handlers ran for ${count} jobs`);
  return running;
}

async function drain(queue) {
  if (warmUp > 0) {
    await enqueue(queue, warmUp);
    const running = await workOff(queue, 1, warmUp);
    await Promise.all(running.map((worker) => worker.close()));
  }
  let begin = seconds();
  await enqueue(queue, jobs);
  report({ event: 'enqueued', jobs, seconds: seconds() - begin });
  begin = seconds();
  await workOff(queue, workers, jobs);
  report({ event: 'drained', jobs, seconds: seconds() - begin });
}

async function latency(queue) {
  const micros = [];
  const pushed = [];
  let allStarted;
  const all = new Promise((resolve) => (allStarted = resolve));
  const [worker] = start(1, async (job) => {
    micros.push((seconds() - pushed[job.data]) * 1e6);
    if (micros.length === jobs) allStarted();
  });
  await worker.waitUntilReady();
  await sleep(SETTLE_MS);
  const begin = seconds();
  for (let number = 0; number < jobs; number += 1) {
    await sleep(Math.max(0, (begin + number / rate - seconds()) * 1000));
    pushed.push(seconds());
    await queue.add('empty', number);
  }
  await all;
  report({ event: 'latency', micros });
}

function fail(error) {
  console.error(error.message);
  process.exit(1);
}

setTimeout(() => fail(new Error('not all jobs were done in time')), PATIENCE_MS).unref();
try {
  const queue = new Queue(QUEUE, { connection: connection() });
  await (values.measure === 'drain' ? drain(queue) : latency(queue));
  process.exit(0);
} catch (error) {
  fail(error);
}
