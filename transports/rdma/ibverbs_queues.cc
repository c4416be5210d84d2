// Verbs by libibverbs: registered memory, completion queues, queue pairs.
#include <fmt/format.h>
#include <infiniband/verbs.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <future>
#include <vector>

#include "rdma/ibverbs.h"

namespace haul::rdma::ib {

namespace {

class IbRange final : public RegisteredRange {
 public:
  explicit IbRange(ibv_mr* range) : range_(range) {}
  ~IbRange() override { ibv_dereg_mr(range_); }
  IbRange(const IbRange&) = delete;
  IbRange& operator=(const IbRange&) = delete;
  uint32_t local_key() const noexcept override { return range_->lkey; }
  uint32_t remote_key() const noexcept override { return range_->rkey; }
  ibv_mr* get() const { return range_; }

 private:
  ibv_mr* range_;
};

class IbWindow final : public MemoryWindow {
 public:
  explicit IbWindow(ibv_mw* window) : window_(window) {}
  ~IbWindow() override { ibv_dealloc_mw(window_); }
  IbWindow(const IbWindow&) = delete;
  IbWindow& operator=(const IbWindow&) = delete;
  uint32_t remote_key() const noexcept override { return window_->rkey; }
  ibv_mw* get() const { return window_; }

 private:
  ibv_mw* window_;
};

Outcome outcome_of(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_SUCCESS: return Outcome::ok;
    case IBV_WC_LOC_LEN_ERR:
    case IBV_WC_LOC_QP_OP_ERR:
    case IBV_WC_LOC_EEC_OP_ERR:
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_MW_BIND_ERR:
    case IBV_WC_BAD_RESP_ERR: return Outcome::local_error;
    case IBV_WC_WR_FLUSH_ERR: return Outcome::flushed;
    case IBV_WC_LOC_ACCESS_ERR:
    case IBV_WC_REM_ACCESS_ERR: return Outcome::remote_access;
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
    case IBV_WC_REM_ABORT_ERR: return Outcome::remote_error;
    case IBV_WC_RETRY_EXC_ERR:
    case IBV_WC_RESP_TIMEOUT_ERR: return Outcome::retry_exceeded;
    case IBV_WC_RNR_RETRY_EXC_ERR: return Outcome::receiver_not_ready;
    default: return Outcome::fatal;
  }
}

Completion completion_of(const ibv_wc& told) {
  Completion completion;
  completion.id = told.wr_id;
  completion.outcome = outcome_of(told.status);
  if (told.status != IBV_WC_SUCCESS) return completion;  // only these two are told of what failed
  completion.bytes = told.byte_len;
  if (told.opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
    completion.immediate = std::bit_cast<Immediate>(told.imm_data);
  } else if ((static_cast<unsigned>(told.opcode) & IBV_WC_RECV) != 0) {
    completion.foreign = (told.wc_flags & (IBV_WC_WITH_IMM | IBV_WC_WITH_INV)) != 0;
  }
  return completion;
}

class IbCompletionQueue final : public CompletionQueue {
 public:
  // The queue's context, by which events find this object, is set once it exists.
  explicit IbCompletionQueue(ibv_cq* queue) : queue_(queue) { queue_->cq_context = this; }
  ~IbCompletionQueue() override { ibv_destroy_cq(queue_); }
  IbCompletionQueue(const IbCompletionQueue&) = delete;
  IbCompletionQueue& operator=(const IbCompletionQueue&) = delete;

  Result<size_t> poll(std::span<Completion> completions) override {
    std::array<ibv_wc, 64> taken;
    const int count = ibv_poll_cq(queue_, static_cast<int>(std::min(completions.size(), taken.size())), taken.data());
    if (count < 0) return Status(StatusCode::internal, "the completion queue overran or failed");
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) completions[i] = completion_of(taken[i]);
    return static_cast<size_t>(count);
  }
  Status arm() override {
    if (const int error = ibv_req_notify_cq(queue_, 0); error != 0) {
      return Status::from_errno(StatusCode::internal, error, "the completion queue cannot be armed");
    }
    armed_ = true;
    return {};
  }
  bool armed() const noexcept override { return armed_; }
  void woke() { armed_ = false; }
  ibv_cq* get() const { return queue_; }

 private:
  ibv_cq* queue_;
  bool armed_ = false;
};

ibv_mtu mtu_of(uint32_t bytes) {
  if (bytes >= 4096) return IBV_MTU_4096;
  if (bytes >= 2048) return IBV_MTU_2048;
  if (bytes >= 1024) return IBV_MTU_1024;
  return bytes >= 512 ? IBV_MTU_512 : IBV_MTU_256;
}

class IbQueuePair final : public QueuePair {
 public:
  /// `builder` is the same queue pair where its provider has ibv_wr_*, else null.
  IbQueuePair(ibv_qp* pair, ibv_qp_ex* builder, uint32_t inline_bytes, Workers& workers)
      : pair_(pair), builder_(builder), inline_bytes_(inline_bytes), workers_(workers) {}
  ~IbQueuePair() override {
    // The kernel destroys no queue pair that it is busy with.
    if (connecting_.valid()) connecting_.wait();
    ibv_destroy_qp(pair_);
  }
  IbQueuePair(const IbQueuePair&) = delete;
  IbQueuePair& operator=(const IbQueuePair&) = delete;

  uint32_t number() const noexcept override { return pair_->qp_num; }
  uint32_t inline_bytes() const noexcept override { return inline_bytes_; }
  Status initialise(uint8_t port, Access access) override;
  void connect(const PathTo& path) override {
    connecting_ = workers_.run([this, path] { return become_connected(path); });
  }
  std::optional<Status> connected() override;
  Status post(std::span<const WorkRequest> requests) override;
  Status post_receive(uint64_t id, const Element& element) override;
  void stop() override;

 private:
  Status modify(ibv_qp_attr& attributes, int mask, const char* to);
  Status become_connected(const PathTo& path);
  Status build(std::span<const WorkRequest> requests);
  Status post_list(std::span<const WorkRequest> requests);
  static void translate(const WorkRequest& request, ibv_send_wr& out, ibv_sge& element);

  ibv_qp* pair_;
  ibv_qp_ex* builder_;
  uint32_t inline_bytes_;
  Workers& workers_;
  std::future<Status> connecting_;
  std::optional<Status> connected_;
  std::vector<ibv_send_wr> requests_;  // of one post_list(), kept between them
  std::vector<ibv_sge> elements_;
};

Status IbQueuePair::modify(ibv_qp_attr& attributes, int mask, const char* to) {
  const int error = ibv_modify_qp(pair_, &attributes, mask);
  if (error == 0) return {};
  return Status::from_errno(StatusCode::internal, error, fmt::format("the queue pair does not become {}", to));
}

Status IbQueuePair::initialise(uint8_t port, Access access) {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.pkey_index = 0;
  attributes.port_num = port;
  attributes.qp_access_flags = IBV_ACCESS_LOCAL_WRITE;
  if (access.remote_read) attributes.qp_access_flags |= IBV_ACCESS_REMOTE_READ;
  if (access.remote_write) attributes.qp_access_flags |= IBV_ACCESS_REMOTE_WRITE;
  return modify(attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, "initialised");
}

std::optional<Status> IbQueuePair::connected() {
  if (connecting_.valid() && connecting_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
    connected_ = connecting_.get();
  }
  return connected_;
}

/// On another thread.
Status IbQueuePair::become_connected(const PathTo& path) {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_RTR;
  attributes.path_mtu = mtu_of(path.mtu_bytes);
  attributes.dest_qp_num = path.queue_pair;
  attributes.rq_psn = path.packet_number;
  attributes.max_dest_rd_atomic = path.reads_served;
  attributes.min_rnr_timer = 12;  // 0.64 ms
  ibv_ah_attr& address = attributes.ah_attr;
  address.port_num = path.port;
  address.dlid = path.lid;
  address.sl = path.service_level;
  if (path.global) {
    address.is_global = 1;
    std::copy(path.gid.raw.begin(), path.gid.raw.end(), address.grh.dgid.raw);
    address.grh.sgid_index = static_cast<uint8_t>(path.gid_index);
    address.grh.hop_limit = path.hop_limit;
    address.grh.traffic_class = path.traffic_class;
  }
  if (Status status = modify(attributes,
                             IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                 IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
                             "ready to receive");
      !status.ok()) {
    return status;
  }
  ibv_qp_attr sends{};
  sends.qp_state = IBV_QPS_RTS;
  sends.sq_psn = path.own_packet_number;
  sends.timeout = path.timeout_exponent;
  sends.retry_cnt = path.retries;
  sends.rnr_retry = 6;  // 7 would be for ever
  sends.max_rd_atomic = path.reads_asked;
  return modify(sends,
                IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC,
                "ready to send");
}

unsigned flags_of(const WorkRequest& request) {
  unsigned flags = 0;
  if (request.signalled) flags |= IBV_SEND_SIGNALED;
  // Soft-RoCE's kernel half looks for it, whichever way the data was given.
  if (request.inlined) flags |= IBV_SEND_INLINE;
  return flags;
}

ibv_mw_bind_info bind_of(const WorkRequest& request) {
  ibv_mw_bind_info bind{};
  bind.mr = static_cast<const IbRange*>(request.range)->get();
  bind.addr = reinterpret_cast<uint64_t>(request.address);
  bind.length = request.length;
  if (request.access.remote_read) bind.mw_access_flags |= IBV_ACCESS_REMOTE_READ;
  if (request.access.remote_write) bind.mw_access_flags |= IBV_ACCESS_REMOTE_WRITE;
  return bind;
}

void IbQueuePair::translate(const WorkRequest& request, ibv_send_wr& out, ibv_sge& element) {
  out = {};
  out.wr_id = request.id;
  out.send_flags = flags_of(request);
  if (request.local.length > 0) {
    element = {reinterpret_cast<uint64_t>(request.local.address), request.local.length, request.local.local_key};
    out.sg_list = &element;
    out.num_sge = 1;
  }
  switch (request.kind) {
    case WorkRequest::Kind::send: out.opcode = IBV_WR_SEND; break;
    case WorkRequest::Kind::write:
    case WorkRequest::Kind::read:
      out.opcode = request.kind == WorkRequest::Kind::write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
      if (request.immediate) {
        out.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
        out.imm_data = std::bit_cast<uint32_t>(*request.immediate);
      }
      out.wr.rdma.remote_addr = request.remote_address;
      out.wr.rdma.rkey = request.remote_key;
      break;
    case WorkRequest::Kind::bind:
      out.opcode = IBV_WR_BIND_MW;
      out.bind_mw.mw = static_cast<IbWindow*>(request.window)->get();
      out.bind_mw.rkey = request.remote_key;
      out.bind_mw.bind_info = bind_of(request);
      break;
    case WorkRequest::Kind::invalidate:
      out.opcode = IBV_WR_LOCAL_INV;
      out.invalidate_rkey = request.remote_key;
      break;
  }
}

Status IbQueuePair::post(std::span<const WorkRequest> requests) {
  return builder_ != nullptr ? build(requests) : post_list(requests);
}

/// Straight into the provider's queue (ibv_wr_post(3)): no list of requests to write and to read again.
Status IbQueuePair::build(std::span<const WorkRequest> requests) {
  ibv_wr_start(builder_);
  for (const WorkRequest& request : requests) {
    builder_->wr_id = request.id;
    builder_->wr_flags = flags_of(request);
    switch (request.kind) {
      case WorkRequest::Kind::send: ibv_wr_send(builder_); break;
      case WorkRequest::Kind::write:
        if (request.immediate) {
          ibv_wr_rdma_write_imm(builder_, request.remote_key, request.remote_address,
                                std::bit_cast<uint32_t>(*request.immediate));
        } else {
          ibv_wr_rdma_write(builder_, request.remote_key, request.remote_address);
        }
        break;
      case WorkRequest::Kind::read: ibv_wr_rdma_read(builder_, request.remote_key, request.remote_address); break;
      case WorkRequest::Kind::bind: {
        const ibv_mw_bind_info bind = bind_of(request);
        ibv_wr_bind_mw(builder_, static_cast<IbWindow*>(request.window)->get(), request.remote_key, &bind);
        continue;
      }
      case WorkRequest::Kind::invalidate: ibv_wr_local_inv(builder_, request.remote_key); continue;
    }
    const Element& local = request.local;
    if (request.inlined) {
      ibv_wr_set_inline_data(builder_, const_cast<std::byte*>(local.address), local.length);  // NOLINT: it only reads
    } else {
      ibv_wr_set_sge(builder_, local.local_key, reinterpret_cast<uint64_t>(local.address), local.length);
    }
  }
  const int error = ibv_wr_complete(builder_);
  return error == 0 ? Status() : Status::from_errno(StatusCode::exhausted, error, "ibv_wr_complete");
}

Status IbQueuePair::post_list(std::span<const WorkRequest> requests) {
  requests_.resize(requests.size());
  elements_.resize(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    translate(requests[i], requests_[i], elements_[i]);
    if (i > 0) requests_[i - 1].next = &requests_[i];
  }
  ibv_send_wr* refused = nullptr;
  const int error = ibv_post_send(pair_, requests_.data(), &refused);
  return error == 0 ? Status() : Status::from_errno(StatusCode::exhausted, error, "ibv_post_send");
}

Status IbQueuePair::post_receive(uint64_t id, const Element& element) {
  ibv_sge place{reinterpret_cast<uint64_t>(element.address), element.length, element.local_key};
  ibv_recv_wr request{};
  request.wr_id = id;
  request.sg_list = &place;
  request.num_sge = 1;
  ibv_recv_wr* refused = nullptr;
  const int error = ibv_post_recv(pair_, &request, &refused);
  return error == 0 ? Status() : Status::from_errno(StatusCode::exhausted, error, "ibv_post_recv");
}

void IbQueuePair::stop() {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_RESET;
  // It is destroyed next: a device that is gone refuses both, and places nothing.
  ibv_modify_qp(pair_, &attributes, IBV_QP_STATE);
}

}  // namespace

std::unique_ptr<RegisteredRange> take_range(ibv_mr* range) { return std::make_unique<IbRange>(range); }

std::unique_ptr<MemoryWindow> take_window(ibv_mw* window) { return std::make_unique<IbWindow>(window); }

Result<std::unique_ptr<CompletionQueue>> make_completion_queue(ibv_context* context, ibv_comp_channel* channel,
                                                               uint32_t entries) {
  ibv_cq* queue = ibv_create_cq(context, static_cast<int>(entries), nullptr, channel, 0);
  if (queue == nullptr) {
    return Status::from_errno(StatusCode::exhausted, errno, fmt::format("no completion queue of {} entries", entries));
  }
  return std::unique_ptr<CompletionQueue>(std::make_unique<IbCompletionQueue>(queue));
}

const CompletionQueue* find_completion_queue(const ibv_cq* queue) {
  return static_cast<const IbCompletionQueue*>(queue->cq_context);
}

void take_completion_events(ibv_comp_channel* channel) {
  ibv_cq* queue = nullptr;
  void* owner = nullptr;
  while (ibv_get_cq_event(channel, &queue, &owner) == 0) {
    static_cast<IbCompletionQueue*>(queue->cq_context)->woke();
    // Events that nobody acknowledged would make the queue's destruction wait for ever.
    ibv_ack_cq_events(queue, 1);
  }
}

namespace {

/// Null where the provider has no ibv_wr_* for all that is used here.
ibv_qp* make_extended(ibv_pd* domain, const ibv_qp_init_attr& wanted, ibv_qp_cap& granted) {
  ibv_qp_init_attr_ex attributes{};
  attributes.send_cq = wanted.send_cq;
  attributes.recv_cq = wanted.recv_cq;
  attributes.qp_type = wanted.qp_type;
  attributes.cap = wanted.cap;
  attributes.pd = domain;
  attributes.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
  attributes.send_ops_flags = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM |
                              IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_BIND_MW | IBV_QP_EX_WITH_LOCAL_INV;
  ibv_qp* pair = ibv_create_qp_ex(domain->context, &attributes);
  granted = attributes.cap;
  return pair;
}

}  // namespace

Result<std::unique_ptr<QueuePair>> make_queue_pair(ibv_pd* domain, CompletionQueue& completions, const QueueSizes& sizes,
                                                   Workers& workers) {
  ibv_qp_init_attr attributes{};
  attributes.send_cq = attributes.recv_cq = static_cast<IbCompletionQueue&>(completions).get();
  attributes.qp_type = IBV_QPT_RC;
  attributes.cap.max_send_wr = sizes.send_requests;
  attributes.cap.max_recv_wr = sizes.receive_requests;
  attributes.cap.max_send_sge = 1;
  attributes.cap.max_recv_sge = 1;
  // Some devices have no inline sends: they are only faster.
  for (const uint32_t inline_bytes : {sizes.inline_bytes, 0U}) {
    attributes.cap.max_inline_data = inline_bytes;
    ibv_qp_cap granted{};
    if (ibv_qp* pair = make_extended(domain, attributes, granted); pair != nullptr) {
      return std::unique_ptr<QueuePair>(
          std::make_unique<IbQueuePair>(pair, ibv_qp_to_qp_ex(pair), granted.max_inline_data, workers));
    }
    if (ibv_qp* pair = ibv_create_qp(domain, &attributes); pair != nullptr) {
      return std::unique_ptr<QueuePair>(std::make_unique<IbQueuePair>(pair, nullptr, attributes.cap.max_inline_data, workers));
    }
  }
  return Status::from_errno(StatusCode::exhausted, errno, "no queue pair (locked memory? see RLIMIT_MEMLOCK)");
}

}  // namespace haul::rdma::ib
