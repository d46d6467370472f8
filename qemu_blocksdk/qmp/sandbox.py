"""Sandboxed programs: they can open only the files that they were given, and no connections.

The kernel enforces that: Landlock restricts files (Linux 5.13 or later); a seccomp filter forbids
sockets, io_uring (which could open files and connect as well) and system calls that change files by
name, which Landlock does not cover. Both apply to a thread and are inherited by its children. So a
new thread restricts itself, starts the program, and ends; the rest of this process is unaffected.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import platform
import shutil
import stat
import struct
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import SandboxUnavailable

T = TypeVar("T")

# The numbers of Linux's interface: linux/landlock.h, linux/seccomp.h, linux/prctl.h.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_FILE, _TRUNCATE, _IOCTL = 1 << 5, 1 << 8, 1 << 14, 1 << 15
_OF_FILES: Final = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
_PROGRAMS: Final = _EXECUTE | _READ | _LIST
_NEW_FILES: Final = _READ | _LIST | _WRITE | _MAKE_FILE | _REMOVE_FILE | _TRUNCATE
_BY_ABI: Final = ((1, (1 << 13) - 1), (2, 1 << 13), (3, _TRUNCATE), (5, _IOCTL))
"""The rights that each version of Landlock adds."""
_NET: Final = 0b11  # bind and connect with TCP, from version 4 on
_SCOPES: Final = 0b11  # abstract unix sockets and signals, from version 6 on
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_KILL, _ALLOW, _EACCES = 0x80000000, 0x7FFF0000, 0x00050000 | 13

_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""By architecture: the column in :data:`_FORBIDDEN`, and the kernel's number of it."""
_FORBIDDEN: Final = {
    # Connections. io_uring can connect and open files without the system calls for that.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "io_uring_setup": (425, 425),
    # Access to other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "kcmp": (312, 272),
    # Opening or changing files in ways that Landlock, or an older version of it, does not cover:
    # a read-only descriptor is enough to change an owner, a mode or an attribute.
    "open_by_handle_at": (304, 265),
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    # Changes to the system.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "iopl": (172, None),
    "ioperm": (173, None),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "syslog": (103, 116),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
_PRLIMIT: Final = (302, 261)
"""``prlimit64``; allowed for the calling process, where its first argument is 0."""
_X32: Final = 0x40000000  # x86_64 has each system call a second time from here on

_SYSTEM: Final = (
    *("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local/lib", "/usr/bin"),
    *("/lib", "/lib32", "/lib64", "/bin", "/nix/store", "/gnu/store"),
)
"""Directories of shared libraries, QEMU's modules, the shell and programs for wrapper scripts."""
_BESIDE_BIN: Final = (
    *("bin", "lib", "lib32", "lib64", "libexec", "usr/bin", "usr/lib", "usr/lib64", "usr/libexec"),
)
"""Such directories below the prefix of a program that is installed elsewhere."""


class Sandbox(Value):
    """What a program may open: ``files`` for reading, ``written`` for reading and writing.

    ``files`` are open descriptors. ``written`` are paths of files, and of directories in which it
    may create and remove files. It may also read and execute ``programs`` (names or paths), the
    directories next to their ``bin``, and the system's libraries and programs.
    """

    programs: Sequence[str]
    files: Sequence[int] = ()
    written: Sequence[str | os.PathLike[str]] = ()

    def start(self, start: Callable[[], T]) -> T:
        """Call ``start`` in a thread with these restrictions; return its result.

        Raises SandboxUnavailable, without calling ``start``, where the kernel cannot enforce them.
        """
        rules = self._rules()
        results: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                _restrict(rules, filters)
                results.append(start())
            except BaseException as error:  # noqa: BLE001 - raised again by the caller
                errors.append(error)

        try:
            filters = _filter()
            with _exclusive():
                thread = threading.Thread(target=work, name="blocksdk-sandbox", daemon=True)
                thread.start()
                try:
                    thread.join()
                finally:
                    thread.join()  # Ctrl-C may have interrupted the first join
        finally:
            os.close(rules)
        if errors:
            raise errors[0]
        return results[0]

    def _rules(self) -> int:
        """Return the descriptor of a Landlock ruleset."""
        version = _landlock_version()
        handled = sum(rights for abi, rights in _BY_ABI if abi <= version)
        fields = (handled, *([_NET] if version >= 4 else []), *([_SCOPES] if version >= 6 else []))
        attributes = struct.pack(f"={len(fields)}Q", *fields)
        rules = _call(_CREATE_RULESET, attributes, len(attributes), 0, what="Landlock")
        try:
            for descriptor in self.files:
                _allow(rules, descriptor, _READ | _IOCTL, handled)
            for path in self.written:
                _allow_path(rules, os.fspath(path), _NEW_FILES | _IOCTL, handled)
            _allow_path(rules, "/dev/null", _READ | _WRITE, handled)
            for path in ("/dev/urandom", "/etc/ld.so.cache"):
                _allow_path(rules, path, _READ, handled)
            for path in dict.fromkeys([*_SYSTEM, *_parts_of(self.programs)]):
                _allow_path(rules, path, _PROGRAMS, handled)
        except BaseException:
            os.close(rules)
            raise
        return rules


def _landlock_version() -> int:
    return _call(
        *(_CREATE_RULESET, None, 0, 1),
        what="Landlock (Linux 5.13 or later, with `landlock` in the kernel's `lsm=` list)",
    )


def _allow_path(rules: int, path: str, rights: int, handled: int) -> None:
    """Allow a path and everything below it, if it exists."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _allow(rules, descriptor, rights, handled)
    finally:
        os.close(descriptor)


def _allow(rules: int, descriptor: int, rights: int, handled: int) -> None:
    mode = os.fstat(descriptor).st_mode
    rights &= handled & (~_IOCTL if stat.S_ISDIR(mode) else _OF_FILES)
    rule = struct.pack("=Qi", rights, descriptor)
    _call(_ADD_RULE, rules, 1, rule, 0, what="Landlock's rules for files")


def _parts_of(programs: Iterable[str]) -> list[str]:
    """Return the paths of programs, of their interpreters and of their libraries."""
    parts: list[str] = [
        path
        for variable in ("LD_LIBRARY_PATH", "QEMU_MODULE_DIR")
        for path in os.environ.get(variable, "").split(":")
        if path
    ]
    for word in programs:
        found = shutil.which(word)
        if found is None:
            continue
        parts.append(found)
        with contextlib.suppress(OSError), Path(found).open("rb") as file:
            start = file.read(256).partition(b"\n")[0]
            if start.startswith(b"#!"):  # a script: its interpreter is started as well
                parts += map(os.fsdecode, start[2:].split()[:1])
        for place in {Path(found).absolute(), Path(found).resolve()}:
            if place.parent.name in ("bin", "sbin"):
                prefix = place.parent.parent
                parts += [str(prefix / name) for name in _BESIDE_BIN]
    return parts


def _filter() -> bytes:
    """Return the seccomp filter, as a BPF program."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES or struct.calcsize("P") != 8:
        raise SandboxUnavailable(
            f"a seccomp filter for {machine}: only x86_64 and aarch64 have one"
        )
    column, audit = _ARCHITECTURES[machine]
    numbers = [number for row in _FORBIDDEN.values() if (number := row[column]) is not None]
    lines = [(0x20, 0, 0, 4), (0x15, 1, 0, audit), (0x06, 0, 0, _KILL), (0x20, 0, 0, 0)]
    # Each jump skips the rest of the list, to the last instruction.
    lines.append((0x35, len(numbers) + 4, 0, _X32))
    lines += [(0x15, len(numbers) - at + 3, 0, number) for at, number in enumerate(numbers)]
    lines += [(0x15, 0, 2, _PRLIMIT[column]), (0x20, 0, 0, 16), (0x15, 0, 1, 0)]
    lines += [(0x06, 0, 0, _ALLOW), (0x06, 0, 0, _EACCES)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _restrict(rules: int, filters: bytes) -> None:
    """Restrict this thread and the programs that it starts; this cannot be undone."""
    _prctl(_SET_NO_NEW_PRIVS, 1, what="PR_SET_NO_NEW_PRIVS")
    _call(_RESTRICT_SELF, rules, 0, what="Landlock for this process (16 layers at most)")
    code = ctypes.create_string_buffer(filters, len(filters))
    program = struct.pack("@HP", len(filters) // 8, ctypes.addressof(code))
    _prctl(_SET_SECCOMP, _FILTER, program, what="seccomp filters (CONFIG_SECCOMP_FILTER)")


def _call(number: int, *arguments: int | bytes | None, what: str) -> int:
    """Make a system call. Raises SandboxUnavailable, which names ``what``, where that fails."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = _libc().syscall(ctypes.c_long(number), *words)
    return _checked(int(result), what)


def _prctl(option: int, value: int, pointer: bytes | None = None, *, what: str) -> None:
    words = (ctypes.c_long(value), pointer, ctypes.c_long(0), ctypes.c_long(0))
    _checked(int(_libc().prctl(ctypes.c_int(option), *words)), what)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise SandboxUnavailable(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


_turn = threading.Lock()


@contextlib.contextmanager
def _exclusive() -> Generator[None]:
    """Keep the garbage collector from running finalizers, which open files, in the block."""
    with _turn:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was_enabled:
                gc.enable()


def _renew_after_fork() -> None:
    global _turn
    _turn = threading.Lock()


os.register_at_fork(after_in_child=_renew_after_fork)
