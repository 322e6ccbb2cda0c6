"""Actions: what an automation does when its trigger fires."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from millrace.schema import templates
from millrace.schema.fields import JsonObject, Model
from millrace.schema.states import StateType

LONGEST_TEMPLATE = 100_000


def _template(text: str) -> str:
    templates.parse(text)
    return text


def _secret_template(text: str) -> str:
    templates.parse(text, secrets=True)
    return text


def _parameters(value: JsonObject) -> JsonObject:
    templates.check_all(value)
    return value


Template = Annotated[str, Field(max_length=LONGEST_TEMPLATE), AfterValidator(_template)]
SecretTemplate = Annotated[str, Field(max_length=LONGEST_TEMPLATE), AfterValidator(_secret_template)]


class DoNothing(Model):
    """Nothing, for trying out a trigger: what fired is written down all the same."""

    type: Literal["do-nothing"] = "do-nothing"


class _Targeted(Model):
    """Acts on one thing: the selected one, or that of the event that fired (`inferred`)."""

    source: Literal["selected", "inferred"] = "selected"
    _field: ClassVar[str]

    @model_validator(mode="after")
    def _selected(self) -> Self:
        given = getattr(self, self._field) is not None
        if given != (self.source == "selected"):
            raise ValueError(f"{self._field} is {'not allowed with source inferred' if given else 'required'}")
        return self

    @property
    def selected(self) -> UUID | None:
        """The id of the selected thing."""
        found: UUID | None = getattr(self, self._field)
        return found


class _OnDeployment(_Targeted):
    deployment_id: UUID | None = None
    _field = "deployment_id"


class RunDeployment(_OnDeployment):
    """Runs a deployment.

    Example:
        >>> RunDeployment(source="inferred", parameters={"rows": "{{ event.payload.rows }}"}).type
        'run-deployment'
    """

    model_config = ConfigDict(ser_json_timedelta="float")  # seconds, as the original has it

    type: Literal["run-deployment"] = "run-deployment"
    parameters: Annotated[JsonObject, AfterValidator(_parameters)] | None = Field(
        None, description="Over those of the deployment; templates in them are filled in."
    )
    job_variables: JsonObject | None = None
    schedule_after: timedelta = Field(timedelta(0), ge=timedelta(0), description="Start it so much later.")


class PauseDeployment(_OnDeployment):
    """Lets all schedules of a deployment rest."""

    type: Literal["pause-deployment"] = "pause-deployment"


class ResumeDeployment(_OnDeployment):
    """Lets the schedules of a deployment fire again."""

    type: Literal["resume-deployment"] = "resume-deployment"


class ChangeFlowRunState(Model):
    """Sets the state of the flow run that the event is about."""

    type: Literal["change-flow-run-state"] = "change-flow-run-state"
    name: str | None = None
    state: StateType
    message: str | None = None
    force: bool = False


class CancelFlowRun(Model):
    """Cancels the flow run that the event is about."""

    type: Literal["cancel-flow-run"] = "cancel-flow-run"


class SuspendFlowRun(Model):
    """Suspends the flow run that the event is about."""

    type: Literal["suspend-flow-run"] = "suspend-flow-run"


class ResumeFlowRun(Model):
    """Lets the paused or suspended flow run that the event is about go on."""

    type: Literal["resume-flow-run"] = "resume-flow-run"


class DeleteFlowRun(Model):
    """Forgets the flow run that the event is about."""

    type: Literal["delete-flow-run"] = "delete-flow-run"


class _OnWorkPool(_Targeted):
    work_pool_id: UUID | None = None
    _field = "work_pool_id"


class PauseWorkPool(_OnWorkPool):
    """Lets a work pool hand out no runs."""

    type: Literal["pause-work-pool"] = "pause-work-pool"


class ResumeWorkPool(_OnWorkPool):
    """Lets a work pool hand out runs again."""

    type: Literal["resume-work-pool"] = "resume-work-pool"


class _OnWorkQueue(_Targeted):
    work_queue_id: UUID | None = None
    _field = "work_queue_id"


class PauseWorkQueue(_OnWorkQueue):
    """Lets a work queue hand out no runs."""

    type: Literal["pause-work-queue"] = "pause-work-queue"


class ResumeWorkQueue(_OnWorkQueue):
    """Lets a work queue hand out runs again."""

    type: Literal["resume-work-queue"] = "resume-work-queue"


class _OnAutomation(_Targeted):
    automation_id: UUID | None = None
    _field = "automation_id"


class PauseAutomation(_OnAutomation):
    """Disables an automation."""

    type: Literal["pause-automation"] = "pause-automation"


class ResumeAutomation(_OnAutomation):
    """Enables an automation."""

    type: Literal["resume-automation"] = "resume-automation"


class CallWebhook(Model):
    """Sends an HTTP request: to a `url`, or as a `webhook` block says.

    Secrets stand in `url` and `headers` by name: `{{ prefect.blocks.secret.NAME }}`.
    """

    type: Literal["call-webhook"] = "call-webhook"
    block_document_id: UUID | None = Field(None, description="A block of the type webhook.")
    url: SecretTemplate | None = Field(None, description="Ours: where to, instead of a block.")
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, SecretTemplate] = Field(default_factory=dict)
    payload: Template | JsonObject = ""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if (self.block_document_id is None) == (self.url is None):
            raise ValueError("a webhook needs either block_document_id or url")
        if isinstance(self.payload, dict):
            templates.check_all(self.payload)
        return self


class Email(Model):
    """Who gets a notification by e-mail.

    Example:
        >>> Email(to=["ops@example.org"], server="smtp://mail.example.org").attach_html
        True
    """

    to: list[Template] = Field(min_length=1, max_length=100)
    sender: Template | None = Field(None, description="Unset: the user of the mail server, or millrace@localhost.")
    server: SecretTemplate | None = Field(
        None, description="smtp://user:password@host:port, smtps:// or smtp+starttls://. Unset: MILLRACE_SMTP_URL."
    )
    attach_html: bool = Field(True, description="Attach the page of the run's executed notebook, if there is one.")


class SendNotification(Model):
    """Tells people: by e-mail, or over the webhook of a block."""

    type: Literal["send-notification"] = "send-notification"
    block_document_id: UUID | None = Field(None, description="A block of the type slack-webhook or webhook.")
    email: Email | None = Field(None, description="Ours: an e-mail, instead of a block.")
    subject: Template = "Millrace: {{ automation.name }}"
    body: Template

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if (self.block_document_id is None) == (self.email is None):
            raise ValueError("a notification needs either block_document_id or email")
        return self


_Action = (
    DoNothing
    | RunDeployment
    | PauseDeployment
    | ResumeDeployment
    | CancelFlowRun
    | DeleteFlowRun
    | ChangeFlowRunState
    | PauseWorkQueue
    | ResumeWorkQueue
    | SendNotification
    | CallWebhook
    | PauseAutomation
    | ResumeAutomation
    | SuspendFlowRun
    | ResumeFlowRun
    | PauseWorkPool
    | ResumeWorkPool
)


@lru_cache(maxsize=1)
def _untyped() -> TypeAdapter[Any]:
    return TypeAdapter(_Action)


def _typed(value: Any) -> Any:
    """An action that does not say its type is the first that its fields fit best, as with the original."""
    return _untyped().validate_python(value) if isinstance(value, dict) and "type" not in value else value


AnyAction = Annotated[_Action, Field(discriminator="type"), BeforeValidator(_typed)]
