// haul-bench-verbs: a bare RDMA WRITE WITH IMMEDIATE ping-pong between two processes, as the baseline that
// `haul-bench latency --transport rdma` is compared with. One queue pair, no memory windows, no acknowledgements of its own.
#include <fmt/format.h>
#include <infiniband/verbs.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "base/unique_fd.h"
#include "haul/rdma.h"
#include "measure/histogram.h"

namespace {

using haul::base::UniqueFd;
using haul::rdma::Rail;
using std::chrono::steady_clock;

constexpr uint32_t queue_depth = 64;
constexpr uint32_t signal_every = 16;  // sends without a completion of their own between two that have one
constexpr uint32_t max_inline_bytes = 256;
constexpr auto patience = std::chrono::seconds(10);

struct Settings {
  std::vector<std::string> devices;  // of the two processes
  uint32_t block_bytes = 4096;
  double duration_s = 5;
  bool json = false;
};

/// What the sides tell each other before they begin.
struct Endpoint {
  uint32_t queue_pair = 0;
  ibv_gid gid{};
  uint16_t lid = 0;
  ibv_mtu mtu = IBV_MTU_1024;
  uint64_t address = 0;
  uint32_t key = 0;
};

template <auto release>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    release(object);
  }
};

using Context = std::unique_ptr<ibv_context, Freed<ibv_close_device>>;
using Domain = std::unique_ptr<ibv_pd, Freed<ibv_dealloc_pd>>;
using Region = std::unique_ptr<ibv_mr, Freed<ibv_dereg_mr>>;
using Completions = std::unique_ptr<ibv_cq, Freed<ibv_destroy_cq>>;
using QueuePair = std::unique_ptr<ibv_qp, Freed<ibv_destroy_qp>>;

[[noreturn]] void fail(const std::string& what, int error = errno) {
  throw std::system_error(error, std::generic_category(), what);
}

template <typename Owned, typename T>
Owned owned(T* made, const char* what) {
  if (made == nullptr) fail(what);
  return Owned(made);
}

Context open_device(const std::string& name) {
  int count = 0;
  const std::unique_ptr<ibv_device*[], Freed<ibv_free_device_list>> list(ibv_get_device_list(&count));
  for (ibv_device* device : std::span(list.get(), static_cast<size_t>(count))) {
    if (name == ibv_get_device_name(device)) return owned<Context>(ibv_open_device(device), name.c_str());
  }
  throw std::runtime_error("there is no RDMA device " + name);
}

/// The GID that was asked for; else the first of RoCE v2 with an IPv4 address; else the first.
ibv_gid_entry choose_gid(ibv_context* context, const Rail& rail, int table_size) {
  ibv_gid_entry first{};
  for (int index = table_size; index > 0; --index) {
    ibv_gid_entry entry{};
    if (ibv_query_gid_ex(context, rail.port, static_cast<uint32_t>(index - 1), &entry, 0) != 0) continue;
    if (rail.gid_index == entry.gid_index) return entry;
    constexpr std::array<uint8_t, 12> ipv4{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const bool preferred = entry.gid_type == IBV_GID_TYPE_ROCE_V2 && std::memcmp(entry.gid.raw, ipv4.data(), ipv4.size()) == 0;
    if (preferred || first.gid_type != IBV_GID_TYPE_ROCE_V2) first = entry;
  }
  return first;
}

/// One side: a queue pair, the memory that the other writes into, and the memory that is sent.
class Side {
 public:
  Side(const std::string& device, uint32_t block_bytes) : block_bytes_(block_bytes), memory_(size_t{2} * block_bytes) {
    const auto parsed = haul::rdma::parse_rail(device);
    if (!parsed) throw std::runtime_error(std::string(parsed.status().message()));
    rail_ = *parsed;
    context_ = open_device(rail_.device);
    domain_ = owned<Domain>(ibv_alloc_pd(context_.get()), "protection domain");
    region_ = owned<Region>(
        ibv_reg_mr(domain_.get(), memory_.data(), memory_.size(), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE),
        "memory region");
    completions_ = owned<Completions>(ibv_create_cq(context_.get(), 2 * queue_depth, nullptr, nullptr, 0), "completion queue");
    ibv_qp_init_attr wanted{};
    wanted.send_cq = wanted.recv_cq = completions_.get();
    wanted.qp_type = IBV_QPT_RC;
    wanted.cap = {queue_depth, queue_depth, 1, 1, max_inline_bytes};
    queue_pair_ = owned<QueuePair>(ibv_create_qp(domain_.get(), &wanted), "queue pair");
    inline_bytes_ = wanted.cap.max_inline_data;
    ibv_qp_attr initial{};
    initial.qp_state = IBV_QPS_INIT;
    initial.port_num = rail_.port;
    initial.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
    modify(initial, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
    for (uint32_t i = 0; i < queue_depth; ++i) post_receive();
  }

  Endpoint endpoint() {
    ibv_port_attr port{};
    if (const int error = ibv_query_port(context_.get(), rail_.port, &port); error != 0) fail("port", error);
    const ibv_gid_entry gid = choose_gid(context_.get(), rail_, port.gid_tbl_len);
    gid_index_ = gid.gid_index;
    global_ = port.link_layer == IBV_LINK_LAYER_ETHERNET;
    mtu_ = port.active_mtu;
    return {queue_pair_->qp_num, gid.gid, port.lid, port.active_mtu, reinterpret_cast<uint64_t>(memory_.data()), region_->rkey};
  }

  void connect(const Endpoint& peer) {
    peer_ = peer;
    ibv_qp_attr receive{};
    receive.qp_state = IBV_QPS_RTR;
    receive.path_mtu = std::min(mtu_, peer.mtu);
    receive.dest_qp_num = peer.queue_pair;
    receive.min_rnr_timer = 12;
    receive.ah_attr.port_num = rail_.port;
    receive.ah_attr.dlid = peer.lid;
    receive.ah_attr.is_global = global_ ? 1 : 0;
    receive.ah_attr.grh.dgid = peer.gid;
    receive.ah_attr.grh.sgid_index = static_cast<uint8_t>(gid_index_);
    receive.ah_attr.grh.hop_limit = 64;
    modify(receive, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                        IBV_QP_MIN_RNR_TIMER);
    ibv_qp_attr send{};
    send.qp_state = IBV_QPS_RTS;
    send.timeout = 16;
    send.retry_cnt = 6;
    send.rnr_retry = 6;
    modify(send, IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC);
  }

  void send(uint32_t immediate) {
    while (sends_ - sends_done_ >= queue_depth - signal_every) take_completion();
    ibv_sge block{reinterpret_cast<uint64_t>(memory_.data() + block_bytes_), block_bytes_, region_->lkey};
    ibv_send_wr request{};
    ibv_send_wr* refused = nullptr;
    request.wr_id = ++sends_;
    request.sg_list = &block;
    request.num_sge = 1;
    request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
    request.imm_data = immediate;
    if (sends_ % signal_every == 0) request.send_flags |= IBV_SEND_SIGNALED;
    if (block_bytes_ <= inline_bytes_) request.send_flags |= IBV_SEND_INLINE;
    request.wr.rdma.remote_addr = peer_.address;
    request.wr.rdma.rkey = peer_.key;
    if (const int error = ibv_post_send(queue_pair_.get(), &request, &refused); error != 0) fail("send", error);
  }

  /// The immediate of the next block that arrived. Spins.
  uint32_t receive() {
    while (arrived_ == taken_) take_completion();
    ++taken_;
    return immediate_;
  }

 private:
  void modify(ibv_qp_attr& attributes, int mask) {
    if (const int error = ibv_modify_qp(queue_pair_.get(), &attributes, mask); error != 0) fail("queue pair", error);
  }

  void post_receive() {
    ibv_recv_wr request{};
    ibv_recv_wr* refused = nullptr;
    if (const int error = ibv_post_recv(queue_pair_.get(), &request, &refused); error != 0) fail("receive", error);
  }

  void take_completion() {
    ibv_wc done{};
    const auto begin = steady_clock::now();
    for (uint32_t turn = 1;; ++turn) {
      const int count = ibv_poll_cq(completions_.get(), 1, &done);
      if (count < 0) throw std::runtime_error("the completion queue failed");
      if (count == 1) break;
      constexpr uint32_t look_at_clock_every = 1024;
      if (turn % look_at_clock_every == 0 && steady_clock::now() - begin > patience) {
        throw std::runtime_error("the other process does not answer");
      }
    }
    if (done.status != IBV_WC_SUCCESS) throw std::runtime_error(ibv_wc_status_str(done.status));
    if (done.opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
      immediate_ = done.imm_data;
      ++arrived_;
      post_receive();
    } else {
      sends_done_ = done.wr_id;
    }
  }

  const uint32_t block_bytes_;
  std::vector<std::byte> memory_;
  Rail rail_;
  Context context_;
  Domain domain_;
  Region region_;
  Completions completions_;
  QueuePair queue_pair_;
  uint32_t inline_bytes_ = 0;
  uint32_t gid_index_ = 0;
  bool global_ = true;
  ibv_mtu mtu_ = IBV_MTU_1024;
  Endpoint peer_;
  uint64_t sends_ = 0;
  uint64_t sends_done_ = 0;
  uint64_t arrived_ = 0;
  uint64_t taken_ = 0;
  uint32_t immediate_ = 0;
};

/// Both processes say where they are, and wait for the other's word.
void meet(Side& side, int fd) {
  const Endpoint own = side.endpoint();
  Endpoint peer;
  if (::send(fd, &own, sizeof(own), MSG_NOSIGNAL) != sizeof(own) ||
      ::recv(fd, &peer, sizeof(peer), MSG_WAITALL) != sizeof(peer)) {
    throw std::runtime_error("the other process ended; its message is above");
  }
  side.connect(peer);
  char ready = 1;
  if (::send(fd, &ready, 1, MSG_NOSIGNAL) != 1 || ::recv(fd, &ready, 1, MSG_WAITALL) != 1) {
    throw std::runtime_error("the other process ended; its message is above");
  }
}

constexpr uint32_t last_block = 1;

void answer(const Settings& settings, int fd) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  Side side(settings.devices.back(), settings.block_bytes);
  meet(side, fd);
  for (uint32_t immediate = 0; immediate != last_block;) {
    immediate = side.receive();
    side.send(immediate);
  }
  char over = 0;
  ::recv(fd, &over, 1, 0);  // the answer leaves before its queue pair goes
}

bench::Histogram measure(const Settings& settings, int fd) {
  Side side(settings.devices.front(), settings.block_bytes);
  meet(side, fd);
  bench::Histogram round_trips;
  const auto end = steady_clock::now() +
                   std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double>(settings.duration_s));
  for (bool over = false; !over;) {
    const auto before = steady_clock::now();
    over = before >= end;
    side.send(over ? last_block : 0);
    side.receive();
    round_trips.record(steady_clock::now() - before);
  }
  return round_trips;
}

int run(const Settings& settings) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) fail("socketpair");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    ours.reset();
    answer(settings, theirs.get());
    return 0;
  }
  theirs.reset();
  const bench::Histogram round_trips = measure(settings, ours.get());
  ours.reset();
  ::waitpid(child, nullptr, 0);

  nlohmann::ordered_json json;
  json["mode"] = "pingpong";
  json["transport"] = "bare verbs";
  json["block_bytes"] = settings.block_bytes;
  json["round_trips"] = round_trips.count();
  json["half_rtt_us"] = *round_trips.quantile_us(0.5) / 2;
  for (const auto& [key, fraction] : {std::pair("p50_us", 0.5), std::pair("p99_us", 0.99)}) {
    json[key] = *round_trips.quantile_us(fraction);
  }
  if (settings.json) {
    fmt::print("{}\n", json.dump(2));
    return 0;
  }
  for (const auto& [key, value] : json.items()) fmt::print("{:<24}{}\n", key, value.dump());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app{"RDMA WRITE WITH IMMEDIATE, answered by the same, between two processes; both poll"};
  app.add_option("--rdma-device", settings.devices, "Ports of the two processes: DEVICE[:PORT[:GID]],DEVICE…")
      ->delimiter(',')
      ->expected(1, 2)
      ->required();
  app.add_option("--size", settings.block_bytes, "Bytes of a write (K, M)")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--duration", settings.duration_s, "Seconds")->check(CLI::Range(0.01, 3600.0))->capture_default_str();
  app.add_flag("--json", settings.json, "Print JSON");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(settings);
  } catch (const std::exception& error) {
    fmt::print(stderr, "haul-bench-verbs: {}\n", error.what());
    return 1;
  }
}
