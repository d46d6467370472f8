"""The one exception tree.

Every error that this package raises on purpose is a :class:`BlockSdkError`. What
happened is in the attributes; ``str()`` is one sentence made from them. The root takes secrets
out of all of that. Code that knows a secret by other means (it was sent) takes it out before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .redaction import masked, masked_args
from .terminal import escaped

_LONGEST = 2000

__all__ = [
    "BlockSdkError",
    "CommandError",
    "ConnectionLost",
    "DeadlineExceeded",
    "GraphError",
    "JobCancelled",
    "JobFailed",
    "JobStopped",
    "LaunchError",
    "MalformedReply",
    "MigrationCancelled",
    "MigrationFailed",
    "OperationCancelled",
    "SandboxUnavailable",
    "StateError",
    "ToolError",
    "TransactionFailed",
    "UnplugRefused",
    "Unsupported",
    "UsageError",
]


class BlockSdkError(Exception):
    """Root of every error that this package raises on purpose. They can be copied and pickled.

    ``subject`` is the object whose verb it was, with its state (``backup job 'b0':
    running``); empty where there is none.
    """

    subject: str = ""

    def __init__(self, *args: object) -> None:
        super().__init__(*map(_less_secrets, args))

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, _less_secrets(value))

    def __str__(self) -> str:
        sentence = super().__str__()
        return escaped(f"{self.subject}: {sentence}" if self.subject else sentence)

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own would call the class with the sentence alone.
        return _restored, (type(self), self.args, vars(self))


def _less_secrets(value: object) -> object:
    return masked(value) if isinstance(value, str) else value


def _restored(
    cls: type[BlockSdkError], args: tuple[object, ...], attributes: Mapping[str, object]
) -> BlockSdkError:
    error = cls.__new__(cls)
    error.args = args
    vars(error).update(attributes)
    return error


class CommandError(BlockSdkError):
    """QEMU received a command and refused it.

    ``error_class`` and ``desc`` are QEMU's words, ``arguments`` what was sent, with
    secrets replaced.
    """

    def __init__(
        self, error_class: str, desc: str, *, command: str, arguments: Mapping[str, object]
    ) -> None:
        super().__init__(f"{command}: {desc}")
        self.error_class = error_class
        self.desc = desc
        self.command = command
        self.arguments = arguments


class TransactionFailed(CommandError):
    """QEMU refused a transaction, of which thus nothing has happened.

    ``suspects`` are the numbers, from 0, of the actions that have the names which QEMU's
    words have, ``kinds`` says what they are; QEMU does not say more. Empty where it names none.
    """

    def __init__(self, refusal: CommandError, suspects: Sequence[int], kinds: str) -> None:
        super().__init__(
            refusal.error_class,
            refusal.desc,
            command=refusal.command,
            arguments=refusal.arguments,
        )
        self.suspects: tuple[int, ...] = tuple(suspects)
        self.kinds = kinds

    def __str__(self) -> str:
        return super().__str__() + (f" ({self.kinds})" if self.kinds else "")


class Unsupported(BlockSdkError):
    """Not sent: the connected QEMU has no such command, member or value.

    ``missing`` names it, ``available_in`` the snapshots (``system-10.0``) that have it.
    """

    def __init__(self, missing: str, *, available_in: Sequence[str] = ()) -> None:
        where = f"; known to {', '.join(available_in)}" if available_in else ""
        super().__init__(f"this QEMU has no {missing}{where}")
        self.missing = missing
        self.available_in: tuple[str, ...] = tuple(available_in)


class SandboxUnavailable(Unsupported):
    """Not started: the kernel cannot keep a program from opening other files.

    ``missing`` names what the kernel lacks. Nothing was read.
    """

    def __init__(self, missing: str) -> None:
        BlockSdkError.__init__(
            self,
            f"this kernel cannot keep a program from opening other files; it lacks {missing}."
            " Use a machine that has it, or leave out untrusted=True for an image that you trust",
        )
        self.missing = missing
        self.available_in: tuple[str, ...] = ()


class ConnectionLost(BlockSdkError):
    """The connection ended; the outcome of whatever was in flight is unknown.

    ``exit_status`` is the process's (negative: the signal that killed it), or None when
    it still runs or is not our child; ``output`` is the tail of what QEMU printed.
    """

    def __init__(self, what: str, *, exit_status: int | None = None, output: str = "") -> None:
        super().__init__(_with_process_end(what, exit_status, output))
        self.what = what
        self.exit_status = exit_status
        self.output: str = escaped(output)


class LaunchError(BlockSdkError):
    """A program could not be started, or ended before it was ready. Nothing is left of it."""

    def __init__(
        self,
        what: str,
        *,
        argv: Sequence[str],
        exit_status: int | None = None,
        output: str = "",
    ) -> None:
        super().__init__(_with_process_end(what, exit_status, output))
        self.what = what
        self.argv: tuple[str, ...] = masked_args(argv)
        self.exit_status = exit_status
        self.output: str = escaped(output)


class MalformedReply(BlockSdkError):
    """What QEMU or a tool answered contradicts the schema, so it cannot be trusted.

    ``path`` leads to it (``query-block[0].inserted.file``), ``expected`` and ``found`` are kinds
    of JSON values. Whether a command ran is another question: it has been answered.
    """

    def __init__(self, path: str, *, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}")
        self.path = path
        self.expected = expected
        self.found = found


class ToolError(BlockSdkError):
    """qemu-img, qemu-io or qemu-nbd failed: ``argv``, ``exit_status``, its words in ``output``.

    ``what`` is what it did: ``failed``, ``ended``, ``used up its 120 s of processor time``. The
    ``exit_status`` is None when the tool still runs, as a session of qemu-io does.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        exit_status: int | None,
        output: str,
        what: str = "failed",
    ) -> None:
        name = argv[0].rpartition("/")[2]
        super().__init__(_with_process_end(f"{name} {what}", exit_status, output))
        self.what = what
        self.argv: tuple[str, ...] = masked_args(argv)
        self.exit_status = exit_status
        self.output: str = escaped(output)


class JobFailed(BlockSdkError):
    """A job concluded with an error: ``job_id``, ``job_type``, QEMU's words in ``error``."""

    def __init__(self, job_id: str, *, error: str, job_type: str = "block") -> None:
        super().__init__(f"{job_type} job {job_id!r} failed: {error}")
        self.job_id = job_id
        self.job_type = job_type
        self.error = error


class JobCancelled(BlockSdkError):
    """A job was cancelled before it completed: ``job_id``, ``job_type``."""

    def __init__(self, job_id: str, *, job_type: str = "block") -> None:
        super().__init__(f"{job_type} job {job_id!r} was cancelled")
        self.job_id = job_id
        self.job_type = job_type


class JobStopped(BlockSdkError):
    """A job stands still since an I/O error, as it was told to (``on_error="stop"``).

    ``operation`` is ``read`` or ``write``. The job is there: resume it when the cause is
    mended, or cancel it.
    """

    def __init__(self, job_id: str, *, operation: str, job_type: str = "block") -> None:
        super().__init__(f"{job_type} job {job_id!r} has stopped on a {operation} error")
        self.job_id = job_id
        self.operation = operation
        self.job_type = job_type


class MigrationFailed(BlockSdkError):
    """A migration failed; ``error`` is what QEMU said, empty where it said nothing.

    The source goes on as before, unless postcopy had begun.
    """

    def __init__(self, *, error: str) -> None:
        super().__init__(f"the migration failed: {error or 'QEMU gave no reason'}")
        self.error = error


class MigrationCancelled(BlockSdkError):
    """A migration was cancelled before it completed; the source goes on as before."""

    def __init__(self) -> None:
        super().__init__("the migration was cancelled")


class OperationCancelled(BlockSdkError):
    """An operation was cancelled before it ended: ``operation`` is its name."""

    def __init__(self, operation: str) -> None:
        super().__init__(f"{operation} was cancelled")
        self.operation = operation


class UnplugRefused(BlockSdkError):
    """The guest refused to let a device go: ``device`` is its id."""

    def __init__(self, device: str) -> None:
        super().__init__(f"the guest refused to let device {device!r} go")
        self.device = device


class GraphError(BlockSdkError):
    """The block graph is not as asked: ``looked_for``, ``found``, the ``path`` so far."""

    def __init__(self, looked_for: str, *, found: str, path: str = "") -> None:
        at = f" at {path}" if path else ""
        super().__init__(f"looked for {looked_for}{at}, found {found}")
        self.looked_for = looked_for
        self.found = found
        self.path = path


class DeadlineExceeded(BlockSdkError, TimeoutError):
    """A time limit ran out: ``waited_for`` says on what, ``seconds`` is the limit."""

    def __init__(self, waited_for: str, *, seconds: float) -> None:
        super().__init__(f"gave up on {waited_for} after {seconds:g} s")
        self.waited_for = waited_for
        self.seconds = seconds


class UsageError(BlockSdkError, ValueError):
    """Refused before anything ran: what was passed in cannot be right."""


class StateError(UsageError):
    """The state of an object forbids a ``verb``, and always will: nothing was sent."""

    def __init__(self, subject: str, *, verb: str) -> None:
        super().__init__(f"{verb} is not possible any more")
        self.subject = subject
        self.verb = verb


def _with_process_end(what: str, exit_status: int | None, output: str) -> str:
    """One sentence of what happened, how the process ended, and what it said of that."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # QEMU and its tools begin a complaint with their name; hints on usage may follow it.
    complaints = filter(_is_complaint, lines)
    said = next(complaints, lines[-1] if lines else "")
    if len(said) > _LONGEST:  # names come first, the reason last
        said = f"{said[: _LONGEST // 2]} ... {said[-_LONGEST // 2 :]}"
    ended = "" if exit_status is None else f" ({_exit_words(exit_status)})"
    return f"{what}{ended}" + (f": {said}" if said else "")


def _is_complaint(line: str) -> bool:
    name, _, rest = line.partition(": ")
    if "qemu" not in name or ":" in name or len(name.split(None, 1)) > 1:
        return False
    is_option = rest.startswith("-")
    return not any(
        rest.startswith(remark) or (is_option and f": {remark}" in rest)
        for remark in ("warning: ", "info: ")
    )


def _exit_words(exit_status: int) -> str:
    return f"killed by signal {-exit_status}" if exit_status < 0 else f"exit status {exit_status}"
