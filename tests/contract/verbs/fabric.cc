// The fake fabric: who reaches whom, and faults.
#include "contract/verbs/fabric.h"

#include <fmt/format.h>

#include <algorithm>

#include "contract/verbs/device.h"

namespace haul::verbs {

using namespace rdma;

class FakeVerbs final : public Verbs {
 public:
  FakeVerbs(Fabric& fabric, std::string node) : fabric_(fabric), node_(std::move(node)) {}
  Result<std::vector<std::string>> device_names() override { return fabric_.options_.devices; }
  Result<std::unique_ptr<Device>> open(const std::string& name) override {
    const auto& names = fabric_.options_.devices;
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return Status(StatusCode::unavailable, fmt::format("this machine has no RDMA device {}", name));
    }
    return std::unique_ptr<Device>(std::make_unique<FakeDevice>(fabric_, node_, name));
  }

 private:
  Fabric& fabric_;
  std::string node_;
};

Fabric::Fabric(const Clock& clock, uint64_t seed, FabricOptions options)
    : clock_(clock), options_(std::move(options)), random_(seed) {}

Fabric::~Fabric() = default;

std::shared_ptr<Verbs> Fabric::make_verbs(const std::string& node) { return std::make_shared<FakeVerbs>(*this, node); }

bool Fabric::reaches(const FakeQueuePair& from, const FakeQueuePair& to) const {
  const FakeDevice& a = from.device();
  const FakeDevice& b = to.device();
  const auto passes = [this](const FakeDevice& device) {
    return !down_.contains(device.path()) && !silent_.contains(device.path()) && !removed_.contains(device.path()) &&
           !dead_.contains(device.node_);
  };
  return passes(a) && passes(b) && !cut_.contains(ordered(a.node_, b.node_)) && from.path_.gid == gids_.at(b.path()) &&
         (!options_.subnets_apart || a.info().name == b.info().name);
}

bool Fabric::step() {
  std::vector<FakeQueuePair*> all;
  for (const auto& [number, pair] : queue_pairs_) all.push_back(pair);
  bool moved = false;
  for (FakeQueuePair* pair : all) moved = pair->step() || moved;
  return moved;
}

std::optional<TimePoint> Fabric::next_deadline() const {
  std::optional<TimePoint> next;
  for (const auto& [number, pair] : queue_pairs_) {
    const auto at = pair->gives_up_at();
    if (at && (!next || *at < *next)) next = at;
  }
  return next;
}

void Fabric::set_port(const std::string& node, const std::string& device, bool up) {
  const std::string path = node + "/" + device;
  const bool changes = up ? down_.erase(path) == 1 : down_.insert(path).second;
  if (!changes) return;
  AsyncEvent event;
  event.kind = AsyncEvent::Kind::port_changed;
  event.port = 1;
  tell(path, event);
}

void Fabric::hold(const std::string& node, bool held) {
  if (held) {
    held_.insert(node);
  } else {
    held_.erase(node);
  }
}

void Fabric::silence_port(const std::string& node, const std::string& device, bool silent) {
  if (silent) {
    silent_.insert(node + "/" + device);
  } else {
    silent_.erase(node + "/" + device);
  }
}

void Fabric::change_gid(const std::string& node, const std::string& device) {
  const std::string path = node + "/" + device;
  ++gids_.at(path).raw[13];
  AsyncEvent event;
  event.kind = AsyncEvent::Kind::port_changed;
  event.port = 1;
  tell(path, event);
}

void Fabric::remove_device(const std::string& node, const std::string& device) {
  const std::string path = node + "/" + device;
  removed_.insert(path);
  AsyncEvent event;
  event.kind = AsyncEvent::Kind::device_gone;
  tell(path, event);
}

void Fabric::tell(const std::string& path, const AsyncEvent& event) {
  for (FakeDevice* each : devices_) {
    if (each->path() == path) each->tell(event);
  }
}

void Fabric::slow_connects(const std::string& node, bool slow) {
  if (slow) {
    slow_connects_.insert(node);
  } else {
    slow_connects_.erase(node);
  }
}

void Fabric::overrun(const std::string& node) {
  for (FakeDevice* device : devices_) {
    if (device->node_ != node) continue;
    for (FakeCompletionQueue* queue : device->queues) queue->overrun();
  }
}

void Fabric::break_queue_pairs(const std::string& node) {
  for (const auto& [number, pair] : queue_pairs_) {
    if (pair->device().node_ == node) pair->fail();
  }
}

}  // namespace haul::verbs
