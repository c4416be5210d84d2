#!/usr/bin/env python3
"""Runs clang-tidy over several files at a time: clang_tidy.py [--alone] [--checks LIST] BUILD_FOLDER PATTERN

Nearly all of clang-tidy's time goes into the headers that a file includes. Files of one folder with the same options are put
behind each other and checked as one, so that their headers are looked at once. Where that does not compile, since two files
have something of the same name, each half is tried, down to single files. Prints each finding once, and how many files it
checked; the exit code is 0 when nothing was found, 2 when no file matches the pattern.
"""
import argparse
import ast
import bisect
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TOGETHER = 8  # files; more would leave a processor idle at the end
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NOISE = re.compile(r"warnings? (generated|treated as errors?)\.?$|errors? generated\.?$|^Suppressed |^Use -header-filter|^$|"
                   r"^Error while processing ")


def options_of(entry):
    """What a compile command tells of how the file is read: without compiler, output, and GCC's precompiled headers."""
    words = shlex.split(entry["command"])
    kept = []
    while words:
        word = words.pop(0)
        if word in ("-o", "-c"):
            words.pop(0)
        elif word == "-include" and words[0].endswith("cmake_pch.hxx"):
            words.pop(0)
        elif word.startswith("-") and word != "-Winvalid-pch":
            kept += [word] + ([words.pop(0)] if word in ("-I", "-isystem", "-D", "-include") else [])
    return tuple(kept)


def files_of(entry):
    """The file that is compiled, or with HAUL_UNITY those that are compiled together."""
    if "/Unity/unity_" not in entry["file"]:
        return [entry["file"]]
    return re.findall(r'^#include "([^"]+)"', Path(entry["file"]).read_text(), re.M)


def groups_of(entries, pattern, together=TOGETHER):
    """[(options, files)], each file once, the same for the same entries."""
    matching = re.compile(pattern)
    found = {}
    for file, entry in sorted(((os.path.realpath(file), entry) for entry in entries for file in files_of(entry)),
                              key=lambda pair: pair[0]):
        if matching.fullmatch(file) and file not in found:
            found[file] = options_of(entry)
    by_kind = {}
    for file, options in found.items():
        by_kind.setdefault((os.path.dirname(file), options), []).append(file)
    groups = []
    for (_, options), files in by_kind.items():
        parts = -(-len(files) // together)
        groups += [(options, files[len(files) * part // parts : len(files) * (part + 1) // parts]) for part in range(parts)]
    return groups


def put_together(files, path):
    """Writes them behind each other: in an included file some checks would look at nothing. Returns where each begins."""
    begins, text = [], ""
    for file in files:
        begins.append(text.count("\n"))
        text += Path(file).read_text() + "\n"
    path.write_text(text)
    return begins


def extra_options():
    """What clang is told of code that GCC compiles: ExtraArgsBefore of .clang-tidy."""
    return ast.literal_eval(re.search(r"^ExtraArgsBefore: (\[.*\])$", (PROJECT / ".clang-tidy").read_text(), re.M)[1])


def compiles(options, files):
    with tempfile.TemporaryDirectory() as temporary:
        together = Path(temporary, "together.cc")
        put_together(files, together)
        command = ["clang++-14", "-fsyntax-only", "-w", *extra_options(), f"-iquote{os.path.dirname(files[0])}", *options,
                   together]
        return subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def compiling(group):
    """The group, or smaller ones where two files have something of the same name. A file alone is a group in any case."""
    options, files = group
    if len(files) == 1 or compiles(options, files):
        return [group]
    middle = len(files) // 2
    return compiling((options, files[:middle])) + compiling((options, files[middle:]))


def check(checks, options, files):
    """Returns whether nothing was found, and what clang-tidy wrote."""
    with tempfile.TemporaryDirectory() as temporary:
        together = Path(temporary, "together.cc")
        begins = put_together(files, together)
        command = ["clang-tidy-14", f"--config-file={PROJECT}/.clang-tidy", "-quiet", *checks, together, "--",
                   f"-iquote{os.path.dirname(files[0])}", *options]
        outcome = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 check=False)

    def where(match):
        line = int(match[1])
        part = bisect.bisect_left(begins, line) - 1
        return f"{files[part]}:{line - begins[part]}:"

    output = re.sub(re.escape(str(together)) + r":(\d+):", where, COLOUR.sub("", outcome.stdout))
    return outcome.returncode == 0, output


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--alone", action="store_true", help="each file by itself: the static analyzer looks at no other")
    parser.add_argument("--checks", help="instead of those of .clang-tidy")
    parser.add_argument("build")
    parser.add_argument("pattern", help="of whole paths, below the project")
    arguments = parser.parse_args()
    entries = json.loads(Path(arguments.build, "compile_commands.json").read_text())
    groups = groups_of(entries, re.escape(f"{PROJECT}/") + f"(?:{arguments.pattern})", 1 if arguments.alone else TOGETHER)
    if not groups:
        print(f"clang_tidy: no file of the compile commands matches {arguments.pattern}", file=sys.stderr)
        return 2
    checks = [f"-checks={arguments.checks}"] if arguments.checks else []
    fine, told = True, set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        groups = [part for parts in pool.map(compiling, groups) for part in parts]
        groups.sort(key=lambda group: -len(group[1]))  # the longest first
        for ok, output in pool.map(lambda group: check(checks, *group), groups):
            fine = fine and ok
            # Each finding in a header comes once for every group that includes it.
            for line in output.splitlines():
                if line not in told and not NOISE.search(line):
                    told.add(line)
                    print(line, flush=True)
    print(f"lint: {sum(len(files) for _, files in groups)} files")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
