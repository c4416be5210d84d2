#!/usr/bin/env python3
"""Checks that shared libraries export symbols of namespace haul, and no others: exported_symbols.py LIBRARY..."""
import re
import subprocess
import sys

# "vtable for haul::X" and the like, then the namespace.
OURS = re.compile(r"^((vtable|VTT|typeinfo|typeinfo name) for |(non-)?virtual thunk to )?haul::")


def exported(library):
    lines = subprocess.run(["nm", "-DC", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return [line.split(maxsplit=2)[2] for line in lines.splitlines() if len(line.split(maxsplit=2)) == 3]


def main(libraries):
    bad = False
    for library in libraries:
        symbols = exported(library)
        foreign = [symbol for symbol in symbols if not OURS.match(symbol)]
        print(f"{library}: {len(symbols)} symbols, {len(foreign)} of them not haul's")
        for symbol in foreign:
            print("  " + symbol)
        bad = bad or foreign or not symbols
    return 1 if bad or not libraries else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
