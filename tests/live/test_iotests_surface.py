"""The scripts of tests/iotests call every name of the surface, with every argument it has.

What they call is noted while they run, by a trace function that a ``sitecustomize`` sets. The
names, and their arguments, are facts of the two revisions of ``iotests``.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.helpers import ROOT

SCRIPTS = ROOT / "tests" / "iotests"

VALUES = """
    imgfmt imgproto test_dir sock_dir output_dir cachemode aiomode sample_img_dir
    qemu_default_machine socket_scm_helper qemu_prog qemu_opts qemu_img_args qemu_io_args
    qemu_io_args_no_fmt qemu_nbd_prog qemu_nbd_args luks_default_secret_object
    luks_default_key_secret_opt logger test_logger test_dir_re win32_re qemu_io_re chown_re index_re
"""
# A function, and what may be left out of its arguments.
FUNCTIONS = """
    log(filters, indent) activate_logging
    qemu_tool_pipe_and_status(connect_stderr) qemu_img_pipe_and_status qemu_img qemu_img_create
    qemu_img_measure qemu_img_check qemu_img_verbose qemu_img_pipe qemu_img_log
    img_info_log(filter_path, imgopts, extra_args) compare_images(fmt1, fmt2) create_image
    image_size unarchive_sample_image
    qemu_io qemu_io_log qemu_io_silent qemu_io_silent_check
    qemu_nbd qemu_nbd_early_pipe qemu_nbd_list_log qemu_nbd_popen
    filter_test_dir filter_win32 filter_qemu_io filter_chown filter_qmp_event filter_qmp
    filter_testfiles filter_qmp_testfiles filter_virtio_scsi filter_qmp_virtio_scsi
    filter_generated_node_ids filter_img_info filter_imgfmt filter_qmp_imgfmt filter_nbd_exports
    ordered_qmp(conv_keys) is_str
    file_pattern try_remove file_path(base_dir)
    file_path_remover remote_filename
    get_virtio_scsi_device
    notrun case_notrun _verify_image_format(supported_fmts, unsupported_fmts)
    _verify_protocol(supported, unsupported) _verify_platform(supported, unsupported)
    _verify_cache_mode _verify_aio_mode _verify_formats _verify_virtio_blk
    _verify_virtio_scsi_pci_or_ccw supports_quorum verify_quorum has_working_luks
    verify_working_luks qemu_pipe supported_formats(read_only)
    skip_if_unsupported(required_formats, read_only) skip_for_formats(formats) skip_if_user_is_root
    execute_unittest(argv, debug)
    execute_setup_common(supported_fmts, supported_platforms, supported_cache_modes,
        supported_aio_modes, unsupported_fmts, supported_protocols, unsupported_protocols,
        required_fmts)
    execute_test(test_function) script_initialize(supported_fmts, unsupported_fmts)
    script_main(supported_fmts, supported_protocols, required_fmts) main(supported_fmts)
"""
METHODS = {
    "VM": """
        __init__(path_suffix)
        add_object add_device add_drive_raw add_drive(opts, interface, img_format) add_blockdev
        add_incoming hmp(use_log) pause_drive(event) resume_drive hmp_qemu_io(use_log)
        flatten_qmp_object(output, basestr) qmp_to_opts get_qmp_events_filtered(wait)
        qmp_log(filters, indent)
        run_job(auto_finalize, auto_dismiss, pre_finalize, cancel, wait)
        blockdev_create(job_id, filters) enable_migration_events wait_migration node_info
        query_bitmaps get_bitmap(recording, bitmaps) check_bitmap_status assert_block_path(graph)
        launch shutdown(has_quit, hard, timeout) kill wait(timeout) is_running exitcode get_pid
        get_log add_args set_machine set_console(device_type, console_index)
        set_qmp_monitor(enabled) add_monitor_null add_fd(opts)
        send_fd_scm(fd, file_path) qmp(conv_keys) command(conv_keys) get_qmp_event(wait)
        get_qmp_events(wait) event_match event_wait(timeout, match) events_wait(timeout) qtest
        __enter__ __exit__ console_socket
    """,
    "QMPTestCase": """
        dictpath assert_qmp_absent assert_qmp assert_no_active_block_jobs
        assert_has_block_node(node_name, file_name) assert_json_filename_equal
        cancel_and_wait(drive, force, resume, wait)
        wait_until_completed(drive, check_offset, wait, error) wait_ready(drive)
        wait_ready_and_cancel(drive) complete_and_wait(drive, wait_ready, completion_error)
        pause_wait(job_id) pause_job(job_id, wait) case_skip
    """,
    "QemuIoInteractive": "__init__ cmd close",
    "FilePath": "__init__(base_dir) __enter__ __exit__",
    "Timeout": "__init__(errmsg) __enter__ __exit__",
    "ReproducibleStreamWrapper": "__init__ write",
    "ReproducibleTestRunner": "__init__(stream, resultclass)",
}
CLASSES = {*METHODS, "ReproducibleTestResult"}
TRACER = '''
import atexit, inspect, os, sys

SCRIPTS = os.environ["SURFACE_SCRIPTS"]
seen = set()
known = {}


def learn():
    """Which code is whose, and what its arguments are when they are left out."""
    face = sys.modules["iotests"]
    for key in face.__all__:
        value = getattr(face, key)
        members = [(key, value)]
        if inspect.isclass(value):
            ours = [base for base in value.__mro__ if base.__module__.startswith("qemu_blocksdk")]
            found = {name: member for base in reversed(ours) for name, member in vars(base).items()}
            members = [(f"{key}.{name}", member) for name, member in found.items()]
        for name, member in members:
            member = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if callable(member) and inspect.isfunction(function := inspect.unwrap(member)):
                known[function.__code__] = name, inspect.signature(function).parameters


def note(frame, event, _):
    caller = frame.f_back
    # A context manager is entered, a filter applied, a door passed on behalf of the script.
    between = ("contextlib.py", "logs.py", "sealed.py")
    while caller is not None and caller.f_code.co_filename.endswith(between):
        caller = caller.f_back
    if caller is None or not caller.f_code.co_filename.startswith(SCRIPTS):
        return
    if "iotests" not in sys.modules:
        return
    known or learn()
    name, parameters = known.get(frame.f_code, (None, {}))
    seen.add(name)
    for parameter in parameters.values():
        value = frame.f_locals.get(parameter.name)
        if parameter.kind is parameter.VAR_KEYWORD:
            seen.update(f"{name} {key}" for key in value)
        elif value is not parameter.default and value != parameter.default:
            seen.add(f"{name} {parameter.name}")


def tell():
    sys.settrace(None)
    with open(os.environ["SURFACE_LOG"], "a") as log:
        log.writelines(f"{line}\\n" for line in seen)


atexit.register(tell)
sys.settrace(note)
'''


def _wanted(text: str, prefix: str = "") -> set[str]:
    """``name`` and ``name argument`` for each in a list."""
    found = set[str]()
    for name, arguments in re.findall(r"(\w+)(?:\(([^)]*)\))?", text):
        found.add(prefix + name)
        found |= {f"{prefix}{name} {argument}" for argument in re.findall(r"\w+", arguments)}
    return found


def _read() -> set[str]:
    """What the scripts read of the module, by its name or by an import."""
    found = set[str]()
    for path in SCRIPTS.glob("[0-9][0-9][0-9]"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.Attribute(value=ast.Name(id="iotests"), attr=name):
                    found.add(name)
                case ast.ImportFrom(module="iotests", names=names):
                    found |= {alias.name for alias in names}
                case _:
                    pass
    return found


def test_every_value_and_class_is_used() -> None:
    assert {*VALUES.split(), *CLASSES} - _read() == set()


def test_every_name_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qemu_blocksdk.iotests", "path"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    names = {*VALUES.split(), *CLASSES, *(name.split()[0] for name in _wanted(FUNCTIONS))}
    exported = (ROOT / "qemu_blocksdk" / "iotests" / "face.py").read_text()
    assert {name for name in names if f'    "{name}",' not in exported} == set()
    assert (Path(done.stdout.strip()) / "iotests.py").is_file()


@pytest.mark.timeout(300)
def test_every_function_is_called_with_each_of_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(TRACER)
    log = tmp_path / "log"
    variables = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        "SURFACE_SCRIPTS": str(SCRIPTS),
        "SURFACE_LOG": str(log),
    }
    command = [sys.executable, "-m", "qemu_blocksdk.iotests", "run", "-j", "2"]
    for fmt, scripts in (
        ("qcow2", [SCRIPTS]),
        ("luks", [SCRIPTS / "020"]),
        ("raw", [SCRIPTS / "021"]),
    ):
        done = subprocess.run(
            [*command, "--fmt", fmt, *map(str, scripts)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **variables},
        )
        assert done.returncode == 0, done.stdout
    called = set(log.read_text().splitlines())
    wanted = _wanted(FUNCTIONS)
    for name, methods in METHODS.items():
        wanted |= _wanted(methods, f"{name}.")
    missing = sorted(wanted - called)
    assert not missing, ", ".join(missing)
