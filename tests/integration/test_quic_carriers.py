"""haul-bench-quic-carriers: all arrives in every way of carrying, the promised figures are there, wrong arguments are named."""
from harness import Haul, HaulTest, Process, as_json

BRIEF = ("--mb", "1", "--rounds", "1", "--rate", "100M", "--rtt", "20ms")
RATE_BYTES_S = 12_500_000


class QuicCarriers(HaulTest):
    def carry(self, *arguments):
        return Process([Haul.carriers, *arguments]).end()

    def rows(self, *arguments):
        """By link and carrier, each figure its median."""
        told = as_json(self.succeeds(self.carry(*BRIEF, "--json", *arguments)))
        self.assertEqual((told["cipher"], told["packet_bytes"]), ("AES-128-GCM", 1452))
        return {(row.pop("link"), row.pop("carrier")):
                {key: value[0] if isinstance(value, list) else value for key, value in row.items()} for row in told["rows"]}

    def test_all_arrives(self):
        rows = self.rows("--streams", "4,1", "--loss", "0,5%", "--reorder", "5%", "--late", "2ms")
        self.assertEqual(list(rows), [(link, carrier) for link in ("0 lost", "5% lost", "5% late by 2ms")
                                      for carrier in ("datagrams", "4 streams", "1 stream")])
        for (link, carrier), row in rows.items():
            with self.subTest(link=link, carrier=carrier):
                self.assertIsNone(row["failure"])
                self.assertGreater(row["sent_bytes"], 1_000_000)
                self.assertLess(row["sent_bytes"], 1_400_000)
                self.assertEqual(row["repeated_bytes"] > 20_000, link == "5% lost", row)
                self.assertAlmostEqual(row["use_of_link"], 1e6 / row["virtual_s"] / RATE_BYTES_S)
                self.assertGreater(row["sender_peak_bytes"], 0)
        # What lies behind a gap is held in streams, and in its place at once in DATAGRAM frames.
        self.assertGreater(rows["5% lost", "1 stream"]["receiver_peak_bytes"], 50_000)
        self.assertLess(rows["5% lost", "datagrams"]["receiver_peak_bytes"], 30_000)

    def test_the_same_by_seed(self):
        first, again, other = (self.rows("--streams", "2", "--loss", "2%", "--reorder", "0", "--seed", seed) for seed in "778")
        exact = ("virtual_s", "sent_bytes", "repeated_bytes")
        for carrier in first:
            self.assertEqual([first[carrier][key] for key in exact], [again[carrier][key] for key in exact])
        self.assertNotEqual([row["sent_bytes"] for row in first.values()], [row["sent_bytes"] for row in other.values()])

    def test_text(self):
        outcome = self.succeeds(self.carry(*BRIEF, "--streams", "2", "--loss", "0", "--reorder", "0"))
        for words in ("AES-128-GCM", "processor s/GB", "datagrams", "2 streams"):
            self.assertIn(words, outcome.out)

    def test_wrong_arguments(self):
        for arguments, words in ((("--mb", "0"), "--mb"), (("--loss", "much"), "0.1%"), (("--rate", "fast"), "500M"),
                                 (("--rtt", "5"), "100ms"), (("--streams", "0"), "--streams"), (("--reorder", "2"), "1%")):
            with self.subTest(arguments=arguments):
                outcome = self.carry(*BRIEF, *arguments) if arguments[0] not in BRIEF else self.carry(*arguments)
                self.assertEqual(outcome.code, 2, str(outcome))
                self.assertIn(words, outcome.err)
