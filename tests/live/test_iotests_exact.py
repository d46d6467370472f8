"""What the drop-in prints is what iotests does, in corners where an SDK would do otherwise.

Found by running scripts with the original beside ours; what is expected was printed by it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = {
    "a_tool_reads_nothing": (
        """
        print(iotests.qemu_tool_pipe_and_status("cat", ["cat"]))
        """,
        "('', 0)",
    ),
    "what_is_in_a_tuple_is_not_sorted": (
        """
        iotests.activate_logging()
        actions = [{"b_b": 1, "a": {"d": 1, "c_c": 2}}]
        for each in (actions, tuple(actions)):
            iotests.log(iotests.ordered_qmp({"z": 1, "some_actions": each}))
        """,
        """
{"some-actions": [{"a": {"c_c": 2, "d": 1}, "b-b": 1}], "z": 1}
{"some-actions": [{"b_b": 1, "a": {"d": 1, "c_c": 2}}], "z": 1}
        """,
    ),
    "what_a_failed_assertion_says": (
        """
        case = iotests.QMPTestCase("dictpath")
        message = {"return": [{"a": 1}], "x": {}, "n": None}
        for check in (
            lambda: case.dictpath(message, "return[1]"),
            lambda: case.dictpath(message, "x[0]"),
            lambda: case.dictpath(message, "return[0]/b"),
            lambda: case.dictpath(message, "x/"),
            lambda: case.assert_qmp_absent(message, "n"),
            lambda: case.assert_qmp_absent(message, "x//y"),
            lambda: case.assert_qmp(message, "return[0]/a", 2),
            lambda: case.assert_qmp(message, "return[0]/a", [2, 3]),
            lambda: case.assert_qmp(message, "return[0]/a", [2, 1]),
            lambda: case.assert_json_filename_equal("json:{}", {"a": {"b": 1}}),
        ):
            try:
                print(check())
            except AssertionError as error:
                print(str(error).partition("\\n")[0])
        """,
        """
invalid index "1" in path "return[1]" in "[{'a': 1}]"
path component "x" in "x[0]" is not a list in "{}"
failed path traversal for "return[0]/b" in "{'a': 1}"
failed path traversal for "x/" in "{}"
path "n" has value "None"
None
1 != 2 : "return[0]/a" is "1", expected "2"
no match for "1" in [2, 3]
None
{} != {'a.b': 1}
        """,
    ),
    "where_a_block_path_leads_instead": (
        """
        nodes = [{"id": 1, "name": "top"}, {"id": 2, "name": "base"}]
        edges = [{"parent": 1, "child": 2, "name": "backing"}]
        graph = {"nodes": nodes, "edges": edges}
        vm = iotests.VM()
        for path, expected in (
            *(("/backing", "base"), ("/file", None), ("/backing", "other"), ("/backing", None)),
            *(("/file", "base"), ("/file/file", None), ("backing", "base")),
        ):
            try:
                print(vm.assert_block_path("top", path, expected, graph))
            except AssertionError as error:
                print(error)
        """,
        """
None
None
Found node base under /backing (but expected other)
Found node base under /backing (but expected None)
No node found under /file (but expected base)
Cannot follow path top/file/file

        """,
    ),
    "what_a_refused_command_raises": (
        """
        with iotests.VM() as vm:
            vm.launch()
            try:
                vm.command("nope")
            except Exception as error:
                print(error)
        """,
        "The command nope has not been found",
    ),
    "what_is_left_of_a_launch_that_failed": (
        """
        vm = iotests.VM()
        vm.add_args("-nope")
        try:
            vm.launch()
        except Exception:
            print(vm.exitcode(), vm.is_running(), "-nope: invalid option" in vm.get_log())
        """,
        "1 False True",
    ),
    "a_vm_that_is_left_running": (
        """
        vm = iotests.VM()
        vm.launch()
        print(vm.is_running())
        """,
        "True",
    ),
    "all_that_a_qemu_io_says_that_does_not_start": (
        """
        try:
            iotests.QemuIoInteractive("--nope")
        except ValueError as error:
            print("unrecognized option" in str(error), "Usage: qemu-io" in str(error))
        """,
        "True True",
    ),
    "files_named_before_the_remover_was_called": (
        """
        import os
        path = iotests.file_path("a")
        for _ in range(2):
            open(path, "w").close()
            iotests.file_path_remover()
            print(os.path.exists(path))
        """,
        "False\nFalse",
    ),
    "an_event_has_its_keys_sorted": (
        """
        from collections import OrderedDict
        iotests.activate_logging()
        event = OrderedDict([("timestamp", {"seconds": 1}), ("event", "X")])
        iotests.log(event, filters=[iotests.filter_qmp_event])
        """,
        '{"event": "X", "timestamp": {"microseconds": "USECS", "seconds": "SECS"}}',
    ),
    "a_time_limit_is_a_plain_exception": (
        """
        try:
            with iotests.Timeout(0.1, "too slow") as limit:
                while True:
                    pass
        except Exception as error:
            print(repr(error), limit.errmsg)
        """,
        "Exception('too slow') too slow",
    ),
    "the_runner_takes_a_stream_and_a_class_of_results": (
        """
        import io, unittest
        stream = io.StringIO()
        runner = iotests.ReproducibleTestRunner(stream, iotests.ReproducibleTestResult)
        runner.run(unittest.TestSuite())
        print(runner.stream.stream.stream is stream, runner.stream.stream.readable())
        """,
        "True True",
    ),
    "a_decorated_case_shows_no_docstring": (
        """
        import sys
        class Case(iotests.QMPTestCase):
            @iotests.skip_if_unsupported(["raw"])
            def test_it(self):
                "Words about it."
        suite = iotests.ReproducibleTestRunner(verbosity=2)
        import unittest
        suite.run(unittest.defaultTestLoader.loadTestsFromTestCase(Case))
        """,
        """
test_it (__main__.Case.test_it) ... ok

----------------------------------------------------------------------
Ran 1 tests

OK
        """,
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.timeout(30)
def test_the_drop_in_prints_what_iotests_does(name: str, tmp_path: Path) -> None:
    text, expected = SCRIPTS[name]
    lines = ["import iotests", *(line.removeprefix(" " * 8) for line in text.splitlines())]
    (tmp_path / name).write_text("\n".join(lines))
    (tmp_path / f"{name}.out").write_text(expected.strip(" ").removeprefix("\n"))
    done = subprocess.run(
        [sys.executable, "-m", "qemu_blocksdk.iotests", "run", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("pass"), done.stdout + done.stderr
