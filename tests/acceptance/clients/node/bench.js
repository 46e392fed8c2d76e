// Takes COUNT messages, a commit for each batch, and pushes them on if there is TO; says how long it took from the first
// batch to the answer to the last commit.
'use strict';

const { encode, decode } = require('@msgpack/msgpack');
const { credentials, fromFiles, clients } = require('./connect.js');

const { WF_ADDRESS, TREADLE_PROTOS, FROM, TO, COUNT } = process.env;

async function main() {
  const api = clients(fromFiles(TREADLE_PROTOS), WF_ADDRESS, credentials());
  const call = api.QueueService.Consume();
  call.write({ open: { queue: FROM, consumer: 'bench', credits: 20000, writes: TO ? [TO] : [] } });
  let seq = 0;
  let done = 0;
  let begun = 0n;
  for await (const { opened, batch } of call) {
    if (opened) seq = opened.committed;
    if (!batch || done >= COUNT) continue;
    begun ||= process.hrtime.bigint();
    const payloads = decode(batch.items).map(([payload]) => payload);
    const pushes = TO ? [{ queue: TO, payloads: payloads.map((one) => encode(one)) }] : [];
    seq += 1;
    call.write({ commit: { seq, acks: [{ first: batch.first, last: batch.first + batch.count - 1 }], pushes } });
    done += payloads.length;
    if (done >= COUNT) call.end();
  }
  console.log(JSON.stringify({ done, seconds: Number(process.hrtime.bigint() - begun) / 1e9 }));
  api.close();
}

main();
