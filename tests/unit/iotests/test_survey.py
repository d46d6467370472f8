"""Which names of iotests a script uses, and what stands for them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.iotests.__main__ import main
from qemu_blocksdk.iotests.survey import survey


def found(tmp_path: Path, source: str) -> list[str]:
    script = tmp_path / "script"
    script.write_text(dedent(source).removeprefix("\n"))
    return [f"{use.line}: {use.name} -> {use.replacement}" for use in survey(script)]


# -- what names stand for -----------------------------------------------------------------


def test_a_name_is_found_however_it_was_imported(tmp_path: Path) -> None:
    source = """
        import iotests
        import iotests as old
        from iotests import qemu_img_create, file_path as fp
        iotests.qemu_img_create('disk')
        old.qemu_img_create('disk')
        qemu_img_create('disk')
        fp('disk')
    """
    assert found(tmp_path, source) == [
        "4: qemu_img_create -> Image.create",
        "5: qemu_img_create -> Image.create",
        "6: qemu_img_create -> Image.create",
        "7: file_path -> testing.paths.file_path",
    ]


def test_everything_may_be_imported_by_a_star_and_inside_a_function(tmp_path: Path) -> None:
    source = """
        def everything():
            import iotests
            iotests.log('a')
        from iotests import *
        log('b')
    """
    assert found(tmp_path, source) == ["3: log -> testing.log", "5: log -> testing.log"]


def test_a_use_need_be_no_call(tmp_path: Path) -> None:
    source = """
        import iotests
        class TestIt(iotests.QMPTestCase):
            @iotests.skip_if_user_is_root
            def test(self):
                show(iotests.imgfmt, filters=[iotests.filter_qmp])
    """
    assert found(tmp_path, source) == [
        "2: QMPTestCase -> testing.case.QMPTestCase",
        "3: skip_if_user_is_root -> testing.skips.skip_if_user_is_root",
        "5: imgfmt -> TestEnv.imgfmt",
        "5: filter_qmp -> filters.each_value",
    ]


def test_a_script_that_only_imports_has_no_use(tmp_path: Path) -> None:
    assert found(tmp_path, "import iotests\nfrom iotests import log\n") == []


def test_names_of_iotests_that_are_not_its_own_are_left_out(tmp_path: Path) -> None:
    assert found(tmp_path, "import iotests\niotests.os.getpid()\niotests.no_such_name()\n") == []


def test_a_name_that_is_given_another_meaning_is_none_any_more(tmp_path: Path) -> None:
    source = """
        from iotests import log, imgfmt
        def quiet(log, *rest):
            log('mine')
            [imgfmt for imgfmt in rest]
        def loud():
            log('theirs')
        log = print
        log('mine')
    """
    assert found(tmp_path, source) == ["6: log -> testing.log"]


def test_two_uses_in_a_line_are_told_once(tmp_path: Path) -> None:
    source = "from iotests import log\nlog('a'); log('b')\n"
    assert found(tmp_path, source) == ["2: log -> testing.log"]


# -- methods ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        "vm = iotests.VM()",
        "vm: iotests.VM = iotests.VM('a')",
        "vm = iotests.VM().add_drive('disk')",
        "vm = OwnVM()",
    ],
)
def test_a_vm_is_known_by_what_it_was_made_of(tmp_path: Path, made: str) -> None:
    source = f"import iotests\nclass OwnVM(iotests.VM): pass\n{made}\nshow(vm.console_socket)\n"
    assert found(tmp_path, source)[-1] == "4: console_socket -> VM.console_socket"


def test_a_vm_of_a_with_block_is_known_and_so_is_what_is_no_vm(tmp_path: Path) -> None:
    source = """
        import os
        import subprocess
        import iotests
        with iotests.VM() as vm, subprocess.Popen(['sleep']) as process:
            vm.kill()
            process.kill()
            process.stdout.wait()
            os.kill(process.pid, 9)
    """
    assert found(tmp_path, source) == ["4: VM -> qemu_blocksdk.VM", "5: kill -> VM.kill"]


def test_what_is_moved_already_is_not_told_again(tmp_path: Path) -> None:
    source = """
        import iotests
        from qemu_blocksdk import VM
        from qemu_blocksdk.testing.case import QMPTestCase
        class TestNew(QMPTestCase):
            def test(self):
                self.vm = self.launch_vm()
                self.assert_qmp(self.vm.qmp.execute_raw('query-status'), 'running', True)
                with VM() as vm:
                    vm.launch()
    """
    assert found(tmp_path, source) == []


def test_an_attribute_of_a_case_keeps_its_meaning_in_its_class(tmp_path: Path) -> None:
    source = """
        import subprocess
        import iotests
        class TestVM(unittest.TestCase):
            def test(self):
                self.it.launch()
                self.it.add_drive
            def setUp(self):
                self.it = iotests.VM()
        class TestProcess(unittest.TestCase):
            def test(self):
                self.it.kill()
            def setUp(self):
                self.it = subprocess.Popen(['sleep'])
    """
    assert found(tmp_path, source) == [
        "5: launch -> VM.launch",
        "6: add_drive -> VM(drives=)",
        "8: VM -> qemu_blocksdk.VM",
    ]


def test_a_class_has_what_its_base_has_been_given(tmp_path: Path) -> None:
    source = """
        import unittest, subprocess, iotests
        class Base(unittest.TestCase):
            def setUp(self):
                self.vm = iotests.VM()
                self.process = subprocess.Popen(['sleep'])
        class TestIt(Base):
            def test(self):
                self.vm.kill()
                self.process.kill()
    """
    assert found(tmp_path, source) == ["4: VM -> qemu_blocksdk.VM", "8: kill -> VM.kill"]


def test_an_argument_is_what_its_annotation_says(tmp_path: Path) -> None:
    source = """
        import subprocess, iotests
        def test(vm: iotests.VM, process: subprocess.Popen):
            process.kill()
            show(vm.console_socket)
    """
    assert found(tmp_path, source) == [
        "2: VM -> qemu_blocksdk.VM",
        "4: console_socket -> VM.console_socket",
    ]


def test_a_method_of_what_is_not_known_is_told_by_its_name_where_it_is_called(
    tmp_path: Path,
) -> None:
    source = """
        class Mixin:
            def test(self, vm, arguments):
                self.wait_ready()
                self.vm.launch()
                make_vm().hmp('info block')
                show(arguments.command)
    """
    assert found(tmp_path, source) == [
        "3: wait_ready -> Job.wait",
        "4: launch -> VM.launch",
        "5: hmp -> VM.hmp",
    ]


def test_each_method_of_a_chain_has_its_own_line(tmp_path: Path) -> None:
    source = """
        from iotests import VM
        vm = VM() \\
            .add_drive('disk') \\
            .add_device('virtio-rng')
    """
    assert found(tmp_path, source) == [
        "2: VM -> qemu_blocksdk.VM",
        "3: add_drive -> VM(drives=)",
        "4: add_device -> VM(devices=)",
    ]


def test_close_is_only_that_of_an_interactive_qemu_io(tmp_path: Path) -> None:
    source = """
        import iotests
        def test(file):
            io = iotests.QemuIoInteractive('disk')
            io.cmd('read 0 512')
            io.close()
            file.close()
    """
    assert found(tmp_path, source) == [
        "3: QemuIoInteractive -> qemu_blocksdk.QemuIo",
        "4: cmd -> QemuIo.raw",
        "5: close -> QemuIo.close",
    ]


def test_what_a_first_argument_says_decides_which_verb_it_is(tmp_path: Path) -> None:
    source = """
        import iotests
        vm = iotests.VM()
        iotests.qemu_img('convert', 'a', 'b')
        iotests.qemu_img(*words)
        vm.qmp('block-commit', device='drive0')
        vm.qmp_log('query-version')
        vm.command(name)
    """
    assert found(tmp_path, source)[1:] == [
        "3: qemu_img -> Image.convert",
        "4: qemu_img -> qemu_blocksdk.Image",
        "5: qmp -> Node.commit",
        "6: qmp_log -> testing.Transcript",
        "7: command -> Qmp.execute",
    ]


# -- the command line ---------------------------------------------------------------------


def test_uses_are_printed_by_script_and_line_and_the_script_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    script = Path("001")
    script.write_text("import iotests\niotests.qemu_img_create('disk')\n")
    assert main(["survey", "001"]) == 0
    assert capsys.readouterr().out == "001:2: qemu_img_create -> Image.create\n"
    assert script.read_text() == "import iotests\niotests.qemu_img_create('disk')\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "001"]


def test_of_a_folder_the_scripts_are_read_that_import_iotests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "002").write_text("import iotests\niotests.log('b')\n")
    (tmp_path / "001").write_text("import iotests\niotests.log('a')\n")
    (tmp_path / "notes").write_text("not python\n")
    assert main(["survey", str(tmp_path)]) == 0
    lines = [f"{tmp_path}/{name}:2: log -> testing.log\n" for name in ("001", "002")]
    assert capsys.readouterr().out == "".join(lines)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (b"import iotests\nprint 'a'\n", "script:2: Missing parentheses"),
        (b"import iotests\nif True:\n", "script:2: expected an indented block"),
        (b"import iotests\0", "null bytes"),
        (b"\xff\xfe", "script:1: "),
        (b"-" * 100_000 + b"1", "script: its expressions are nested too deeply"),
    ],
)
def test_what_is_no_python_is_one_sentence_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: bytes, error: str
) -> None:
    (tmp_path / "good").write_text("import iotests\niotests.log('a')\n")
    (tmp_path / "script").write_bytes(source)
    assert main(["survey", str(tmp_path / "good"), str(tmp_path / "script")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert error in output.err
    assert output.err.count("\n") == 1


def test_no_script_and_a_folder_without_one_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["survey", str(tmp_path / "none")]) == 2
    assert main(["survey", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"survey: no script {tmp_path}/none\nsurvey: no file in {tmp_path} imports iotests\n"
    )


def test_a_script_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        survey(tmp_path)
