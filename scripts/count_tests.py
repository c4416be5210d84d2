#!/usr/bin/env python3
"""Counts test cases in ctest's JUnit reports and prints "N passed, N failed, N skipped": count_tests.py [--failed N] REPORT...

A program of Catch2 or of Python's unittest is one test of ctest (in a guest, several are): its own summary tells how many test
cases it had. A Catch2 test case that can't run here prints a line "SKIPPED: why". One that unittest expects to fail counts as
skipped. Any other program counts as one. --failed adds failures that have no report.
"""
import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ALL_PASSED = re.compile(r"^All tests passed \(.* in (\d+) test cases?\)", re.M)
SOME_FAILED = re.compile(r"^test cases: +(\d+) *\|(.*)$", re.M)
UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n\n(?:OK|FAILED)(.*)$", re.M)
SKIPPED = re.compile(r"^\s*SKIPPED: ", re.M)


def summaries(output):
    """(cases, failed, skipped) of each program whose summary is in the output."""
    for match in ALL_PASSED.finditer(output):
        yield int(match[1]), 0, 0
    for match in SOME_FAILED.finditer(output):
        found = re.search(r"(\d+) failed(?! as expected)", match[2])
        yield int(match[1]), int(found[1]) if found else 0, 0
    for match in UNITTEST.finditer(output):
        found = {name: int(count) for name, count in re.findall(r"([a-z ]+)=(\d+)", match[2].replace(", ", ","))}
        failed = sum(found.get(name, 0) for name in ("failures", "errors", "unexpected successes"))
        yield int(match[1]), failed, found.get("skipped", 0) + found.get("expected failures", 0)


def count_output(output, ok):
    """(passed, failed, skipped) of one test of ctest, which may have run several programs."""
    found = list(summaries(output)) or [(1, 0 if ok else 1, 0)]
    cases, failed, skipped = (sum(column) for column in zip(*found))
    skipped += len(SKIPPED.findall(output))
    if not ok and failed == 0:
        failed = 1  # a sanitizer's finding or a crash after the last test case
    skipped = min(skipped, max(cases - failed, 0))
    return max(cases - failed - skipped, 0), failed, skipped


def count_report(path):
    totals = [0, 0, 0]
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        status = case.get("status")
        if status in ("notrun", "disabled"):
            missing = status == "notrun" and "SKIP_RETURN_CODE" not in (case.find("skipped").get("message") or "")
            counted = (0, 1, 0) if missing else (0, 0, 1)
        else:
            counted = count_output(case.findtext("system-out") or "", status == "run")
        if counted[1]:
            print(f"failed: {case.get('name')} ({Path(path).stem})")
        totals = [a + b for a, b in zip(totals, counted)]
    return totals


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--failed", type=int, default=0)
    parser.add_argument("reports", nargs="*")
    arguments = parser.parse_args()
    passed, failed, skipped = 0, arguments.failed, 0
    for report in arguments.reports:
        if not Path(report).exists():  # the shell's pattern when there is none
            continue
        counted = count_report(report)
        passed, failed, skipped = passed + counted[0], failed + counted[1], skipped + counted[2]
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
