#!/usr/bin/env python3
"""Checks what a compiler does not: who may include whom, and how files look. tidy.py PROJECT_FOLDER"""
import re
import sys
from pathlib import Path

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70
MAX_LINE_CHARACTERS = 128

# The rooms of lib/, and the other rooms that each may include. Everything may include the public headers and itself.
ROOMS = {
    "base": set(),
    "vocabulary": {"base"},
    "memory": {"base", "vocabulary"},
    "transfer": {"base", "vocabulary", "memory"},
    "congestion": {"base"},
    "security": {"base"},
    "schedule": {"base", "vocabulary", "memory", "transfer", "congestion"},
    "engine": {"base", "vocabulary", "memory", "transfer", "congestion", "security", "schedule"},
    "runtime": {"base"},  # like object: on the engine's public face
    "object": {"base"},
}
TRANSPORTS = {
    "sim": {"base"},
    "net": {"base"},
    "tcp": {"base", "security", "congestion", "net"},
    "quic": {"base", "security", "congestion", "net"},
    "rdma": {"base"},
}
# Programs stand outside: they see the public headers, and the rooms named here. Tests and benchmarks look inside.
PROGRAMS = {"tools": {"base", "object", "security"}, "examples": set()}

# Libraries of others that only one place may know.
ONLY_IN = {
    "liburing": ("transports/tcp",),
    "bpf": ("transports/tcp/kernel_cc", "tests"),
    "isa-l": ("lib/base",),
    "asio": ("include/haul/asio.h", "examples", "tests"),
    "infiniband": ("transports/rdma", "bench/plain_verbs.cc"),
    "rdma": ("transports/rdma",),
    "ngtcp2": ("transports/quic", "tests/quic", "bench/src/quic_carriers"),
    "gnutls": ("lib/security", "transports/quic", "bench/src/quic_carriers"),
    "toml++": ("bench/src/flowsim",),
}

# "path: function" or "path" → why a limit does not apply to it.
EXCEPTIONS = {}

CPP = {".h", ".cc"}
FOLDERS = ("include", "lib", "transports", "tools", "examples", "bench", "tests", "cmake", "scripts", ".ci")
# Folders, at any depth, with what nobody wrote by hand.
NOT_SOURCES = {"__pycache__", "corpus"}
COMMENT_STARTS = {".h": "//", ".cc": "//", ".cmake": "#", ".txt": "#", ".sh": "#", ".py": '"""'}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
STANDARD_HEADER = re.compile(r"^[a-z_]+$")


class Report:
    def __init__(self):
        self.findings = []

    def add(self, path, line, text):
        self.findings.append(f"{path}:{line}: {text}")


# --- Includes ---------------------------------------------------------------------------------------------------------------


def allowed_rooms(path):
    """The rooms and transports that a file may include, or None where anything goes."""
    parts = path.split("/")
    if path.startswith("include/"):
        return set()
    if parts[0] == "lib" and len(parts) > 2:
        return ROOMS.get(parts[1], set()) | {parts[1]}
    if parts[0] == "transports" and len(parts) > 2:
        return TRANSPORTS.get(parts[1], {"base"}) | {parts[1]}
    return PROGRAMS.get(parts[0])


def check_public_include(path, line, name, report):
    if name.startswith("haul/") or STANDARD_HEADER.match(name):
        return
    if path == "include/haul/asio.h" and name.split("/")[0].removesuffix(".hpp") == "asio":
        return
    report.add(path, line, f"a public header includes only haul/ and the standard library, not {name}")


def check_includes(path, lines, report):
    allowed = allowed_rooms(path)
    inside = path.split("/")[0] in ("lib", "transports")
    for number, text in enumerate(lines, 1):
        match = INCLUDE.match(text)
        if not match:
            continue
        quoted, name = match[1] == '"', match[2]
        first = name.split("/")[0].removesuffix(".h").removesuffix(".hpp")
        if path.startswith("include/"):
            check_public_include(path, number, name, report)
            continue
        places = ONLY_IN.get(first)
        if places and not quoted and not path.startswith(places):
            report.add(path, number, f"{name} belongs to {' and '.join(places)} only")
        is_room = "/" in name and (first in ROOMS or first in TRANSPORTS)
        if is_room and quoted and allowed is not None and first not in allowed:
            may = ", ".join(sorted(allowed)) or "no room"
            report.add(path, number, f"{name}: this place may include {may} and the public headers")
        if inside and quoted and not is_room and first != "haul" and "/" in name:
            report.add(path, number, f'"{name}": name our headers from the root of lib/, transports/ or include/')


# --- Functions --------------------------------------------------------------------------------------------------------------

TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<raw>[^()\s\\]{0,16})\(.*?\)(?P=raw)"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def blank_comments_and_strings(text):
    """The same text with the same lines, but nothing in it that could be mistaken for code."""
    def blank(match):
        found = match[0]
        # 1'000'000 is a number: its quotes sit between digits.
        if found[0] == "'" and match.start() > 0 and text[match.start() - 1].isalnum() and text[match.start() - 1] not in "uUL":
            return found.replace("'", " ")
        return re.sub(r"[^\n]", " ", found)

    without = TOKEN.sub(blank, re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", " ", text))
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", lambda match: re.sub(r"[^\n]", " ", match[0]), without, flags=re.M)


CONTAINER = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b(?!.*\))", re.S)
NAME = re.compile(r"([\w:~]+|operator\s*\S+)\s*\(")


def functions(text):
    """Yields (name, first line, last line) of every function that is not inside another one."""
    code = blank_comments_and_strings(text)
    scopes = []  # one entry a brace: "container", "other", or the function's (name, line)
    head_start = 0
    line = 1
    for index, character in enumerate(code):
        if character == "\n":
            line += 1
        elif character in ";}":
            if character == "}" and scopes:
                closed = scopes.pop()
                if isinstance(closed, tuple):
                    yield closed[0], closed[1], line
                    head_start = index + 1
                elif closed == "container":
                    head_start = index + 1
            elif character == ";":
                head_start = index + 1
        elif character == "{":
            head = code[head_start:index]
            inside_code = any(scope != "container" for scope in scopes)
            if inside_code:
                scopes.append("other")
            elif CONTAINER.search(head) or not head.strip():
                scopes.append("container")
                head_start = index + 1
            elif "(" in head and not is_initializer(head):
                first_line = line - head.lstrip().count("\n")
                scopes.append((function_name(head), first_line))
            else:
                scopes.append("other")


def is_initializer(head):
    """`Type value{` and `member_{` in a constructor's list, and `= {`; a function's head ends otherwise."""
    stripped = head.rstrip()
    if stripped.endswith(("=", ",", "(")):
        return True
    depth = stripped.count("(") - stripped.count(")")
    if depth > 0:
        return True
    initializers = re.search(r"\)[^()]*:[^:]", stripped)
    return bool(initializers and re.search(r"[,:]\s*\w+$", stripped))


def function_name(head):
    match = NAME.search(head)
    return match[1].strip() if match else head.strip().split("\n")[0]


def check_functions(path, text, report):
    for name, first, last in functions(text):
        length = last - first + 1
        if length > MAX_FUNCTION_LINES and f"{path}: {name}" not in EXCEPTIONS:
            report.add(path, first, f"{name} has {length} lines, more than {MAX_FUNCTION_LINES}")


# --- Looks ------------------------------------------------------------------------------------------------------------------


def check_first_line(path, lines, report):
    start = COMMENT_STARTS.get(Path(path).suffix)
    if Path(path).suffix == "" and lines and lines[0].startswith("#!"):
        start = '"""' if "python" in lines[0] else "#"
    if not start or not lines:
        return
    number = 1 if lines[0].startswith("#!") else 0
    first = lines[number] if number < len(lines) else ""
    if not first.startswith(start) or len(first.strip(start + " ")) < 8:
        report.add(path, number + 1, "the first line is to be a comment that says what this file is")


def check_looks(path, text, lines, report):
    if len(lines) > MAX_FILE_LINES and path not in EXCEPTIONS:
        report.add(path, len(lines), f"{len(lines)} lines, more than {MAX_FILE_LINES}")
    if text and not text.endswith("\n"):
        report.add(path, len(lines), "the last line has no line feed")
    check_first_line(path, lines, report)
    if path.endswith(".h") and next((line for line in lines if line and not line.startswith("//")), "") != "#pragma once":
        report.add(path, 1, "#pragma once is to come first, after the comment")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            report.add(path, number, "white space at the end of the line")
        if "\t" in line:
            report.add(path, number, "a tab")
        if len(line) > MAX_LINE_CHARACTERS:
            report.add(path, number, f"{len(line)} characters, more than {MAX_LINE_CHARACTERS}")
        if UNFINISHED.search(line):
            report.add(path, number, "unfinished: do it, or open an issue")


# --- All of it --------------------------------------------------------------------------------------------------------------


def check_file(path, text, report):
    lines = text.splitlines()
    check_looks(path, text, lines, report)
    if Path(path).suffix in CPP:
        check_includes(path, lines, report)
        check_functions(path, text, report)


def sources(root):
    yield from (root / name for name in ("CMakeLists.txt",))
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            kept = NOT_SOURCES.isdisjoint(path.parts)
            if path.is_file() and (path.suffix in COMMENT_STARTS or path.suffix == "") and kept:
                yield path


def check_readme(root, report):
    """The README shows a program that is built and run: the very same text."""
    program = (root / "examples/hello.cc").read_text(encoding="utf-8").rstrip("\n")
    if program not in (root / "README.md").read_text(encoding="utf-8"):
        report.add("README.md", 1, "does not show examples/hello.cc as it is")


def main(root):
    report = Report()
    count = 0
    for path in sources(root):
        check_file(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"), report)
        count += 1
    check_readme(root, report)
    for finding in report.findings:
        print(finding)
    print(f"{count} files, {len(report.findings)} findings")
    return 1 if report.findings or count < 10 else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
