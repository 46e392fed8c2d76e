// BullMQ, a hundred jobs at a time, what is done removed. `bulk` adds a thousand in one call. See note.py.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const { Queue, Worker } = require("bullmq");
const Redis = require("ioredis");

const url = new URL(process.env.PEER_URL);
const connection = { host: url.hostname, port: Number(url.port), password: decodeURIComponent(url.password) };
const visibility = 5000;
const options = { removeOnComplete: true };

const first = Number(process.env.PEER_FIRST || 0);

const message = (n) => ({ n: first + n, name: "x".repeat(60), value: 1.5, sent: 1.7e18, text: "y".repeat(84) });

function noting() {
  const path = process.env.PEER_NOTES;
  if (path === undefined) {
    const client = new Redis(connection);
    return (n) => client.rpush("out", n);
  }
  const file = fs.openSync(path, "a");
  return (n) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt(n));
    fs.writeSync(file, bytes);
  };
}

function work() {
  const note = noting();
  const settings = {
    connection: { ...connection, maxRetriesPerRequest: null },
    concurrency: 100,
    lockDuration: visibility,
    stalledInterval: visibility,
    maxStalledCount: 5,
  };
  new Worker("peer", async (job) => note(job.data.n), settings);
}

async function send(queue, count, bulk) {
  const size = bulk ? 1000 : 100;
  for (let start = 0; start < count; start += size) {
    const numbers = Array.from({ length: Math.min(size, count - start) }, (_, i) => start + i);
    if (bulk) await queue.addBulk(numbers.map((n) => ({ name: "take", data: message(n), opts: options })));
    else await Promise.all(numbers.map((n) => queue.add("take", message(n), options)));
  }
}

async function produce(count, bulk) {
  const queue = new Queue("peer", { connection });
  await queue.waitUntilReady();
  console.log("ready");
  await new Promise((go) => readline.createInterface({ input: process.stdin }).once("line", go));
  await send(queue, count, bulk);
  console.log("done");
  process.exit(0);
}

if (process.argv[2] === "work") work();
else produce(Number(process.argv[3]), process.argv[4] === "bulk");
