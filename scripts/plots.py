#!/usr/bin/env python3
"""Draws the plots of docs/congestion-control.md anew: runs the scenarios with haul-bench, and takes plots out of its report.

plots.py [--haul-bench build/release/bin/haul-bench]
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
AIMS = ROOT / "bench/scenarios/aims"
STYLE = '<svg xmlns="http://www.w3.org/2000/svg" style="font:11px sans-serif;background:#fff" '

# File name: scenario, controller, title of the plot as it begins.
PLOTS = {
    "hub-goodput": ("use-500M-100ms-loss-1-tcp", "hub", "Goodput"),
    "hub-queue": ("use-500M-100ms-loss-1-tcp", "hub", "Queue"),
    "bbr-goodput": ("use-500M-100ms-loss-1-tcp", "bbr", "Goodput"),
    "bbr-queue": ("use-500M-100ms-loss-1-tcp", "bbr", "Queue"),
    "four-flows": ("fair-four-flows", None, "Goodput"),
    "four-flows-bars": ("fair-four-flows", None, "Moved"),
    "beside-cubic": ("fair-beside-cubic", None, "Goodput"),
    "outage": ("outage-5s", None, "Goodput"),
    "use-hub": ("use-500M-100ms-loss-0-tcp", "hub", "Use of the link"),
    "use-bbr": ("use-500M-100ms-loss-0-tcp", "bbr", "Use of the link"),
    "use-cubic": ("use-500M-100ms-loss-0-tcp", "cubic", "Use of the link"),
}


def report(haul_bench, scenario, controller, heat_map):
    with tempfile.NamedTemporaryFile(suffix=".html") as page:
        command = [haul_bench, "sim", str(AIMS / f"{scenario}.toml"), "--report", page.name]
        if controller:
            command += ["--controller", controller]
        if heat_map:
            command.append("--heat-map")
        # 1: a bound was missed, which is no error here.
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if ended.returncode not in (0, 1):
            sys.exit(f"plots: {' '.join(command)} ended with {ended.returncode}: {ended.stderr.strip()}")
        return pathlib.Path(page.name).read_text(encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--haul-bench", default=str(ROOT / "build/release/bin/haul-bench"))
    haul_bench = parser.parse_args().haul_bench
    folder = ROOT / "docs/plots"
    folder.mkdir(exist_ok=True)
    for name, (scenario, controller, title) in PLOTS.items():
        page = report(haul_bench, scenario, controller, title.startswith("Use"))
        found = re.search(rf"<svg ([^>]*>\n<title>{re.escape(title)}.*?</svg>)", page, re.DOTALL)
        if not found:
            sys.exit(f"plots: the report of {scenario} has no plot called {title}")
        (folder / f"{name}.svg").write_text(STYLE + found.group(1) + "\n", encoding="utf-8")


main()
