// Moves messages from one queue to another: some of each batch at a time, and for each message one or two others.
// With PLAIN it pushes beside its commits, as a program without transactions would. Says what it was told at every opening; ends when the message with the last number has been moved.
'use strict';

const { encode } = require('@msgpack/msgpack');
const { credentials, fromFiles, clients } = require('./connect.js');
const { consume } = require('./consumer.js');
const { details } = require('./errors.js');

const { WF_ADDRESS, TREADLE_PROTOS, FROM, TO, COUNT, PLAIN } = process.env;

async function main() {
  const options = { 'grpc.keepalive_time_ms': 1000, 'grpc.keepalive_timeout_ms': 1000 };
  const api = clients(fromFiles(TREADLE_PROTOS), WF_ADDRESS, credentials(), options);
  const told = ({ committed, epoch }) => console.log(JSON.stringify({ committed, epoch, pid: process.pid }));
  const work = async ({ first, payloads }) => {
    const done = 1 + Math.floor(Math.random() * Math.min(payloads.length, 25));
    const moved = payloads.slice(0, done);
    const made = moved.flatMap(({ n }, i) => {
      const one = { n, from: first + i, pid: process.pid };
      return n % 10 === 0 ? [one, { ...one, extra: true }] : [one];
    });
    await new Promise((resolve) => setTimeout(resolve, 1)); // as if it asked somebody
    if (PLAIN) await api.QueueService.PushQueue({ name: TO, payloads: made.map((one) => encode(one)) });
    return { done, pushes: PLAIN ? {} : { [TO]: made }, enough: moved.some(({ n }) => n === COUNT - 1) };
  };
  await consume(api.QueueService, { queue: FROM, consumer: 'mover', writes: [TO], credits: 200 }, work, told);
  api.close();
}

main().catch((error) => {
  console.log(JSON.stringify({ error: error.message, ...details(error) }));
  process.exit(details(error).reason === 'consumer-taken-over' ? 3 : 1);
});
