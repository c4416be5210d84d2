// A file server and clients on simulated machines, with the disk work done inline: every run is the same.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "haul/engine.h"
#include "haul/sim.h"
#include "object/client.h"
#include "object/messages.h"
#include "object/service.h"
#include "temporary_folder.h"

namespace haul::object_test {

/// One client machine: a file client, or a raw peer that says what a test wants.
struct ClientNode {
  std::unique_ptr<object::FileClient> client;  ///< null: raw
  std::vector<object::FileMessage> received;   ///< raw only
  bool closed = false;                         ///< raw only
  std::unique_ptr<Engine> engine;
  Peer peer;  ///< raw only
  ~ClientNode() { client.reset(); }
};

class FileWorld {
 public:
  explicit FileWorld(uint64_t seed, const sim::LinkOptions& link = {});
  ~FileWorld();

  const std::filesystem::path& root() const { return folder_.path(); }
  TemporaryFolder& folder() { return folder_; }
  object::FileService& service() { return *service_; }
  const std::vector<object::JobReport>& reports() const { return reports_; }
  sim::World& world() { return world_; }
  static object::JobLimits limits();

  std::unique_ptr<ClientNode> push(const std::filesystem::path& from, const std::string& name, object::PushRequest request);
  std::unique_ptr<ClientNode> pull(const std::string& path, const std::filesystem::path& to, bool overwrite = false);
  /// Connected, nothing said.
  std::unique_ptr<ClientNode> raw();

  /// Steps everything until `until` holds; false when the virtual time ran out.
  bool run(const std::vector<ClientNode*>& nodes, const std::function<bool()>& until,
           Duration limit = std::chrono::seconds(120));
  bool run_to_end(ClientNode& node) {
    return run({&node}, [&] { return node.client->finished(); });
  }
  bool run_until_no_sessions(const std::vector<ClientNode*>& nodes) {
    return run(nodes, [this] { return service_->sessions() == 0; });
  }

 private:
  std::unique_ptr<ClientNode> make_node();
  Address address() const { return {"server", 1}; }

  TemporaryFolder folder_;
  sim::World world_;
  sim::LinkOptions link_;
  unsigned nodes_ = 0;
  std::vector<object::JobReport> reports_;
  std::unique_ptr<object::FileService> service_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace haul::object_test
