#!/usr/bin/env python3
"""test_flame.py - how bench/flame reads what perf says, counts it and draws it."""
import importlib.machinery
import importlib.util
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree

BENCH = pathlib.Path(__file__).resolve().parents[3] / "bench"
sys.dont_write_bytecode = True
sys.path.insert(0, str(BENCH))
LOADER = importlib.machinery.SourceFileLoader("flame", str(BENCH / "flame"))
flame = importlib.util.module_from_spec(importlib.util.spec_from_loader("flame", LOADER))
LOADER.exec_module(flame)

SAID = """loop0 4711
\tffffffff815de795 do_syscall_64 ([kernel.kallsyms])
\t           98f5f __write (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t           12345 pump (/opt/build/meerkatd)

loop0 4711
\t           12345 pump (/opt/build/meerkatd)
\t           12346 pump (/opt/build/meerkatd)

rocksdb:low 4712:
\t  7f1 rocksdb::A<int, B<char> >::Get(rocksdb::Slice const&, int) const (/usr/lib/librocksdb.so.7)
\t  7f2 [unknown] (/usr/lib/librocksdb.so.7)
\t  7f3 [unknown] ([unknown])

""".splitlines(keepends=True)


class Flame(unittest.TestCase):
    def setUp(self):
        self.stacks = flame.read_stacks(SAID)

    def test_a_stack_is_read_root_first_beneath_its_thread(self):
        self.assertEqual(self.stacks[(("loop0", "thread"), ("pump", "meerkatd"),
                                      ("__write", "libc.so.6"),
                                      ("do_syscall_64", "[kernel.kallsyms]"))], 1)
        self.assertEqual(sum(self.stacks.values()), 3)

    def test_symbols_lose_parameters_and_template_arguments(self):
        names = [frame[0] for stack in self.stacks for frame in stack]
        self.assertIn("rocksdb::A::Get", names)

    def test_what_nobody_knows_is_named_after_its_library(self):
        names = [frame[0] for stack in self.stacks for frame in stack]
        self.assertIn("[librocksdb.so.7]", names)
        self.assertIn("[unknown]", names)

    def test_a_function_that_calls_itself_counts_once_in_a_stack(self):
        alone, within = flame.shares(self.stacks)
        self.assertEqual(within[("pump", "meerkatd")], 2)
        self.assertEqual(alone[("pump", "meerkatd")], 1)
        self.assertEqual(within[("loop0", "thread")], 2)

    def test_folded_stacks_are_a_line_each_with_their_samples(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.folded"
            flame.write_folded(self.stacks, path)
            lines = path.read_text().splitlines()
        self.assertIn("loop0;pump;__write;do_syscall_64 1", lines)
        self.assertEqual(len(lines), 3)

    def test_the_picture_is_well_formed_and_has_a_box_for_every_frame(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.svg"
            flame.write_svg(self.stacks, "a < b", path)
            root = xml.etree.ElementTree.parse(path).getroot()
        space = "{http://www.w3.org/2000/svg}"
        titles = [node.text for node in root.iter(space + "title")]
        self.assertEqual(len(titles), 10)  # all, two threads, seven frames that differ
        boxes = [node for node in root.iter(space + "rect")][1:]
        self.assertTrue(all(float(box.get("x")) + float(box.get("width")) <= flame.WIDTH + 1
                            for box in boxes))


if __name__ == "__main__":
    unittest.main()
