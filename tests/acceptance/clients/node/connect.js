// The services of a controller, described by the .proto files or by the controller itself.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const LOADING = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true };
const SERVICES = ['WorkflowService', 'QueueService', 'EventService', 'LoopService', 'AgentService'];

/** Returns TLS credentials from the files that the environment names. */
function credentials(env = process.env) {
  const read = (name) => (env[name] ? fs.readFileSync(env[name]) : null);
  return grpc.credentials.createSsl(read('WF_CACERT'), read('WF_KEY'), read('WF_CERT'));
}

/** Loads the services from the .proto files. */
function fromFiles(protos) {
  const files = ['workflow', 'queue', 'event', 'loop', 'agent'].map((name) => `treadle/v1/${name}_service.proto`);
  return loader.loadSync(files, { ...LOADING, includeDirs: [protos] });
}

/** Loads the services from what the server says of itself. */
async function byReflection(address, creds) {
  const reflection = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, 'reflection.proto'), LOADING));
  const client = new reflection.grpc.reflection.v1alpha.ServerReflection(address, creds);
  const stream = client.ServerReflectionInfo();
  const files = new Map(); // by content: several services are described in files that they share
  for (const name of SERVICES) stream.write({ file_containing_symbol: `treadle.v1.${name}` });
  stream.end();
  for await (const answer of stream) {
    if (answer.error_response) throw new Error(answer.error_response.error_message);
    for (const file of answer.file_descriptor_response.file_descriptor_proto) files.set(file.toString('latin1'), file);
  }
  client.close();
  return loader.loadFileDescriptorSetFromBuffer(descriptorSet([...files.values()]), LOADING);
}

/** Writes a google.protobuf.FileDescriptorSet: field 1, repeated. */
function descriptorSet(files) {
  const parts = [];
  for (const file of files) {
    const head = [0x0a];
    let size = file.length;
    for (; size > 0x7f; size = Math.floor(size / 128)) head.push((size & 0x7f) | 0x80);
    parts.push(Buffer.from([...head, size]), file);
  }
  return Buffer.concat(parts);
}

/** Makes clients: `unary(request)` gives a promise, streams are as grpc-js has them. */
function clients(definition, address, creds, options = {}) {
  const { v1 } = grpc.loadPackageDefinition(definition).treadle;
  const made = { close: () => SERVICES.forEach((name) => made[name].client.close()) };
  for (const name of SERVICES) {
    const client = new v1[name](address, creds, options);
    made[name] = { client };
    for (const [method, { requestStream, responseStream }] of Object.entries(v1[name].service)) {
      made[name][method] =
        requestStream || responseStream
          ? client[method].bind(client)
          : (request = {}) =>
              new Promise((resolve, reject) => {
                client[method](request, (error, answer) => (error ? reject(error) : resolve(answer)));
              });
    }
  }
  return made;
}

module.exports = { grpc, credentials, fromFiles, byReflection, clients };
