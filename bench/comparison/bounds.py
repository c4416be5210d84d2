"""Rows that are no races: memory that does not grow with the size moved, and an idle pair that uses no processor."""

import json

from .process import run

MEMORY_SLACK = 1.02  # allocators and page tables differ a little from run to run
IDLE_LIMIT_PERCENT = 0.1  # less than one clock tick (10 ms) in 10 s


def memory(haul, large):
    """Peak resident memory of each side, moving a large and a small size through the same 256 MiB."""
    peaks = {}
    for size in ("1G", large):
        command = [haul, "throughput", "--size", size, "--working-set", "256M", "--block", "16M", "--warmup", "0", "--json"]
        figures = json.loads(run(command, 600))
        peaks[size] = {side: figures[f"peak_resident_bytes_{side}"] for side in ("sender", "receiver")}
    ratio = max(peaks[large][side] / peaks["1G"][side] for side in ("sender", "receiver"))
    return {"peak_resident_bytes": peaks, "ratio": ratio, "target": f"<= {MEMORY_SLACK}", "met": ratio <= MEMORY_SLACK}


def idle(haul, seconds):
    figures = json.loads(run([haul, "idle", "--duration", str(seconds), "--json"], seconds + 30))
    worst = max(figures["cpu_percent_client"], figures["cpu_percent_server"])
    return {"seconds": seconds, "cpu_percent_client": figures["cpu_percent_client"],
            "cpu_percent_server": figures["cpu_percent_server"], "target": f"< {IDLE_LIMIT_PERCENT} %",
            "met": worst < IDLE_LIMIT_PERCENT}
