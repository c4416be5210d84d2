// What the two halves of the libibverbs layer share.
#pragma once

#include <infiniband/verbs.h>

#include <memory>

#include "rdma/verbs.h"
#include "rdma/workers.h"

namespace haul::rdma::ib {

std::unique_ptr<RegisteredRange> take_range(ibv_mr* range);
std::unique_ptr<MemoryWindow> take_window(ibv_mw* window);
Result<std::unique_ptr<CompletionQueue>> make_completion_queue(ibv_context* context, ibv_comp_channel* channel,
                                                               uint32_t entries);
/// The object that was made for it.
const CompletionQueue* find_completion_queue(const ibv_cq* queue);
void take_completion_events(ibv_comp_channel* channel);
/// `workers` connect it, and must outlive it.
Result<std::unique_ptr<QueuePair>> make_queue_pair(ibv_pd* domain, CompletionQueue& completions, const QueueSizes& sizes,
                                                   Workers& workers);

}  // namespace haul::rdma::ib
