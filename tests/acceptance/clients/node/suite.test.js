// What a program in JavaScript can do with a controller. TREADLE_LOAD says where it knows the API from.
'use strict';

const assert = require('node:assert/strict');
const { after, before, test } = require('node:test');
const { encode, decode } = require('@msgpack/msgpack');
const { grpc, credentials, fromFiles, byReflection, clients } = require('./connect.js');
const { consume } = require('./consumer.js');
const { details } = require('./errors.js');

const { WF_ADDRESS: address, TREADLE_PROTOS: protos, TREADLE_LOAD: load, OTHER_CERT, OTHER_KEY } = process.env;
const name = `shop-${load}`;
const queue = (kind) => `${name}.${kind}`;
const place = { position: { x: 0, y: 0 } };

// orders -> double -> priced, which this program reads and answers into paid -> count -> ledger.
const flow = {
  name,
  nodes: [
    { id: 'take', type: 'queue-reader', ...place, data: { queue: queue('orders'), external: true, pool: 'asyncio' } },
    { id: 'price', type: 'blocking', ...place, data: { uses: 'transform', with: { set: { price: 'data.n * 2' } } } },
    { id: 'give', type: 'queue', ...place, data: { queue: queue('priced'), external: true } },
    { id: 'book', type: 'queue-reader', ...place, data: { queue: queue('paid'), external: true, pool: 'asyncio' } },
    { id: 'ledger', type: 'queue', ...place, data: { queue: queue('ledger'), external: true } },
  ],
  edges: [
    { id: '1', source: 'take', target: 'price' },
    { id: '2', source: 'price', target: 'give' },
    { id: '3', source: 'book', target: 'ledger' },
  ],
};

let definition;
let api;

/** Returns the error that a promise ends with, and what is in its details. */
async function refused(promise) {
  const error = await promise.then(() => assert.fail('it was not refused'), (reason) => reason);
  return { code: grpc.status[error.code], message: error.details, ...details(error) };
}

/** Reads a stream until a message is the one that was waited for. */
async function first(stream, wanted) {
  try {
    for await (const message of stream) if (wanted(message)) return message;
    return assert.fail('the stream ended');
  } finally {
    stream.on('error', () => {}).cancel(); // that it was cancelled is no news
  }
}

before(async () => {
  definition = load === 'reflection' ? await byReflection(address, credentials()) : fromFiles(protos);
  api = clients(definition, address, credentials());
});

after(() => api.close());

test('a workflow is applied, and the same again changes nothing', async () => {
  const document = Buffer.from(JSON.stringify(flow));
  const { workflow, changes } = await api.WorkflowService.ApplyWorkflow({ document });
  assert.equal(workflow.name, name);
  assert.deepEqual(changes.map((one) => one.kind), ['CHANGE_KIND_CREATED', 'CHANGE_KIND_CREATED']);

  const again = await api.WorkflowService.ApplyWorkflow({ document, if_revision: workflow.revision });
  assert.equal(again.workflow.revision, workflow.revision);
  assert.deepEqual(again.changes.map((one) => one.kind), ['CHANGE_KIND_UNCHANGED', 'CHANGE_KIND_UNCHANGED']);
});

test('a workflow is watched until it runs', async () => {
  const running = ({ workflow }) => workflow.state === 'LOOP_STATE_RUNNING';
  const { workflow } = await first(api.EventService.WatchWorkflow({ name }), running);
  assert.deepEqual(workflow.loops.map((one) => one.name), ['book', 'take']);
});

test('messages pass through loops and through this program, each once', async () => {
  const push = (sequence) => {
    const payloads = [0, 1, 2, 3, 4].map((n) => encode({ n: 5 * sequence + n }));
    return api.QueueService.PushQueue({ name: queue('orders'), payloads, producer: name, sequence });
  };
  for (let sequence = 1; sequence <= 4; sequence += 1) {
    assert.equal((await push(sequence)).duplicate, false);
    assert.equal((await push(sequence)).duplicate, true);
  }

  const seen = [];
  await consume(api.QueueService, { queue: queue('priced'), consumer: 'till', writes: [queue('paid')] }, ({ payloads }) => {
    seen.push(...payloads);
    const paid = payloads.map((one) => ({ ...one, paid: true }));
    return { done: payloads.length, pushes: { [queue('paid')]: paid }, enough: seen.length >= 20 };
  });
  assert.deepEqual(seen, [...Array(20).keys()].map((n) => ({ n: n + 5, price: 2 * (n + 5) })));

  const ledger = [];
  await consume(api.QueueService, { queue: queue('ledger'), consumer: 'audit', credits: 3 }, ({ payloads }) => {
    ledger.push(...payloads);
    return { done: payloads.length, enough: ledger.length >= 20 };
  });
  assert.deepEqual(ledger, seen.map((one) => ({ ...one, paid: true })));
  const { queue: state } = await api.QueueService.GetQueue({ name: queue('priced') });
  assert.deepEqual([state.depth, state.consumers.map((one) => one.name)], [0, ['till']]);
});

test('a second stream of a consumer takes over from the first, which is told', async () => {
  const open = { queue: queue('priced'), consumer: 'till' };
  const one = api.QueueService.Consume();
  const gone = refused(first(one, () => false));
  one.write({ open });
  await new Promise((resolve) => one.once('data', resolve));
  const two = api.QueueService.Consume();
  two.write({ open });
  const { opened } = await first(two, (answer) => answer.opened);
  assert.ok(opened.committed >= 1);
  const { code, reason, domain } = await gone;
  assert.deepEqual([code, reason, domain], ['ABORTED', 'consumer-taken-over', 'treadle']);
});

test('events tell what was done, by whom', async () => {
  const wanted = ({ event }) => event.code === 'workflow-applied' && event.name === name;
  const { event } = await first(api.EventService.StreamEvents({ workflow: name }), wanted);
  assert.match(event.message, /^revision 1: /);
});

test('lists come in pages', async () => {
  const names = [];
  let page_token = '';
  do {
    const page = await api.QueueService.ListQueues({ workflow: name, page_size: 3, page_token });
    names.push(...page.queues.map((one) => one.name));
    page_token = page.next_page_token;
  } while (page_token);
  assert.deepEqual(names.sort(), ['ledger', 'orders', 'paid', 'priced'].map(queue));
});

test('errors say in their details what is wrong', async () => {
  const unknown = await refused(api.WorkflowService.GetWorkflow({ name: 'nothing' }));
  assert.deepEqual([unknown.code, unknown.reason, unknown.metadata.name], ['NOT_FOUND', 'workflow-not-found', 'nothing']);

  const broken = { ...flow, nodes: [{ id: 'x', type: 'producer', ...place, data: {} }], edges: [] };
  const invalid = await refused(api.WorkflowService.ApplyWorkflow({ document: Buffer.from(JSON.stringify(broken)) }));
  assert.deepEqual([invalid.code, invalid.reason], ['INVALID_ARGUMENT', 'invalid-workflow']);
  assert.equal(invalid.violations[0].field, '/nodes/0/data/uses');
  assert.ok(invalid.types.includes('treadle.v1.ValidateWorkflowResponse'));

  const bad = await refused(api.QueueService.PushQueue({ name: queue('orders'), payloads: [Buffer.from('no map')] }));
  assert.deepEqual([bad.code, bad.reason, bad.violations[0].field], ['INVALID_ARGUMENT', 'bad-data', 'payloads[0]']);

  const conflict = await refused(
    api.WorkflowService.ApplyWorkflow({ document: Buffer.from(JSON.stringify({ ...flow, nodes: flow.nodes.slice(0, 3), edges: flow.edges.slice(0, 2) })), if_revision: 77 }),
  );
  assert.deepEqual([conflict.code, conflict.reason], ['ABORTED', 'revision-mismatch']);
});

test('without a certificate, and with that of a viewer, the door is closed', async () => {
  const stranger = clients(definition, address, credentials({ WF_CACERT: process.env.WF_CACERT }));
  const unnamed = await refused(stranger.WorkflowService.ListWorkflows());
  assert.equal(unnamed.code, 'UNAUTHENTICATED');
  stranger.close();

  const viewer = clients(definition, address, credentials({ ...process.env, WF_CERT: OTHER_CERT, WF_KEY: OTHER_KEY }));
  const { workflows } = await viewer.WorkflowService.ListWorkflows();
  assert.ok(workflows.some((one) => one.name === name));
  const denied = await refused(viewer.QueueService.PurgeQueue({ name: queue('orders') }));
  assert.equal(denied.code, 'PERMISSION_DENIED');
  assert.equal(denied.domain, 'treadle');
  viewer.close();
});

test('a queue shows its messages without giving them away', async () => {
  await api.QueueService.PushQueue({ name: queue('ledger'), payloads: [encode({ last: true })] });
  const { messages } = await api.QueueService.PeekQueue({ name: queue('ledger'), limit: 5 });
  assert.deepEqual(messages.map((one) => decode(one.payload)), [{ last: true }]);
});
