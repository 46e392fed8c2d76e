// What went wrong, from the details that every error of treadle carries in its trailer.
'use strict';

const protobuf = require('protobufjs');

// google/rpc/status.proto and error_details.proto, as far as they are used here.
const { root } = protobuf.parse(
  `
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message BadRequest {
    message FieldViolation { string field = 1; string description = 2; string reason = 3; }
    repeated FieldViolation field_violations = 1;
  }
  `,
  { keepCase: true },
);

/** Returns {reason, domain, metadata, violations, types} of a failed call. `reason` is the stable code. */
function details(error) {
  const found = { reason: '', domain: '', metadata: {}, violations: [], types: [] };
  const [trailer] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (trailer === undefined) return found;
  for (const any of root.lookupType('google.rpc.Status').decode(trailer).details) {
    const type = any.type_url.replace('type.googleapis.com/', '');
    found.types.push(type);
    if (type === 'google.rpc.ErrorInfo') {
      const { reason, domain, metadata } = root.lookupType(type).decode(any.value);
      Object.assign(found, { reason, domain, metadata });
    } else if (type === 'google.rpc.BadRequest') {
      found.violations = root.lookupType(type).decode(any.value).field_violations;
    }
  }
  return found;
}

module.exports = { details };
