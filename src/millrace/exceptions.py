"""The names that Prefect gives to errors of ours, so that `except` clauses need no change but the import.

Each is the same class as ours, not a copy: `except MissingFlow` catches what `except MissingFlowError` does.
"""

from __future__ import annotations

from millrace.errors import AlreadyExists as ObjectAlreadyExists
from millrace.errors import DeploymentApplyError as DeploymentApplyError
from millrace.errors import EntrypointError as FlowScriptError
from millrace.errors import EntrypointError as ScriptError
from millrace.errors import MillraceError as PrefectException
from millrace.errors import MissingContext as MissingContextError
from millrace.errors import MissingDeployment as MissingDeploymentError
from millrace.errors import MissingFlow as MissingFlowError
from millrace.errors import MissingResult as MissingResult
from millrace.errors import NotFound as ObjectNotFound
from millrace.errors import NotPaused as NotPausedError
from millrace.errors import ParameterError as MappingLengthMismatch
from millrace.errors import ParameterError as MappingMissingIterable
from millrace.errors import ParameterError as ParameterBindError
from millrace.errors import ParameterError as ParameterTypeError
from millrace.errors import PauseTimedOut as FlowPauseTimeout
from millrace.errors import RunCancelled as CancelledRun
from millrace.errors import RunCrashed as CrashedRun
from millrace.errors import RunFailed as FailedRun
from millrace.errors import RunUnfinished as UnfinishedRun
from millrace.errors import SerializationError as SerializationError
from millrace.errors import SpecError as SpecValidationError
from millrace.errors import UnspecifiedDeployment as UnspecifiedDeploymentError
from millrace.errors import UnspecifiedFlow as UnspecifiedFlowError
from millrace.errors import UpstreamFailed as UpstreamTaskError

__all__ = [
    "CancelledRun",
    "CrashedRun",
    "DeploymentApplyError",
    "FailedRun",
    "FlowPauseTimeout",
    "FlowScriptError",
    "MappingLengthMismatch",
    "MappingMissingIterable",
    "MissingContextError",
    "MissingDeploymentError",
    "MissingFlowError",
    "MissingResult",
    "NotPausedError",
    "ObjectAlreadyExists",
    "ObjectNotFound",
    "ParameterBindError",
    "ParameterTypeError",
    "PrefectException",
    "ScriptError",
    "SerializationError",
    "SpecValidationError",
    "UnfinishedRun",
    "UnspecifiedDeploymentError",
    "UnspecifiedFlowError",
    "UpstreamTaskError",
]
