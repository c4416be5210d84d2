// The targets, one pair of functions each: what it does with an input, and the seeds of its corpus.
#pragma once

#include "fuzz/target.h"

namespace haul::fuzz {

// texts.cc
void address_run(std::span<const std::byte> input);
void address_seeds(const SeedSink& sink);
void url_run(std::span<const std::byte> input);
void url_seeds(const SeedSink& sink);
void file_name_run(std::span<const std::byte> input);
void file_name_seeds(const SeedSink& sink);
void authorized_peers_run(std::span<const std::byte> input);
void authorized_peers_seeds(const SeedSink& sink);

// messages.cc
void engine_message_run(std::span<const std::byte> input);
void engine_message_seeds(const SeedSink& sink);
void remote_buffer_run(std::span<const std::byte> input);
void remote_buffer_seeds(const SeedSink& sink);
void file_message_run(std::span<const std::byte> input);
void file_message_seeds(const SeedSink& sink);

// tcp_wire.cc
void tcp_wire_run(std::span<const std::byte> input);
void tcp_wire_seeds(const SeedSink& sink);

// tcp_connection.cc
void tcp_connection_run(std::span<const std::byte> input);
void tcp_connection_seeds(const SeedSink& sink);

// rdma_wire.cc
void rdma_wire_run(std::span<const std::byte> input);
void rdma_wire_seeds(const SeedSink& sink);

// rdma_connection.cc
void rdma_connection_run(std::span<const std::byte> input);
void rdma_connection_seeds(const SeedSink& sink);

// quic_datagrams.cc
void quic_datagrams_run(std::span<const std::byte> input);
void quic_datagrams_seeds(const SeedSink& sink);

// greeting.cc
void greeting_run(std::span<const std::byte> input);
void greeting_seeds(const SeedSink& sink);

// key_files.cc
void key_files_run(std::span<const std::byte> input);
void key_files_seeds(const SeedSink& sink);

// hostile_peer.cc
void hostile_peer_run(std::span<const std::byte> input);
void hostile_peer_seeds(const SeedSink& sink);

}  // namespace haul::fuzz
