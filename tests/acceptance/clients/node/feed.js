// Pushes numbered messages, `SIZE` at a time, each batch under its own sequence. Killed and started again it begins anew:
// what was pushed already is known there.
'use strict';

const { encode } = require('@msgpack/msgpack');
const { credentials, fromFiles, clients } = require('./connect.js');

const { WF_ADDRESS, TREADLE_PROTOS, QUEUE, COUNT, SIZE } = process.env;

async function main() {
  const api = clients(fromFiles(TREADLE_PROTOS), WF_ADDRESS, credentials(), { 'grpc.keepalive_time_ms': 1000, 'grpc.keepalive_timeout_ms': 1000 });
  const batches = Math.ceil(COUNT / SIZE);
  let pushed = 0;
  for (let sequence = 1; sequence <= batches; ) {
    const payloads = [];
    for (let n = (sequence - 1) * SIZE; n < Math.min(sequence * SIZE, COUNT); n += 1) payloads.push(encode({ n }));
    try {
      const { duplicate } = await api.QueueService.PushQueue({ name: QUEUE, payloads, producer: `feed-${QUEUE}`, sequence });
      if (!duplicate) pushed += 1;
      sequence += 1;
    } catch (error) {
      if (error.code !== 14 && error.code !== 8) throw error; // UNAVAILABLE, or the queue is full: the same again
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  console.log(JSON.stringify({ pushed, batches }));
  api.close();
}

main();
