"""What is compared with what, and the targets."""

from dataclasses import dataclass, field

from .tools import MIB, FiPingpong, HaulBench, Iperf3, Perftest, PlainSockets, PlainVerbs, UcxPerftest

RENO = ["--congestion", "reno"]


@dataclass
class Target:
    """`ours` must be at least (at most) `factor` times `other`; without `other`, `factor` itself."""

    ours: str
    factor: float
    other: str | None = None
    at_most: bool = False
    figure: str = "value"


@dataclass
class Row:
    key: str
    title: str
    tools: list
    targets: list = field(default_factory=list)


def haul_transfers(program, name, op, block, *more, integrity="off"):
    return HaulBench(name, program, ["throughput", "--op", op, "--block", block, "--integrity", integrity, *more])


def build_rows(haul, sockets, namespace):
    """`namespace` has reno for the programs that cannot choose; None: those are left out."""
    iperf3 = Iperf3("iperf3")
    return [
        put_large(haul, sockets, iperf3),
        put_large_reno(haul, sockets, namespace),
        Row("put-crc", "put, 1 MiB blocks, CRC32C on",
            [haul_transfers(haul, "haul put 1 MiB crc", "put", "1M", integrity="on"), iperf3],
            [Target("haul put 1 MiB crc", 1.5, "iperf3")]),
        Row("put-encrypted", "put, 1 MiB blocks, TLS 1.3 (no CRC32C beside it; everybody else in plain text)",
            [haul_transfers(haul, "haul put 1 MiB encrypted", "put", "1M", "--encryption", "on"),
             haul_transfers(haul, "haul put 1 MiB authenticated", "put", "1M", "--encryption", "integrity"), iperf3],
            [Target("haul put 1 MiB encrypted", 0.75, "iperf3")]),
        Row("put-64k", "put, 64 KiB blocks, integrity off",
            [haul_transfers(haul, "haul put 64 KiB", "put", "64K"), iperf3,
             UcxPerftest("ucx put 64 KiB", "ucp_put_bw", 64 << 10)],
            [Target("haul put 64 KiB", 1.5, "iperf3")]),
        Row("get", "get, 1 MiB blocks, integrity off",
            [haul_transfers(haul, "haul get 1 MiB", "get", "1M"), iperf3, UcxPerftest("ucx get 1 MiB", "ucp_get", MIB)],
            [Target("haul get 1 MiB", 1.8, "iperf3")]),
        Row("batch", "batches of 256 descriptors of 1 KiB, scattered (UCX: single puts of one buffer)",
            [HaulBench("haul batch 256 x 1 KiB", haul, ["descriptors", "--integrity", "off"]), iperf3,
             UcxPerftest("ucx put 1 KiB", "ucp_put_bw", 1 << 10)],
            [Target("haul batch 256 x 1 KiB", 0.4, "iperf3")]),
        latency_spinning(haul, sockets),
        latency_event(haul, sockets),
    ]


def put_large(haul, sockets, iperf3):
    return Row("put", "put, 1 MiB and 16 MiB blocks, integrity off; each program with its default congestion control",
               [haul_transfers(haul, "haul put 1 MiB", "put", "1M"), haul_transfers(haul, "haul put 16 MiB", "put", "16M"),
                iperf3, Iperf3("iperf3 -l 1M", ["-l", "1M"]),
                PlainSockets("plain stream", sockets, ["stream"]),
                UcxPerftest("ucx put 1 MiB", "ucp_put_bw", MIB), FiPingpong("fi_pingpong 1 MiB", MIB, "GB/s")],
               [Target("haul put 1 MiB", 1.8, "iperf3"), Target("haul put 16 MiB", 1.8, "iperf3"),
                Target("haul put 1 MiB", 1.0, "ucx put 1 MiB"), Target("haul put 1 MiB", 1.0, "fi_pingpong 1 MiB"),
                Target("haul put 1 MiB", 0.55, at_most=True, figure="cpu_s_per_gb")])


def put_large_reno(haul, sockets, namespace):
    tools = [haul_transfers(haul, "haul put 1 MiB reno", "put", "1M", *RENO),
             haul_transfers(haul, "haul put 16 MiB reno", "put", "16M", *RENO),
             PlainSockets("plain stream reno", sockets, ["stream", *RENO]),
             PlainSockets("plain stream 16 MiB reno", sockets, ["stream", "--block", "16M", *RENO]),
             Iperf3("iperf3 -C reno -l 1M", ["-C", "reno", "-l", "1M"])]
    if namespace is not None:
        tools += [UcxPerftest("ucx put 1 MiB reno", "ucp_put_bw", MIB, namespace),
                  FiPingpong("fi_pingpong 1 MiB reno", MIB, "GB/s", namespace)]
    return Row("put-reno", "the same with reno for all", tools,
               [Target("haul put 1 MiB reno", 1.0, "plain stream reno"),
                Target("haul put 16 MiB reno", 1.0, "plain stream 16 MiB reno"),
                Target("haul put 1 MiB reno", 0.75, "iperf3 -C reno -l 1M"),
                Target("haul put 16 MiB reno", 0.75, "iperf3 -C reno -l 1M")])


def latency_spinning(haul, sockets):
    return Row("latency-spin", "half round trip, 4 KiB, both sides polling",
               [HaulBench("haul put 4 KiB spinning", haul, ["latency", "--poll", "spin", "--integrity", "off", *RENO],
                          "half_rtt_us"),
                PlainSockets("plain ping-pong spinning", sockets, ["pingpong", "--spin", *RENO], "half_rtt_us"),
                UcxPerftest("ucx put 4 KiB", "ucp_put_lat", 4 << 10), FiPingpong("fi_pingpong 4 KiB", 4 << 10, "us")],
               [Target("haul put 4 KiB spinning", 1.1, "plain ping-pong spinning", at_most=True)])


def latency_event(haul, sockets):
    return Row("latency-event", "half round trip, 4 KiB, event-driven",
               [HaulBench("haul put 4 KiB event", haul, ["latency", "--poll", "event", "--integrity", "off", *RENO],
                          "half_rtt_us"),
                PlainSockets("plain ping-pong blocking", sockets, ["pingpong", *RENO], "half_rtt_us")],
               [Target("haul put 4 KiB event", 1.25, "plain ping-pong blocking", at_most=True)])


def build_rdma_rows(haul, verbs, rails):
    """Between two RDMA ports of this machine."""
    rdma = ["--transport", "rdma", "--rdma-device", rails[0], "--receiver-rdma-device", rails[-1]]
    return [
        Row("rdma-put", "RDMA: put, 1 MiB blocks; haul with the fabric's checksum, and with CRC32C beside it",
            [haul_transfers(haul, "haul put 1 MiB rdma", "put", "1M", *rdma),
             haul_transfers(haul, "haul put 1 MiB rdma crc", "put", "1M", *rdma, integrity="on"),
             Perftest("ib_write_bw", "ib_write_bw", rails, MIB)],
            [Target("haul put 1 MiB rdma", 0.97, "ib_write_bw")]),
        Row("rdma-latency", "RDMA: half round trip, 4 KiB, both sides polling",
            [HaulBench("haul put 4 KiB rdma", haul, ["latency", "--poll", "spin", "--integrity", "off", *rdma], "half_rtt_us"),
             PlainVerbs("bare write with immediate", verbs, ["--rdma-device", ",".join(rails), "--size", "4K"]),
             Perftest("ib_write_lat (mean)", "ib_write_lat", rails, 4 << 10)],
            [Target("haul put 4 KiB rdma", 1.5, "bare write with immediate", at_most=True)]),
    ]


QUIC_PAYLOAD = 1452  # of a path with the MTU of Ethernet, in UDP
QUIC_JUMBO_PAYLOAD = 8000


def build_quic_rows(haul):
    """On loopback, whose MTU takes both sizes of packet. One TCP stream beside it moves plain text."""

    def quic(name, payload):
        return haul_transfers(haul, name, "put", "1M", "--transport", "quic", "--udp-payload", str(payload), integrity="on")

    usual, jumbo = "haul quic 1452 B", "haul quic 8000 B"
    return [
        Row("quic-put", "QUIC: put, 1 MiB blocks, packets of 1452 and 8000 bytes, encrypted, CRC32C on; iperf3 in plain text",
            [quic(usual, QUIC_PAYLOAD), Iperf3("iperf3"), quic(jumbo, QUIC_JUMBO_PAYLOAD)],
            [Target(usual, 0.38, "iperf3"), Target(usual, 0.45, "iperf3"),
             Target(usual, 2.1, at_most=True, figure="cpu_s_per_gb"), Target(jumbo, 1.5, usual)]),
    ]
