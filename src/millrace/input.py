"""What runs ask of people and of each other: typed inputs and messages.

Example:
    >>> class Approval(RunInput):
    ...     approved: bool
    >>> Approval(approved=True).approved
    True
"""

from __future__ import annotations

from millrace.engine.messages import asend_input, receive_input, send_input
from millrace.engine.run_inputs import (
    AutomaticRunInput,
    BaseRunInput,
    Keyset,
    RunInput,
    RunInputMetadata,
    keyset_from_base_key,
    keyset_from_paused_state,
    run_input_subclass_from_type,
)

__all__ = [
    "AutomaticRunInput",
    "BaseRunInput",
    "Keyset",
    "RunInput",
    "RunInputMetadata",
    "asend_input",
    "keyset_from_base_key",
    "keyset_from_paused_state",
    "receive_input",
    "run_input_subclass_from_type",
    "send_input",
]
