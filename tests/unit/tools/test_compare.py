#!/usr/bin/env python3
"""test_compare.py - what bench/compare says of small results, and with which status."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

COMPARE = pathlib.Path(__file__).resolve().parents[3] / "bench" / "compare"


def figure(unit, *values):
    ordered = sorted(values)
    return {"unit": unit, "value": ordered[len(ordered) // 2], "min": ordered[0],
            "max": ordered[-1], "values": list(values)}


def document(results, **machine):
    return {"machine": {"name": "box", "cores": 2, **machine}, "results": results}


class Compare(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="meerkat-compare-")
        self.addCleanup(self.folder.cleanup)

    def run_on(self, before, after, *options):
        paths = []
        for name, content in (("before", before), ("after", after)):
            path = pathlib.Path(self.folder.name) / (name + ".json")
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            paths.append(str(path))
        return subprocess.run([sys.executable, str(COMPARE), *options, *paths], timeout=30,
                              capture_output=True, text=True, check=False)

    def verdict(self, old, new, *options, name="accept"):
        done = self.run_on(document({name: old}), document({name: new}), "--json", *options)
        row = json.loads(done.stdout)["figures"][0]
        return row["verdict"], done.returncode

    def test_overlapping_ranges_are_the_same(self):
        self.assertEqual(self.verdict(figure("mails/s", 900, 1000, 1100),
                                      figure("mails/s", 700, 800, 901)), ("same", 0))

    def test_a_rate_that_fell_out_of_its_range_is_worse_and_says_so_by_status(self):
        self.assertEqual(self.verdict(figure("mails/s", 900, 1000, 1100),
                                      figure("mails/s", 700, 800, 899)), ("worse", 1))

    def test_a_rate_that_rose_out_of_its_range_is_better(self):
        self.assertEqual(self.verdict(figure("mails/s", 900, 1000, 1100),
                                      figure("mails/s", 1200, 1300, 1400)), ("better", 0))

    def test_of_times_and_sizes_less_is_better(self):
        for unit in ("ms", "us", "bytes", "KiB", "fsyncs"):
            self.assertEqual(self.verdict(figure(unit, 10, 11), figure(unit, 5, 6)), ("better", 0))
            self.assertEqual(self.verdict(figure(unit, 5, 6), figure(unit, 10, 11)), ("worse", 1))

    def test_a_change_below_the_threshold_is_the_same_though_the_ranges_part(self):
        old, new = figure("mails/s", 1000, 1001), figure("mails/s", 970, 971)
        self.assertEqual(self.verdict(old, new), ("same", 0))
        self.assertEqual(self.verdict(old, new, "--threshold", "2"), ("worse", 1))

    def test_what_was_taken_once_is_given_some_noise(self):
        old = figure("mails/s", 1000)
        self.assertEqual(self.verdict(old, figure("mails/s", 850)), ("same", 0))
        self.assertEqual(self.verdict(old, figure("mails/s", 850), "--noise", "1"), ("worse", 1))
        self.assertEqual(self.verdict(old, figure("mails/s", 500)), ("worse", 1))

    def test_peers_and_the_disk_are_not_judged(self):
        for name in ("postfix_accept_16", "exim_accept_16", "write_and_sync_p50"):
            self.assertEqual(self.verdict(figure("mails/s", 9, 10), figure("mails/s", 1, 2),
                                          name=name), ("-", 0))

    def test_a_figure_that_only_one_has_is_named(self):
        one = figure("mails/s", 1, 2)
        done = self.run_on(document({"a": one, "gone": one}), document({"a": one, "new": one}))
        self.assertIn("only before: gone", done.stdout)
        self.assertIn("only after: new", done.stdout)
        self.assertEqual(done.returncode, 0)

    def test_another_machine_is_warned_of(self):
        one = {"a": figure("mails/s", 1, 2)}
        done = self.run_on(document(one), document(one, cores=64))
        self.assertIn("not the same cores: 2 and 64", done.stderr)

    def test_what_is_no_result_is_refused(self):
        good = document({"a": figure("mails/s", 1)})
        for bad in ("", "[]", "{}", '{"results": {"a": {"value": "x", "unit": "s"}}}',
                    document({"b": figure("mails/s", 1)})):
            done = self.run_on(good, bad)
            self.assertEqual(done.returncode, 3, bad)
            self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
