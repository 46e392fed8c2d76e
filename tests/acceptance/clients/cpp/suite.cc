// What a program in C++ can do with a controller: the short form of the suite in JavaScript, with generated stubs.
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <stdexcept>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "messagepack.h"
#include "treadle/v1/event_service.grpc.pb.h"
#include "treadle/v1/queue_service.grpc.pb.h"
#include "treadle/v1/workflow_service.grpc.pb.h"

namespace v1 = treadle::v1;

const char* const kFlow = R"({
  "name": "shop-cpp",
  "nodes": [
    {"id": "take", "type": "queue-reader", "position": {"x": 0, "y": 0},
     "data": {"queue": "cpp.orders", "external": true, "pool": "asyncio"}},
    {"id": "price", "type": "blocking", "position": {"x": 0, "y": 0},
     "data": {"uses": "transform", "with": {"set": {"price": "data.n * 2"}}}},
    {"id": "give", "type": "queue", "position": {"x": 0, "y": 0}, "data": {"queue": "cpp.priced", "external": true}},
    {"id": "book", "type": "queue-reader", "position": {"x": 0, "y": 0},
     "data": {"queue": "cpp.paid", "external": true, "pool": "asyncio"}},
    {"id": "ledger", "type": "queue", "position": {"x": 0, "y": 0}, "data": {"queue": "cpp.ledger", "external": true}}
  ],
  "edges": [
    {"id": "1", "source": "take", "target": "price"},
    {"id": "2", "source": "price", "target": "give"},
    {"id": "3", "source": "book", "target": "ledger"}
  ]
})";

void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

std::string file(const char* name) {
  const char* path = std::getenv(name);
  expect(path != nullptr, std::string(name) + " is not set");
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::shared_ptr<grpc::Channel> connect(bool with_certificate) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = file("WF_CACERT");
  if (with_certificate) {
    options.pem_private_key = file("WF_KEY");
    options.pem_cert_chain = file("WF_CERT");
  }
  return grpc::CreateChannel(std::getenv("WF_ADDRESS"), grpc::SslCredentials(options));
}

void done(const grpc::Status& status) {
  expect(status.ok(), "failed: " + status.error_message());
}

// The stable code of an error: the reason in the ErrorInfo among its details.
std::string reason(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return "";
}

void applies_and_watches(const std::shared_ptr<grpc::Channel>& channel) {
  auto workflows = v1::WorkflowService::NewStub(channel);
  v1::ApplyWorkflowRequest request;
  request.set_document(kFlow);
  for (const auto kind : {v1::CHANGE_KIND_CREATED, v1::CHANGE_KIND_UNCHANGED}) {
    grpc::ClientContext context;
    v1::ApplyWorkflowResponse response;
    done(workflows->ApplyWorkflow(&context, request, &response));
    expect(response.changes_size() == 2 && response.changes(0).kind() == kind, "apply says what it did");
  }
  auto events = v1::EventService::NewStub(channel);
  grpc::ClientContext context;
  v1::WatchWorkflowRequest watch;
  watch.set_name("shop-cpp");
  auto stream = events->WatchWorkflow(&context, watch);
  v1::WatchWorkflowResponse seen;
  while (stream->Read(&seen) && seen.workflow().state() != v1::LOOP_STATE_RUNNING) {
  }
  expect(seen.workflow().state() == v1::LOOP_STATE_RUNNING, "the workflow runs");
  context.TryCancel();
}

void pushes_once(const std::shared_ptr<grpc::Channel>& channel) {
  auto queues = v1::QueueService::NewStub(channel);
  for (int sequence = 1; sequence <= 4; ++sequence) {
    for (const bool again : {false, true}) {
      v1::PushQueueRequest request;
      request.set_name("cpp.orders");
      request.set_producer("cpp");
      request.set_sequence(sequence);
      for (int i = 0; i < 5; ++i) request.add_payloads(messagepack::map_of("n", 5 * sequence + i));
      grpc::ClientContext context;
      v1::PushQueueResponse response;
      done(queues->PushQueue(&context, request, &response));
      expect(response.duplicate() == again, "a sequence is pushed once");
    }
  }
}

// Moves `count` messages from one queue to another, and returns what `field` was in them. Without a target only reads.
std::vector<long> moves(const std::shared_ptr<grpc::Channel>& channel, const std::string& from, const std::string& to,
                        const std::string& field, std::size_t count) {
  auto queues = v1::QueueService::NewStub(channel);
  grpc::ClientContext context;
  auto stream = queues->Consume(&context);
  v1::ConsumeRequest open;
  open.mutable_open()->set_queue(from);
  open.mutable_open()->set_consumer("till");
  if (!to.empty()) open.mutable_open()->add_writes(to);
  expect(stream->Write(open), "the stream is open");

  std::vector<long> seen;
  long seq = 0;
  v1::ConsumeResponse response;
  while (stream->Read(&response)) {
    if (response.has_opened()) seq = response.opened().committed();
    if (!response.has_batch() || seen.size() >= count) continue;
    v1::ConsumeRequest request;
    auto* commit = request.mutable_commit();
    commit->set_seq(++seq);
    auto* ack = commit->add_acks();
    ack->set_first(response.batch().first());
    ack->set_last(response.batch().first() + response.batch().count() - 1);
    auto* push = to.empty() ? nullptr : commit->add_pushes();
    if (push != nullptr) push->set_queue(to);
    for (const auto& payload : messagepack::payloads(response.batch().items())) {
      seen.push_back(payload.at(field));
      if (push != nullptr) push->add_payloads(messagepack::map_of("paid", payload.at(field)));
    }
    expect(stream->Write(request), "the commit is sent");
    if (seen.size() >= count) stream->WritesDone();  // the stream ends once all of it is committed
  }
  done(stream->Finish());
  return seen;
}

void consumes(const std::shared_ptr<grpc::Channel>& channel) {
  const auto prices = moves(channel, "cpp.priced", "cpp.paid", "price", 20);
  const auto ledger = moves(channel, "cpp.ledger", "", "paid", 20);
  expect(prices.size() == 20 && prices.front() == 10 && prices.back() == 48, "each message comes once, in order");
  expect(ledger == prices, "what was pushed with the commits arrives");
}

void hears_events(const std::shared_ptr<grpc::Channel>& channel) {
  auto events = v1::EventService::NewStub(channel);
  grpc::ClientContext context;
  v1::StreamEventsRequest request;
  request.set_workflow("shop-cpp");
  auto stream = events->StreamEvents(&context, request);
  v1::StreamEventsResponse response;
  while (stream->Read(&response) && response.event().code() != "workflow-applied") {
  }
  expect(response.event().name() == "shop-cpp", "the event names its workflow");
  context.TryCancel();
}

void reads_errors(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext missing, invalid, closed;
  v1::GetWorkflowRequest get;
  get.set_name("nothing");
  v1::GetWorkflowResponse found;
  const auto unknown = v1::WorkflowService::NewStub(channel)->GetWorkflow(&missing, get, &found);
  expect(unknown.error_code() == grpc::NOT_FOUND && reason(unknown) == "workflow-not-found", "typed: not found");

  v1::PushQueueRequest push;
  push.set_name("cpp.orders");
  push.add_payloads("no map");
  v1::PushQueueResponse pushed;
  const auto bad = v1::QueueService::NewStub(channel)->PushQueue(&invalid, push, &pushed);
  expect(bad.error_code() == grpc::INVALID_ARGUMENT && reason(bad) == "bad-data", "typed: bad data");

  v1::ListWorkflowsResponse listed;
  const auto denied = v1::WorkflowService::NewStub(connect(false))->ListWorkflows(&closed, {}, &listed);
  expect(denied.error_code() == grpc::UNAUTHENTICATED, "without a certificate the door is closed");
}

int main() {
  const auto channel = connect(true);
  const std::vector<std::pair<const char*, std::function<void()>>> tests = {
      {"applies and watches", [&] { applies_and_watches(channel); }},
      {"pushes once", [&] { pushes_once(channel); }},
      {"consumes", [&] { consumes(channel); }},
      {"hears events", [&] { hears_events(channel); }},
      {"reads errors", [&] { reads_errors(channel); }},
  };
  int failures = 0;
  for (const auto& [name, test] : tests) {
    try {
      test();
      std::cout << "ok " << name << std::endl;
    } catch (const std::exception& exc) {
      std::cout << "not ok " << name << ": " << exc.what() << std::endl;
      ++failures;
    }
  }
  return failures;
}
