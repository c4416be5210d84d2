#!/usr/bin/env python3
"""Checks the checker: every rule of tidy.py finds what it is for, and leaves good code alone."""
import unittest

import tidy

HEADER = "// A header of some kind.\n#pragma once\n"


def findings(path, text):
    report = tidy.Report()
    tidy.check_file(path, text, report)
    return report.findings


def body(lines):
    return "".join("  call();\n" for _ in range(lines))


class Includes(unittest.TestCase):
    def finds(self, path, include, expected):
        text = HEADER + f"#include {include}\n" if path.endswith(".h") else f"// A source of some kind.\n#include {include}\n"
        self.assertEqual(len(findings(path, text)), expected, (path, include, findings(path, text)))

    def test_rooms_point_one_way(self):
        self.finds("lib/engine/loop.cc", '"schedule/lanes.h"', 0)
        self.finds("lib/engine/loop.cc", '"engine/loop.h"', 0)
        self.finds("lib/schedule/lanes.cc", '"engine/loop.h"', 1)
        self.finds("lib/base/ring.h", '"vocabulary/x.h"', 1)
        self.finds("lib/congestion/bbr.cc", '"transfer/state.h"', 1)
        self.finds("lib/object/tree.cc", '"engine/core.h"', 1)

    def test_transports_stand_alone(self):
        self.finds("transports/tcp/socket.cc", '"base/ring.h"', 0)
        self.finds("transports/tcp/socket.cc", '"haul/transport.h"', 0)
        self.finds("transports/tcp/socket.cc", '"tcp/socket.h"', 0)
        self.finds("transports/tcp/socket.cc", '"memory/grants.h"', 1)
        self.finds("transports/sim/world.cc", '"tcp/socket.h"', 1)
        self.finds("lib/engine/loop.cc", '"tcp/socket.h"', 1)

    def test_public_headers_are_closed(self):
        self.finds("include/haul/engine.h", '"haul/peer.h"', 0)
        self.finds("include/haul/engine.h", "<string_view>", 0)
        self.finds("include/haul/engine.h", '"base/ring.h"', 1)
        self.finds("include/haul/engine.h", "<sys/socket.h>", 1)
        self.finds("include/haul/engine.h", "<asio.hpp>", 1)
        self.finds("include/haul/asio.h", "<asio.hpp>", 0)
        self.finds("include/haul/asio.h", "<asio/async_result.hpp>", 0)

    def test_libraries_have_one_home(self):
        self.finds("transports/tcp/ring.h", "<liburing.h>", 0)
        self.finds("lib/engine/loop.cc", "<liburing.h>", 1)
        self.finds("lib/transfer/sum.cc", "<isa-l/crc.h>", 1)
        self.finds("lib/security/keys.cc", "<gnutls/x509.h>", 0)
        self.finds("tools/haul/keygen.cc", "<gnutls/x509.h>", 1)

    def test_headers_are_named_from_a_root(self):
        self.finds("lib/base/ring.h", '"check.h"', 0)
        self.finds("lib/base/ring.h", '"../base/check.h"', 1)
        self.finds("tests/unit/ring.cc", '"check.h"', 0)

    def test_programs_see_the_public_face(self):
        self.finds("tools/haul/main.cc", '"object/tree.h"', 0)
        self.finds("tools/haul/keygen.cc", '"security/keys.h"', 0)
        self.finds("tools/haul/main.cc", '"engine/core.h"', 1)
        self.finds("examples/put.cc", '"base/bytes.h"', 1)
        self.finds("bench/micro/ring.cc", '"base/ring.h"', 0)


class Functions(unittest.TestCase):
    def spans(self, text):
        return [(name, last - first + 1) for name, first, last in tidy.functions(text)]

    def test_lengths(self):
        self.assertEqual(self.spans("int f() {\n  return 1;\n}\n"), [("f", 3)])
        self.assertEqual(self.spans("void A::g(\n    int x) const {\n  if (x) {\n  }\n}\n"), [("A::g", 5)])
        self.assertEqual(self.spans("namespace n {\nclass A {\n  int f() { return 1; }\n  int x_{0};\n};\n}\n"), [("f", 1)])

    def test_constructors(self):
        self.assertEqual(self.spans("A::A(int x)\n    : x_{x}, y_(x) {\n  run();\n}\n"), [("A::A", 4)])
        self.assertEqual(self.spans("A::A() : x_(1) {}\nint g() {\n}\n"), [("A::A", 1), ("g", 2)])

    def test_what_only_looks_like_code(self):
        self.assertEqual(self.spans('int f() {\n  return g("}", \'}\', R"({)");  // }\n}\n'), [("f", 3)])
        self.assertEqual(self.spans("const int n = 1'000'000;\nint f() {\n}\n"), [("f", 2)])
        self.assertEqual(self.spans("#define X(a) { a\nint f() {\n}\n"), [("f", 2)])

    def test_data_is_no_function(self):
        self.assertEqual(self.spans("const std::array<int, 2> a = {f(1), 2};\nstruct S {\n  int b = g(2);\n};\n"), [])

    def test_test_cases_and_lambdas(self):
        text = 'TEST_CASE("a (b) {") {\n  auto f = [](int x) {\n    return x;\n  };\n}\n'
        self.assertEqual(self.spans(text), [("TEST_CASE", 5)])

    def test_limit(self):
        self.assertEqual(findings("lib/base/a.cc", "// What this file is.\nvoid f() {\n" + body(68) + "}\n"), [])
        long = findings("lib/base/a.cc", "// What this file is.\nvoid f() {\n" + body(69) + "}\n")
        self.assertEqual(len(long), 1)
        self.assertIn("f has 71 lines", long[0])


class Looks(unittest.TestCase):
    def finds(self, path, text, what):
        found = findings(path, text)
        self.assertEqual(len(found), 1, found)
        self.assertIn(what, found[0])

    def test_good(self):
        self.assertEqual(findings("lib/base/a.h", HEADER + "int f();\n"), [])
        self.assertEqual(findings("scripts/a.sh", "#!/usr/bin/env bash\n# Does something.\n"), [])
        self.assertEqual(findings("scripts/a", '#!/usr/bin/env python3\n"""Does something."""\n'), [])

    def test_each(self):
        self.finds("lib/base/a.h", "#pragma once\nint f();\n", "first line")
        self.finds("scripts/a.sh", "#!/usr/bin/env bash\nset -e\n", "first line")
        self.finds("scripts/a", "#!/usr/bin/env python3\nimport sys\n", "first line")
        self.finds("lib/base/a.h", "// A header of some kind.\nint f();\n", "#pragma once")
        self.finds("lib/base/a.h", HEADER + "int f(); \n", "white space")
        self.finds("lib/base/a.h", HEADER + "\tint f();\n", "a tab")
        self.finds("lib/base/a.h", HEADER + "// " + "x" * 126 + "\n", "129 characters")
        self.finds("lib/base/a.h", HEADER + "// TO" + "DO: later\n", "unfinished")
        self.finds("lib/base/a.h", HEADER + "int f();", "line feed")
        self.finds("lib/base/a.h", HEADER + "int f();\n" * 499, "501 lines")

    def test_characters_are_not_bytes(self):
        self.assertEqual(findings("lib/base/a.h", HEADER + "// " + "→" * 125 + "\n"), [])


if __name__ == "__main__":
    unittest.main()
