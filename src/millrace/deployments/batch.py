"""Several deployments in one call."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any
from uuid import UUID

from millrace import plugins, settings
from millrace.client.handle import Id
from millrace.deployments.deployment import RunnerDeployment
from millrace.engine.deployable import Deployable
from millrace.errors import InvalidInput, MillraceError, MissingWorkPool, NotFound
from millrace.schema.pools import WorkerFilter, WorkerQuery, WorkerStatus, WorkerStatusCondition, WorkPool
from millrace.suggestions import did_you_mean

_OWN_POOL = "default"


class Ids(list[UUID]):
    """The ids of the deployments that were made, in order. It can be awaited too, which changes nothing."""

    def __await__(self) -> Generator[Any, None, Ids]:
        yield from ()
        return self

    @property
    def first(self) -> Id:
        """The only one, where one was made."""
        return Id(str(self[0]))


def deploy(
    *deployments: RunnerDeployment,
    work_pool_name: str | None = None,
    image: Any = None,
    build: bool = True,
    push: bool = True,
    print_next_steps_message: bool = True,
    ignore_warnings: bool = False,
) -> Ids:
    """Create or replace deployments that the workers of a pool run.

    With several, one that fails does not stop the others: the table that is printed says how each went.

    Args:
        deployments: what `flow.to_deployment` and `RunnerDeployment.from_…` make.
        work_pool_name: the pool for those that name none; that of the settings when not given.
        image: the image of all of them, for pools that run containers: a name or a `DockerImage`. Without a Docker
            Engine the pool's own image and a package of the code are used, which is said.
        build: build the image, with the code in it; otherwise it is there already.
        push: push what was built.
        print_next_steps_message: say what to do next.
        ignore_warnings: do not say that nobody works for the pool, which job variables it does not take, nor which
            schedules lack a parameter.

    Returns:
        The ids of those that were made.

    Raises:
        InvalidInput: there is no such pool, the message lists those there are; it takes no image, or it needs one; two
            are of one flow and name.
        BuildFailed: the image could not be built.
        PushFailed: the image could not be pushed.
        NoEngine: no Docker Engine answers, and nothing else can take its place.
        MillraceError: whatever was wrong with the only one.

    Example:
        >>> deploy(etl.to_deployment("nightly", cron="0 3 * * *"), work_pool_name="default")  # doctest: +SKIP
    """
    require_deployments(deployments, "deploy")
    client = plugins.load("millrace.client.locate:connect")()
    wanted = [work_pool_name or one.work_pool_name or settings.current().work_pool for one in deployments]
    pools = {name: pool_of(client, name) for name in dict.fromkeys(wanted)}
    if not ignore_warnings:
        _warn_of_variables(deployments, [pools[name] for name in wanted])
        warn_of_missing_values(deployments)
    placing = plugins.load("millrace.deployments.placement:Placement")(image, build, push)
    placing.place([(one, pools[name]) for one, name in zip(deployments, wanted, strict=True)])
    ids = Ids()
    tell = _Told(client, deployments) if print_next_steps_message or len(deployments) > 1 else None
    made: dict[int, UUID] = {}
    problems: dict[int, MillraceError] = placing.problems
    placed = {number: (deployment, wanted[number]) for number, deployment in placing.placed.items()}
    known = plugins.load("millrace.deployments.together:applied")(client, placed, placing.image)
    for number, (deployment, pool) in placed.items():
        try:
            made[number] = known.get(number) or deployment.apply(work_pool_name=pool, image=placing.image)
            ids.append(made[number])
        except MillraceError as error:
            if len(deployments) == 1:
                raise
            problems[number] = error
    idle = [] if ignore_warnings else [name for name in pools if not _has_worker(client, name)]
    if tell is not None:
        tell.table(wanted, made, problems, idle, next_steps=print_next_steps_message and bool(ids))
    return ids


def require_deployments(given: Sequence[Any], what: str) -> None:
    """Refuse what are no deployments, and two of one flow and name, of which one would replace the other.

    Args:
        given: as given.
        what: the function they are given to.

    Raises:
        InvalidInput: the message says what to give.
    """
    if not given:
        raise InvalidInput(f"{what}() needs at least one deployment, as flow.to_deployment(…) makes it.")
    for one in given:
        if isinstance(one, RunnerDeployment):
            continue
        if isinstance(one, Deployable):
            raise InvalidInput(
                f"{what}() takes deployments of flows: {one.fn.__name__}.to_deployment('name') makes one of the flow "
                f"{one.name!r}."
            )
        hint = f" Give them one by one: {what}(*those)." if isinstance(one, list | tuple) else ""
        raise InvalidInput(f"{what}() takes deployments, as flow.to_deployment('name') makes them; got {one!r}.{hint}")
    names = [one.full_name for one in given]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidInput(f"Two of the deployments are {twice!r}: one would replace the other. Name one otherwise.")


class _Told:
    """What is printed of deployments, with what deploying changed of those that were there."""

    def __init__(self, client: Any, deployments: Sequence[RunnerDeployment]) -> None:
        self._client, self._deployments = client, deployments
        self._changes = plugins.load("millrace.deployments.changes")
        self._before = self._changes.stored(client, names=[one.name for one in deployments])

    def table(
        self,
        pools: Sequence[str],
        made: Mapping[int, UUID],
        problems: Mapping[int, MillraceError],
        idle: Sequence[str],
        *,
        next_steps: bool,
    ) -> None:
        after = self._changes.stored(self._client, ids=[id for id in made.values() if id in self._before])
        rows = []
        for number, (one, pool) in enumerate(zip(self._deployments, pools, strict=True)):
            note = self._changes.changed(made.get(number), self._before, after)
            rows.append((one.full_name, pool, problems.get(number), note))
        plugins.load("millrace.deployments.table:show")(rows, idle, next_steps=next_steps)


def _warn_of_variables(deployments: Sequence[RunnerDeployment], pools: Sequence[WorkPool]) -> None:
    if not any(one.job_variables for one in deployments):
        return
    unknown = plugins.load("millrace.deployments.pool_variables:unknown")
    warn = plugins.load("millrace.deployments.placement:warn")
    for deployment, pool in zip(deployments, pools, strict=True):
        if said := unknown(deployment.job_variables, pool):
            warn(f"{deployment.full_name}: {said}")


def warn_of_missing_values(deployments: Sequence[RunnerDeployment]) -> None:
    """Say which schedules start runs that can only fail, because a parameter without a default gets no value.

    Args:
        deployments: the deployments.
    """
    for one in deployments:
        required = one.parameter_openapi_schema.get("required", [])
        for schedule in one.schedules:
            given = {**one.parameters, **schedule.parameters}
            if missing := [name for name in required if name not in given]:
                plugins.load("millrace.deployments.placement:warn")(
                    f"{one.full_name}: its runs ({schedule.schedule.describe()}) will fail: the parameter "
                    f"{missing[0]!r} has no default and no value. Give parameters={{{missing[0]!r}: …}}."
                )
                break


def pool_of(client: Any, name: str) -> WorkPool:
    """The pool of this name.

    Args:
        client: the client.
        name: the pool's.

    Raises:
        MissingWorkPool: there is none; the message lists those there are.
    """
    try:
        pool: WorkPool = client.read_work_pool(name)
    except NotFound:
        known = [one.name for one in client.read_work_pools()]
        hint = did_you_mean(name, known, 1)
        listed = f"Work pools here: {', '.join(map(repr, known))}." if known else "There are no work pools here yet."
        raise MissingWorkPool(
            f"There is no work pool {name!r}.{hint} {listed} Create it first: millrace work-pool create {name!r}"
        ) from None
    return pool


def _has_worker(client: Any, pool: str) -> bool:
    if pool == _OWN_POOL and client.endpoint.runtime_file is not None:
        return True  # the embedded server keeps a worker for it, which may be just starting
    online = WorkerFilter(status=WorkerStatusCondition(any_=[WorkerStatus.ONLINE]))
    try:
        return bool(client.read_workers(pool, WorkerQuery(workers=online)))
    except MillraceError:
        return True
