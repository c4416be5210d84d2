#!/usr/bin/env python3
"""Checks scripts/clang_tidy.py: files that are checked together are checked as if alone."""
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))

import clang_tidy  # noqa: E402

OPTIONS = ("-std=c++20",)
CLEAN = "namespace clean {\n\nint one() { return 1; }\n\n}  // namespace clean\n"
# Some of these checks look only at what is not included.
DIRTY = """#define LOWER 1
namespace other {
void gone();
}
using other::gone;
typedef int Number;
int* nothing() { return 0; }
struct Base { virtual ~Base() = default; virtual void f(); };
struct Derived : Base { void f(); };
int BadName = 0;
"""


def entry(file, command):
    return {"directory": "/", "file": file, "command": command}


class Groups(unittest.TestCase):
    def test_options_are_what_a_file_is_read_with(self):
        command = "env X=1 c++ -DA=1 -I/x -isystem /y -Winvalid-pch -include /b/cmake_pch.hxx -include /z.h -O2 -o a.o -c a.cc"
        self.assertEqual(clang_tidy.options_of(entry("a.cc", command)),
                         ("-DA=1", "-I/x", "-isystem", "/y", "-include", "/z.h", "-O2"))

    def test_folders_and_options_are_kept_apart_and_no_file_is_lost(self):
        entries = [entry(f"/p/{folder}/{i}.cc", f"c++ {option} -o {i}.o -c /p/{folder}/{i}.cc")
                   for folder, option in (("a", "-DX"), ("b", "-DX"), ("b", "-DY")) for i in range(5)]
        groups = clang_tidy.groups_of(entries, "/p/[ab]/.*", 2)
        self.assertEqual(sorted(file for _, files in groups for file in files),
                         sorted(f"/p/{folder}/{i}.cc" for folder in "ab" for i in range(5)))
        for _, files in groups:
            self.assertLessEqual(len(files), 2)
            self.assertEqual(len({Path(file).parent for file in files}), 1)
        self.assertEqual(clang_tidy.groups_of(entries, "/p/c/.*"), [])


@unittest.skipUnless(shutil.which("clang-tidy-14"), "no clang-tidy-14 here")
class Findings(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.files = {}
        for name, text in (("clean", CLEAN), ("dirty", DIRTY), ("again", CLEAN)):
            self.files[name] = str(Path(folder.name, f"{name}.cc"))
            Path(self.files[name]).write_text(text)

    def findings(self, *names):
        fine, output = clang_tidy.check([], OPTIONS, [self.files[name] for name in names])
        found = sorted(line for line in output.splitlines() if ": error: " in line)
        self.assertEqual(fine, not found, output)
        return found

    def test_the_same_together_as_alone(self):
        alone = self.findings("dirty")
        for check in ("unused-using-decls", "use-using", "use-nullptr", "use-override", "identifier-naming"):
            self.assertIn(check, str(alone))
        self.assertIn(f"{self.files['dirty']}:1:9: error:", str(alone))
        self.assertEqual(self.findings("clean", "dirty"), alone)
        self.assertEqual(self.findings("clean"), [])

    def test_files_with_something_of_the_same_name_are_parted(self):
        names = [self.files[name] for name in ("clean", "dirty", "again")]
        parts = clang_tidy.compiling((OPTIONS, names))
        self.assertEqual([files for _, files in parts], [names[:1], names[1:]])


if __name__ == "__main__":
    unittest.main()
