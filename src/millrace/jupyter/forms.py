"""The deployment form: name, pool, parameters from the flow's schema, schedule with the next fires."""

from __future__ import annotations

import contextlib
import html
import shlex
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
from IPython.display import display

from millrace import plugins, settings
from millrace.client import locate
from millrace.errors import InvalidInput, MillraceError, NotFound
from millrace.jupyter.call import DeployCall, distance
from millrace.jupyter.display import Card, card
from millrace.jupyter.fields import Field, fields
from millrace.jupyter.inputs import LABEL, WIDE, Input, Note, mark
from millrace.jupyter.monitor import shows, watch
from millrace.jupyter.schedule_editor import ScheduleEditor
from millrace.notebooks import live, references
from millrace.notebooks.parameters import read_book, schema_of
from millrace.schema.deployments import Deployment
from millrace.schema.fields import now
from millrace.schema.pools import WorkerStatus, WorkPoolQuery

_STATIC = Path(__file__).parent / "static"


class _KeyGuard(anywidget.AnyWidget):  # type: ignore[misc]
    """Keeps keys typed in the form from the notebook, and carries the form's style."""

    _esm = _STATIC / "keyguard.js"
    _css = _STATIC / "form.css"


class DeployForm:
    """A form that deploys a flow or a notebook; opened by `deploy_form`.

    Args:
        target: a `Flow`, or the path of a notebook.
        variable: what the flow is called in the code that "Copy as Python" prints.

    Example:
        >>> form = deploy_form(etl)            # doctest: +SKIP
        >>> form.deployment_id                 # doctest: +SKIP
    """

    def __init__(self, target: Any, variable: str | None = None) -> None:
        self._target = target
        self._notebook = isinstance(target, str | Path)
        self._flow_name = Path(str(target)).stem if self._notebook else str(target.name)
        self._variable = variable or (str(target) if self._notebook else _variable(target))
        self._schema: dict[str, Any] = schema_of(read_book(Path(target))) if self._notebook else target.parameters
        self.deployment_id: Any = None
        """The deployment's id once it was made."""
        self._busy = False
        self._looking = 0
        self._build()

    # -- drawing

    def _build(self) -> None:
        self._name = widgets.Text(
            value=self._flow_name, description="Name *", style=LABEL, layout=WIDE, continuous_update=False
        )
        self._name_note = Note()
        self._pool = widgets.Dropdown(options=self._pools(), description="Work pool *", style=LABEL, layout=WIDE)
        self._pool_note = Note()
        self._inputs = [Input.of(spec) for spec in fields(self._schema)]
        self._when = ScheduleEditor()
        self._deploy = widgets.Button(description="Deploy", button_style="primary", icon="check")
        self._copy = widgets.Button(description="Copy as Python", tooltip="The call that makes the same deployment")
        self._status = Note("0")
        self._place = widgets.VBox([])
        self._guard = _KeyGuard()
        self._guard.on_msg(self._hear)
        self._name.observe(lambda _: self._guarded(self._look_up_name), "value")
        self._pool.observe(lambda _: self._guarded(self._look_at_pool), "value")
        self._deploy.on_click(lambda _: self._guarded(self.deploy))
        self._copy.on_click(lambda _: self._guarded(self._show_code))
        self._box = widgets.VBox(self._parts())
        self._box.add_class("millrace-form")
        self._look_at_pool()
        self._look_up_name()

    def _parts(self) -> list[Any]:
        kind = "notebook" if self._notebook else "flow"
        title = widgets.HTML(
            f'<span class="millrace-title">Deploy {html.escape(self._flow_name)}</span> '
            f'<span class="millrace-remark">{kind} {html.escape(self._variable)}</span>'
        )
        parts = [title, self._name, self._name_note.widget, self._pool, self._pool_note.widget]
        if self._inputs:
            parts.append(widgets.HTML('<span class="millrace-section">Parameters</span>'))
        for item in self._inputs:
            parts += item.widgets
        parts += [widgets.HTML('<span class="millrace-section">Schedule</span>'), *self._when.widgets]
        buttons = widgets.HBox([self._deploy, self._copy], layout=widgets.Layout(margin="8px 0 0 0"))
        return [*parts, buttons, self._status.widget, self._guard]

    def _pools(self) -> list[str]:
        found = [pool.name for pool in locate.connect().read_work_pools(WorkPoolQuery())]
        usual = settings.current().work_pool
        return [usual, *(name for name in found if name != usual)]

    # -- reading

    def call(self) -> DeployCall:
        """What the form holds.

        Raises:
            InvalidInput: a field cannot be used; the line below it says why.
        """
        problems = [] if self._name_is_good() else ["Name"]
        values: dict[str, Any] = {}
        for item in self._inputs:
            good, value = item.check(self._schema)
            if not good:
                problems.append(item.spec.label)
            elif item.is_given:
                values[item.spec.name] = value
        if not self._when.check():
            problems.append("Schedule")
        if problems:
            self._guard.send({"kind": "focus"})
            count = f"{len(problems)} thing{'s' if len(problems) > 1 else ''} to fix"
            raise InvalidInput(f"{count}: {', '.join(problems)}")
        return DeployCall(
            flow=self._variable,
            name=self._name.value,
            pool=self._pool.value,
            parameters=values,
            notebook=self._notebook,
            secrets=frozenset(item.spec.name for item in self._inputs if self._hides(item.spec)),
            **self._when.held(),
        )

    def _hides(self, spec: Field) -> bool:
        # A reference, which a secret of a notebook is, may be seen.
        entry = self._schema.get("properties", {}).get(spec.name, {})
        return spec.kind == "password" and references.pattern_of(entry) is None

    def _name_is_good(self) -> bool:
        good = bool(self._name.value.strip()) and not set(self._name.value) & set("/%&><")
        mark(self._name, not good)
        if not good:
            self._name_note.say("A deployment needs a name, without / % & > <", "error")
        return good

    def deploy(self) -> Any:
        """Make the deployment from what the form holds.

        Returns:
            The deployment's id.

        Raises:
            MillraceError: a field cannot be used, or the deployment was refused.
        """
        if self._busy:
            return self.deployment_id
        call = self.call()
        self._busy, self._deploy.description, self._deploy.icon = True, "Deploying…", "spinner"
        self._status.say("Checking that the code runs in a clean process …")
        try:
            quiet = {"print_next_steps": False, "ignore_warnings": True}
            if self._notebook:
                make: Callable[..., Any] = plugins.load("millrace.deployments.notebook:deploy_notebook")
                self.deployment_id = make(self._target, **call.arguments(), **quiet)
            else:
                self.deployment_id = self._target.deploy(**call.arguments(), **quiet)
            self._fold(call)
        except BaseException:
            self._busy = False
            raise
        finally:
            self._deploy.description, self._deploy.icon = "Deploy", "check"
        for item in self._inputs:
            item.forget()
        return self.deployment_id

    # -- answering

    def _look_up_name(self) -> None:
        if not self._name_is_good():
            return
        try:
            known = locate.connect().read_deployment_by_name(self._flow_name, self._name.value.strip())
        except NotFound:
            self._name_note.say("")
        else:
            self._name_note.say(f"Replaces the one made {_ago(known)}.")

    def _look_at_pool(self) -> None:
        self._looking += 1
        if not self._say_workers(patient=True):
            # A server that has just been started brings its worker along a moment later.
            look = threading.Thread(target=self._look_again, args=(self._looking,), name="millrace-form", daemon=True)
            look.start()

    def _look_again(self, turn: int) -> None:
        for second in range(1, 31):
            time.sleep(1)
            with contextlib.suppress(MillraceError):
                if turn != self._looking or self._say_workers(patient=second < 4):
                    return

    def _say_workers(self, patient: bool) -> bool:
        online = self._workers_online()
        if online:
            self._pool_note.say(f"{online} worker{'s' if online > 1 else ''} online", "good")
        elif patient:
            self._pool_note.say("Looking for a worker …")
        else:
            pool = self._pool.value
            text = "No worker polls this pool: nothing would run. In a terminal:"
            self._pool_note.say(text, "warning", f"millrace worker start --pool {shlex.quote(pool)}")
        return bool(online)

    def _workers_online(self) -> int:
        try:
            workers = locate.connect().read_workers(self._pool.value)
        except NotFound:
            return 0
        return sum(worker.status is WorkerStatus.ONLINE for worker in workers)

    def _fold(self, call: DeployCall) -> None:
        deployment = locate.connect().read_deployment(self.deployment_id)
        line = Note("0")
        line.show(_summary(self._flow_name, deployment))
        nobody = Note("0")
        if not self._workers_online():
            nobody.say(
                self._pool_note_text(), "warning", f"millrace worker start --pool {shlex.quote(self._pool.value)}"
            )
        run = widgets.Button(description="Run now", icon="play")
        edit = widgets.Button(description="Edit")
        copy = widgets.Button(description="Copy as Python")
        code = Note("0")
        run.on_click(lambda _: self._guarded(self._run_now, code))
        edit.on_click(lambda _: self._unfold())
        copy.on_click(lambda _: code.show(f"<pre>{html.escape(call.code())}</pre>"))
        self._place.children = []
        parts = [line.widget, nobody.widget, widgets.HBox([run, edit, copy]), code.widget, self._place, self._guard]
        self._box.children = parts

    def _pool_note_text(self) -> str:
        return f"No worker polls the pool {self._pool.value}: nothing runs yet. In a terminal:"

    def _unfold(self) -> None:
        self._busy = False
        self._status.say("")
        self._box.children = self._parts()
        self._guarded(self._look_up_name)

    def _run_now(self) -> None:
        run = locate.connect().create_flow_run_from_deployment(self.deployment_id)
        watch(run, place=self._put)

    def _put(self, shown: Any) -> None:
        self._place.children = [widgets.HTML(shown.markup) if isinstance(shown, Card) else shown]

    def _show_code(self) -> None:
        self._status.show(f"<pre>{html.escape(self.call().code())}</pre>")

    def _hear(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("kind") == "submit":
            self._guarded(self.deploy)

    def _guarded(self, action: Callable[[], Any], note: Note | None = None) -> None:
        # Whatever a callback prints or raises is lost to the reader: everything is said in the form.
        try:
            action()
        except MillraceError as error:
            (note or self._status).say(error.message, "error")
        except Exception as error:  # the user's own code may raise anything while it is looked at
            (note or self._status).say(f"{type(error).__name__}: {error}", "error")

    # -- the screen

    def show(self) -> None:
        """Show the form in the output of the running cell; without widgets, the code it stands for."""
        if shows() == "text":
            print(f"{self!r}\n{self._example()}")
            return
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if shows() == "widget":
            bundle["application/vnd.jupyter.widget-view+json"] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self._box.model_id,
            }
        display(bundle, raw=True)

    def _ipython_display_(self) -> None:
        # It stands above already: as the value of its cell it is not shown again.
        pass

    def _example(self) -> str:
        call = DeployCall(
            self._variable, self._name.value or "nightly", kind="Cron", text="0 3 * * *", notebook=self._notebook
        )
        return call.code()

    def _repr_html_(self) -> str:
        body = f'<pre style="margin:4px 0">{html.escape(self._example())}</pre>'
        return card(f"<b>Deploy {html.escape(self._flow_name)}</b> without a form:", [body])

    def __repr__(self) -> str:
        return f"<DeployForm {self._flow_name!r}>"


def _variable(flow: Any) -> str:
    """The name of the variable that holds a flow."""
    own: str = getattr(getattr(flow, "fn", flow), "__name__", "flow")
    names = [name for name, value in live.live_namespace().items() if value is flow and not name.startswith("_")]
    return own if own in names or not names else names[0]


def _ago(deployment: Deployment) -> str:
    made = deployment.updated or deployment.created
    return f"{distance((now() - made).total_seconds())} ago" if made else "before"


def _summary(flow: str, deployment: Deployment) -> str:
    parts = [f'<span class="millrace-good">✔</span> <b>{html.escape(f"{flow}/{deployment.name}")}</b>']
    if deployment.version:
        parts.append(f"version {html.escape(deployment.version[:8])}")
    active = [item.schedule for item in deployment.schedules if item.active]
    coming = [fire for schedule in active if (fire := schedule.next_after(now()))]
    parts += [html.escape(schedule.describe()) for schedule in active]
    if coming:
        first = min(coming)
        local = first.astimezone()
        other = f" ({first:%H:%M:%S} UTC)" if local.utcoffset() else ""
        parts.append(html.escape(f"next run {local:%a %d %b %H:%M:%S %Z}{other}"))
    return " · ".join(parts)


def deploy_form(target: Any, variable: str | None = None) -> DeployForm:
    """Open a form that deploys a flow or a notebook.

    Args:
        target: a `Flow`, or the path of a notebook.
        variable: what the flow is called in the code that the form prints.

    Returns:
        The form; `deployment_id` is set once Deploy was pressed.

    Example:
        >>> deploy_form(etl)                    # doctest: +SKIP
        >>> deploy_form("report.ipynb")         # doctest: +SKIP
    """
    form = DeployForm(target, variable)
    form.show()
    return form
