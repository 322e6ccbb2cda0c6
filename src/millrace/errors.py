"""Every error Millrace raises on purpose.

A message says what was wrong, with which value, and what to do about it. Errors of other libraries are translated where
those libraries are used; the user's own exception is never wrapped when it is raised again in the same process.

    MillraceError
    ├─ InvalidInput 422     ParameterError · EntrypointError · ScheduleError · SettingsError · SpecError · ClosureError
    │                       FlowVisualizationError · CannotTravel
    │                       SerializationError · UnreadableResult
    ├─ NotFound 404         MissingFlow · MissingDeployment · MissingResult · MissingWorkPool
    │                       MissingFile (these two are InvalidInput as well)
    ├─ Ambiguous 422        UnspecifiedFlow · UnspecifiedDeployment
    ├─ Conflict 409         AlreadyExists · StateRefused · NotPaused · LeaseLost · SlotsLost 410
    ├─ NotAllowed 403       Unauthenticated 401
    ├─ TooLarge 413
    ├─ Busy 503             (with the seconds to wait) SlotsTaken 423
    ├─ ServerUnavailable    (client side: unreachable after retries; says how to start one)
    ├─ RunError             RunFailed ─ CellFailed · UpstreamFailed · RunCrashed ─ WorkerDied · RunCancelled
    │                       RunTimedOut ─ PauseTimedOut · RunUnfinished
    ├─ DeployError          BuildFailed · PushFailed · PullFailed · PreflightFailed · DeploymentApplyError · NoEngine
    ├─ StorageUnavailable   (results cannot be written or read where they are kept)
    ├─ ConcurrencyError     ConcurrencySlotAcquisitionError · AcquireConcurrencySlotTimeoutError · ConcurrencySlotsLost
    ├─ NotSupported         (Prefect has it, Millrace does not; says what to do instead)
    ├─ MissingContext       (something was asked of the current run, and there is none)
    └─ PluginMissing        (says what to install)

`status` is the HTTP status the server answers with when the error reaches it.
"""

from __future__ import annotations


class MillraceError(Exception):
    """The root of the tree."""

    status = 500

    @property
    def message(self) -> str:
        """The text for people: one paragraph, no traceback."""
        return str(self)

    def _render_traceback_(self) -> list[str]:
        # IPython calls this: in a notebook our own errors print their message, not sixty lines of our frames.
        return [f"{type(self).__name__}: {self}"]


class InvalidInput(MillraceError, ValueError):
    """A value given by the user cannot be used."""

    status = 422


class ParameterError(InvalidInput):
    """A flow parameter is unknown, missing or of the wrong type."""


class EntrypointError(InvalidInput):
    """An entrypoint cannot be parsed, found or loaded.

    What the user's code raised while it was loaded is the `__cause__`.

    Args:
        message: what is wrong, the place included.
        file: the file at fault, if one is.
        line: its line, from 1.
    """

    def __init__(self, message: str, file: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


class ScheduleError(InvalidInput):
    """A schedule can never fire or cannot be understood."""


class SettingsError(InvalidInput):
    """A setting has a value that cannot be used."""


class ClosureError(InvalidInput):
    """A name a flow needs cannot be shipped with it: the message names the variable, its cell and the remedy."""


class FlowVisualizationError(InvalidInput):
    """A flow cannot be drawn: its code needs to know what a task gives."""


class CannotTravel(InvalidInput, TypeError):
    """A task's function, argument or result cannot be sent to or from another process: the message names it."""


class SpecError(InvalidInput):
    """A specification file is wrong.

    Args:
        message: what is wrong and the remedy.
        file: the file, as the user named it.
        line: the line, counted from 1, where known.
    """

    def __init__(self, message: str, file: str | None = None, line: int | None = None) -> None:
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(place + message)
        self.file = file
        self.line = line


class NotFound(MillraceError, LookupError):
    """Something named by the user does not exist."""

    status = 404


class MissingFlow(NotFound):
    """A file, module or notebook does not hold the flow."""


class MissingDeployment(NotFound):
    """No deployment has this name or id."""


class MissingWorkPool(NotFound, InvalidInput):
    """No work pool has this name."""


class MissingFile(NotFound, EntrypointError):
    """An entrypoint leads to no file."""


class MissingResult(NotFound):
    """A run kept no result, or what it kept is gone or has expired."""


class SerializationError(InvalidInput):
    """A result has no form in which it could be stored.

    Attributes:
        value: what the run returned, so that nothing computed is lost.
    """

    value: object = None


class UnreadableResult(InvalidInput):
    """What is stored as a result is damaged, of another program, or a pickle that nobody allowed to be read."""


class StorageUnavailable(MillraceError):
    """The storage of results does not answer or refuses; the message names its URL.

    Attributes:
        value: what the run returned, where it could not be written.
    """

    status = 503
    value: object = None


class MissingSecret(NotFound, ValueError):
    """No secret has this name."""


class Ambiguous(InvalidInput):
    """More than one thing fits."""


class UnspecifiedFlow(Ambiguous):
    """A file holds several flows and none was named."""


class UnspecifiedDeployment(Ambiguous):
    """A file holds several deployments and none was named."""


class Conflict(MillraceError):
    """The request does not fit what is stored."""

    status = 409


class AlreadyExists(Conflict, ValueError):
    """A thing of this name exists."""


class StateRefused(Conflict):
    """The judge refused a state."""


class NotPaused(Conflict):
    """A run was to be resumed that is not paused."""


class LeaseLost(Conflict):
    """Another attempt holds this run: the writer must stop."""


class SlotsLost(Conflict):
    """A lease over slots of a concurrency limit has ended."""

    status = 410


class NotAllowed(MillraceError):
    """The request is refused for who or where it comes from."""

    status = 403


class Unauthenticated(NotAllowed):
    """The token is missing or wrong."""

    status = 401


class TooLarge(InvalidInput):
    """A body is over the limit."""

    status = 413


class Busy(MillraceError):
    """The server cannot do this now.

    Args:
        message: why.
        retry_after: seconds to wait before asking again.
    """

    status = 503

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SlotsTaken(Busy):
    """All slots of a concurrency limit are taken: nothing was taken of the others either."""

    status = 423


class ServerUnavailable(MillraceError, ConnectionError):
    """No server answers; the message says how to start one."""

    status = 503


class RunError(MillraceError):
    """A run did not complete."""


class RunUnfinished(RunError):
    """A run has not ended, so there is no result yet."""


class RunFailed(RunError):
    """A run ended in the state Failed, and its exception is not at hand in this process."""


class UpstreamFailed(RunFailed):
    """A task was not run because one that it needs did not complete; what that raised is the `__cause__`."""


class CellFailed(RunFailed):
    """A cell of a notebook flow raised.

    Args:
        cell: its number, counted from 1 over all cells, as a reader counts them.
        ename: the name of the exception's class.
        evalue: the exception's text.
        traceback: the lines of the traceback, without terminal colours.
    """

    def __init__(self, cell: int, ename: str, evalue: str, traceback: list[str] | None = None) -> None:
        super().__init__(f"cell {cell} failed with {ename}: {evalue}")
        self.cell = cell
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback or []


class RunCrashed(RunError):
    """A run's process, container or kernel died."""


class WorkerDied(RunCrashed):
    """The process in which a task's function was called ended before the function did."""


class RunCancelled(RunError):
    """A run was cancelled."""


class RunTimedOut(RunFailed, TimeoutError):
    """A run took longer than its time-out."""


class PauseTimedOut(RunTimedOut):
    """A run was paused, and nobody resumed it in time."""


class DeployError(MillraceError):
    """A deployment could not be made."""


class NoEngine(DeployError):
    """No Docker Engine answers, so no image can be built or pushed here."""


class BuildFailed(DeployError):
    """An image could not be built."""


class PushFailed(DeployError):
    """An image could not be pushed."""


class PullFailed(DeployError):
    """Code could not be fetched from where it lies."""


class PreflightFailed(DeployError):
    """The code does not run in a clean process: deploying it would only move the failure to tonight."""


class DeploymentApplyError(DeployError):
    """The server refused a deployment."""


class ConcurrencyError(MillraceError):
    """Slots of a concurrency limit could not be had, or were lost."""


class ConcurrencySlotAcquisitionError(ConcurrencyError):
    """Slots cannot be had: the limit is missing (`strict`), is too small, has no rate, or was full too often."""


class AcquireConcurrencySlotTimeoutError(ConcurrencyError, TimeoutError):
    """Slots were not to be had in time."""


class ConcurrencySlotsLost(ConcurrencyError):
    """The server gave the slots of a `strict` block to others while the block went on."""


class NotSupported(MillraceError, NotImplementedError):
    """Prefect does this and Millrace does not; the message says what to do instead."""

    status = 422


class MissingContext(MillraceError, RuntimeError):
    """Something was asked of the current run outside of any run."""


class PluginMissing(MillraceError, ImportError):
    """An optional package is needed; the message says what to install."""
