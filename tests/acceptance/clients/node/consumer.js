// A consumer that comes back: what it had not committed is delivered again, and what it had committed never is.
'use strict';

const { encode, decode } = require('@msgpack/msgpack');
const { details } = require('./errors.js');

const RETRY_MS = 50;

/**
 * Reads a queue until `work` says that it is enough, across lost connections and restarts of the controller.
 *
 * `work(batch)` gets {first, payloads}, and returns {done, pushes, enough}: how many of them are done, what is pushed with
 * that as {queue: [payload, ...]}, and whether to stop. Done and pushed is one transaction: both happen once, or neither.
 */
async function consume(queues, { queue, consumer, writes = [], credits = 0 }, work, onOpened = () => {}) {
  for (;;) {
    try {
      await stream(queues, { queue, consumer, writes, credits }, work, onOpened);
      return;
    } catch (error) {
      // UNAVAILABLE is the network, the controller or the queues; all else is for somebody to look at.
      if (error.code !== 14 && details(error).reason !== 'consumer-reset') throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function stream(queues, open, work, onOpened) {
  const call = queues.Consume();
  try {
    call.write({ open });
    let seq = 0;
    let enough = false;
    for await (const answer of call) {
      if (answer.opened) {
        seq = answer.opened.committed;
        onOpened(answer.opened);
      }
      let first = answer.batch?.first;
      let payloads = answer.batch && !enough ? decode(answer.batch.items).map(([payload]) => payload) : [];
      while (payloads.length > 0 && !enough) {
        const result = await work({ first, payloads });
        seq += 1;
        call.write({ commit: transaction(seq, first, result) });
        first += result.done;
        payloads = payloads.slice(result.done);
        enough = Boolean(result.enough);
        if (enough) call.end(); // the stream ends once all of it is committed
      }
    }
  } finally {
    call.on('error', () => {}).cancel(); // does nothing to a stream that is over
  }
}

function transaction(seq, first, { done, pushes = {} }) {
  const acks = done > 0 ? [{ first, last: first + done - 1 }] : [];
  return {
    seq,
    acks,
    pushes: Object.entries(pushes).map(([queue, made]) => ({ queue, payloads: made.map((one) => encode(one)) })),
  };
}

module.exports = { consume };
