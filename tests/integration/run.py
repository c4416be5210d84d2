#!/usr/bin/env python3
"""Runs the tests of the programs. run.py --haul PROGRAM [--bench PROGRAM] [SUITE...]; a suite is the part of test_SUITE.py."""
import argparse
import os
import sys
import unittest
from pathlib import Path

import harness

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--haul", required=True)
    parser.add_argument("--bench", help="haul-bench, for the suites bench and wan")
    parser.add_argument("--carriers", help="haul-bench-quic-carriers, for the suite quic_carriers")
    parser.add_argument("--only", help="a part of the names of the tests to run")
    parser.add_argument("suites", nargs="*")
    arguments = parser.parse_args()
    harness.Haul.program = str(Path(arguments.haul).resolve())
    harness.Haul.bench = str(Path(arguments.bench).resolve()) if arguments.bench else None
    harness.Haul.carriers = str(Path(arguments.carriers).resolve()) if arguments.carriers else None
    os.environ.pop("HAUL_CREDENTIALS", None)  # the tests say which
    here = Path(__file__).parent
    names = [f"test_{suite}" for suite in arguments.suites] or sorted(path.stem for path in here.glob("test_*.py"))
    if not arguments.bench:
        names = [name for name in names if name not in ("test_bench", "test_wan")]
    if not arguments.carriers:
        names = [name for name in names if name != "test_quic_carriers"]
    loader = unittest.TestLoader()
    if arguments.only:
        loader.testNamePatterns = [f"*{arguments.only}*"]
    suite = loader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)
