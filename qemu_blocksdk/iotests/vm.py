"""The VM of scripts: drives, human commands, jobs, migration, what they log."""

from __future__ import annotations

import functools
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from qemu_blocksdk.codec import flatten
from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.sealed import sealed_class

from .case import NotHere
from .environ import (
    accelerator,
    aiomode,
    cachemode,
    imgfmt,
    luks_default_key_secret_opt,
    luks_default_secret_object,
    qemu_default_machine,
    qemu_opts,
    qemu_prog,
    sock_dir,
    test_dir,
)
from .filtering import filter_qmp_event, filter_qmp_testfiles, ordered_qmp
from .logs import log
from .machine import Message, QEMUQtestMachine

_JOB_EVENTS = ("COMPLETED", "CANCELLED", "ERROR", "READY")


@sealed_class
class VM(QEMUQtestMachine):
    """A QEMU VM."""

    _accelerator = accelerator

    def __init__(self, path_suffix: str = "") -> None:
        """Describe a VM; ``path_suffix`` distinguishes several of a script."""
        name = f"qemu{path_suffix}-{os.getpid()}"
        super().__init__(qemu_prog, qemu_opts, name=name, base_temp_dir=test_dir, sock_dir=sock_dir)
        self._num_drives = 0

    def launch(self) -> None:
        """Start it. Raises LaunchError; nothing but the log is left of it then."""
        if accelerator is not None:
            _keep_accelerator(accelerator)
        super().launch()

    def qtest(self, cmd: str) -> str:
        """Send a line to the qtest channel; return the line that it answers.

        Raises NotHere where QEMU has no such accelerator.
        """
        try:
            return super().qtest(cmd)
        except Unsupported as error:
            raise NotHere("qtest accelerator, whose channel and clock are needed") from error

    # -- what it is to be told ----------------------------------------------------------

    def add_object(self, opts: str) -> Self:
        """Add an ``-object``."""
        return self._add("-object", opts)

    def add_device(self, opts: str) -> Self:
        """Add a ``-device``."""
        return self._add("-device", opts)

    def add_drive_raw(self, opts: str) -> Self:
        """Add a ``-drive`` as it is."""
        return self._add("-drive", opts)

    def add_drive(
        self, path: str | None, opts: str = "", interface: str = "virtio", img_format: str = imgfmt
    ) -> Self:
        """Add a ``-drive`` with the next id, ``drive0`` first; one of LUKS with the default key."""
        words = [f"if={interface}", f"id=drive{self._num_drives}"]
        if path is not None:
            words += [f"file={path}", f"format={img_format}"]
            words += [f"cache={cachemode}", f"aio={aiomode}"]
        if opts:
            words.append(opts)
        if img_format == "luks" and "key-secret" not in opts:
            if luks_default_secret_object not in self._args:
                self.add_object(luks_default_secret_object)
            words.append(luks_default_key_secret_opt)
        self._num_drives += 1
        return self._add("-drive", ",".join(words))

    def add_blockdev(self, opts: str | Sequence[str]) -> Self:
        """Add a ``-blockdev``: a text, or a list of its options."""
        return self._add("-blockdev", opts if isinstance(opts, str) else ",".join(opts))

    def add_incoming(self, addr: str) -> Self:
        """Add an ``-incoming``."""
        return self._add("-incoming", addr)

    def _add(self, option: str, value: str) -> Self:
        self.add_args(option, value)
        return self

    # -- human commands -----------------------------------------------------------------

    def hmp(self, command_line: str, use_log: bool = False) -> Message:
        """Run a human monitor command; with ``use_log``, log command and reply."""
        send = self.qmp_log if use_log else self.qmp
        return send("human-monitor-command", command_line=command_line)

    def pause_drive(self, drive: str, event: str | None = None) -> None:
        """Hold requests of a drive at a breakpoint of its blkdebug, by default all."""
        for each in [event] if event else ["read_aio", "write_aio"]:
            self.hmp(f'qemu-io {drive} "break {each} bp_{drive}"')

    def resume_drive(self, drive: str) -> None:
        """Let go on what :meth:`pause_drive` holds."""
        self.hmp(f'qemu-io {drive} "remove_break bp_{drive}"')

    def hmp_qemu_io(self, drive: str, cmd: str, use_log: bool = False) -> Message:
        """Run a command of qemu-io on a drive."""
        return self.hmp(f'qemu-io {drive} "{cmd}"', use_log=use_log)

    # -- messages -----------------------------------------------------------------------

    def flatten_qmp_object(
        self, obj: Any, output: dict[str, Any] | None = None, basestr: str = ""
    ) -> dict[str, Any]:
        """Return the values of nested objects and lists by their dotted names."""
        found: dict[str, Any] = {} if output is None else output
        found.update({basestr + name: value for name, value in flatten(obj).items()})
        return found

    def qmp_to_opts(self, obj: Any) -> str:
        """Return an object, whose values are texts, as options of a command line."""
        return ",".join(key + "=" + value for key, value in self.flatten_qmp_object(obj).items())

    def get_qmp_events_filtered(self, wait: bool | float = 60.0) -> list[Message]:
        """Return all events that are there, or the first that comes, without their times."""
        return [filter_qmp_event(event) for event in self.get_qmp_events(wait=wait)]

    def qmp_log(
        self,
        cmd: str,
        filters: Sequence[Callable[[Any], Any]] = (),
        indent: int | None = None,
        **kwargs: Any,
    ) -> Message:
        """Send a command; log it, and the reply, through the filters."""
        full: Message = OrderedDict(execute=cmd, arguments=ordered_qmp(kwargs))
        log(full, filters, indent=indent)
        result = self.qmp(cmd, **kwargs)
        log(result, filters, indent=indent)
        return result

    # -- jobs ---------------------------------------------------------------------------

    def run_job(
        self,
        job: str,
        auto_finalize: bool = True,
        auto_dismiss: bool = False,
        pre_finalize: Callable[[], object] | None = None,
        cancel: bool = False,
        wait: float = 60.0,
    ) -> str | None:
        """Take a job to its end, and log the way; return its error, None for success.

        It is completed when it is ready, finalized (after ``pre_finalize``; with ``cancel``, it is
        cancelled) unless it does so itself, and dismissed likewise. ``wait`` is for each event.
        """
        of_device, of_id = {"data": {"device": job}}, {"data": {"id": job}}
        wanted = [
            *((f"BLOCK_JOB_{name}", of_device) for name in _JOB_EVENTS),
            ("BLOCK_JOB_PENDING", of_id),
            ("JOB_STATUS_CHANGE", of_id),
        ]
        error: str | None = None
        while True:
            event = filter_qmp_event(self.events_wait(wanted, timeout=wait))
            if event["event"] != "JOB_STATUS_CHANGE":
                log(event)
                continue
            match event["data"]["status"]:
                case "aborting":
                    for each in self.qmp("query-jobs")["return"]:
                        if each["id"] == job:
                            error = each["error"]
                            log(f"Job failed: {error}")
                case "ready":
                    self.qmp_log("job-complete", id=job)
                case "pending" if not auto_finalize:
                    if pre_finalize:
                        pre_finalize()
                    self.qmp_log("job-cancel" if cancel else "job-finalize", id=job)
                case "concluded" if not auto_dismiss:
                    self.qmp_log("job-dismiss", id=job)
                case "null":
                    return error
                case _:
                    pass

    def blockdev_create(
        self,
        options: Message,
        job_id: str = "job0",
        filters: Sequence[Callable[[Any], Any]] | None = None,
    ) -> Any:
        """Create an image by a job, and log the way; return the error, None for success."""
        filters = [filter_qmp_testfiles] if filters is None else filters
        result = self.qmp_log("blockdev-create", filters=filters, job_id=job_id, options=options)
        if "return" in result:
            assert result["return"] == {}
            error: Any = self.run_job(job_id)
        else:
            error = result["error"]
        log("")
        return error

    # -- migration ----------------------------------------------------------------------

    def enable_migration_events(self, name: str) -> None:
        """Have QEMU tell of the states of a migration."""
        log(f"Enabling migration QMP events on {name}...")
        capabilities = [{"capability": "events", "state": True}]
        log(self.qmp("migrate-set-capabilities", capabilities=capabilities))

    def wait_migration(self, expect_runstate: str | None) -> bool:
        """Log a migration's events until its end; return whether it succeeded.

        Where it did, wait until the VM is in the state that it is to have afterwards.
        """
        status = ""
        while status not in ("completed", "failed"):
            event = self.event_wait("MIGRATION")
            log(event, filters=[filter_qmp_event])
            status = event["data"]["status"]
        if status == "failed":
            return False
        while self.qmp("query-status")["return"]["status"] != expect_runstate:
            pass  # QEMU tells of "completed" a moment before the state changes
        return True

    # -- nodes --------------------------------------------------------------------------

    def node_info(self, node_name: str) -> Any:
        """Return what QEMU tells of a node; None where there is none of that name."""
        nodes = self.qmp("query-named-block-nodes")["return"]
        return next((node for node in nodes if node["node-name"] == node_name), None)

    def query_bitmaps(self) -> dict[str, Any]:
        """Return the dirty bitmaps of each node that has some."""
        nodes = self.qmp("query-named-block-nodes")["return"]
        return {n["node-name"]: n["dirty-bitmaps"] for n in nodes if "dirty-bitmaps" in n}

    def get_bitmap(
        self,
        node_name: str,
        bitmap_name: str,
        recording: bool | None = None,
        bitmaps: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return a bitmap, with ``recording`` only one that does or does not; None for none."""
        for bitmap in (self.query_bitmaps() if bitmaps is None else bitmaps)[node_name]:
            is_it = bitmap.get("name", "") == bitmap_name
            if is_it and (recording is None or bitmap.get("recording") == recording):
                return bitmap
        return None

    def check_bitmap_status(
        self, node_name: str, bitmap_name: str, fields: Mapping[str, Any]
    ) -> bool:
        """Tell whether a bitmap has these members with these values."""
        bitmap: Mapping[str, Any] = self.get_bitmap(node_name, bitmap_name)
        return fields.items() <= bitmap.items()

    def assert_block_path(
        self, root: str, path: str, expected_node: str | None, graph: Any = None
    ) -> None:
        """Assert which node a path (``/backing/file``) leads to; None: that its end is not there.

        ``graph`` is a reply of ``x-debug-query-block-graph``. Raises AssertionError.
        """
        if graph is None:
            graph = self.qmp("x-debug-query-block-graph")["return"]
        first, *names = path.split("/")
        assert first == ""
        nodes = {node["id"]: node for node in graph["nodes"]}
        children = {(edge["parent"], edge["name"]): edge["child"] for edge in graph["edges"]}
        node = next((node for node in graph["nodes"] if node["name"] == root), None)
        assert node is not None, f"Root node {root} not found"
        for name in names:
            assert node is not None, f"Cannot follow path {root}{path}"
            node = nodes.get(children.get((node["id"], name)))
        if node is None:
            assert expected_node is None, (
                f"No node found under {path} (but expected {expected_node})"
            )
        else:
            assert node["name"] == expected_node, (
                f"Found node {node['name']} under {path} (but expected {expected_node})"
            )


def get_virtio_scsi_device() -> str:
    """Return the name of the virtio-scsi device of the default machine."""
    return "virtio-scsi-ccw" if qemu_default_machine == "s390-ccw-virtio" else "virtio-scsi-pci"


@functools.cache
def _keep_accelerator(name: str) -> None:
    # Not for scripts that launch nothing: the module takes long to load.
    from qemu_blocksdk.objects.emulator import accelerators

    accelerators.store(qemu_prog, frozenset({name}))
