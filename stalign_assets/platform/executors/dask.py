"""The engine ``dask``: dagster-dask, with Dagster's own account of which steps are ready, failed or never to be run.

dagster-dask 0.29 hands Dask all steps of a run at once, which has five faults here. Dask of today refuses the
arguments of any run that has a pool. The names of tasks are the same in every run, so that a cluster gives a second run
the results of the first (https://github.com/dagster-io/dagster/issues/21418). A step below a failed one is carried out
all the same. The results of finished steps stay on the workers, so that a worker's death has them computed again. And a
step that no worker can take is waited for without end or word. So steps are submitted here one by one as they become
ready, by dagster-dask's own function and tags.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from dagster import multiple_process_executor_requirements
from dagster._core.code_pointer import CustomPointer
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.plan.active import ActiveExecution
from dagster_dask.executor import DaskExecutor, get_dask_resource_requirements, query_on_dask_worker
from dagster_shared.error import SerializableErrorInfo

from stalign_assets.platform.executors.dask_cluster import (
    check_offers,
    cluster_of,
    connected,
    offers,
    start_words,
    workers_of,
)
from stalign_assets.reporting import TOLD
from stalign_assets.runs import reconstructable_job
from stalign_assets.study import STUDY_VARIABLE, study_folder, study_of_run
from stalign_core.settings import ExecutionSettings

if TYPE_CHECKING:
    from dagster._core.definitions.reconstruct import ReconstructableJob
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.plan.step import ExecutionStep
    from dagster._core.executor.init import InitExecutorContext
    from distributed import Client, Future

_LOOK_EVERY_SECONDS: Final = 1.0


def dask_executor_of(execution: ExecutionSettings) -> dg.ExecutorDefinition:
    """The executor that hands each step of a run to a worker of the settings' cluster."""

    @dg.executor(name="dask", requirements=multiple_process_executor_requirements())
    def dask(_: InitExecutorContext) -> StudyDaskExecutor:
        return StudyDaskExecutor(execution)

    return dask


class StudyDaskExecutor(DaskExecutor):  # type: ignore[misc]
    """dagster-dask's executor, but for what the head of this file tells of it."""

    def __init__(self, execution: ExecutionSettings) -> None:
        super().__init__("existing", {"address": execution.dask.address})  # type: ignore[no-untyped-call]
        self._execution = execution

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """Carry out the steps of a run.

        Raises
        ------
        SettingsError
            If the cluster cannot be reached or started, or its workers do not fit the settings.
        """
        seconds = self._execution.dask.connect_seconds
        with cluster_of(self._execution) as address, connected(address, seconds) as client:
            check_offers(workers_of(client), self._execution)
            steps = _StepsAtWork(client, plan_context, self._execution.dask.worker_seconds)
            with ActiveExecution(execution_plan, retry_mode=self.retries) as active:
                while not active.is_complete:
                    if active.check_for_interrupts():
                        yield _interruption(plan_context, steps.keys)
                        active.mark_interrupted()
                        steps.forget_all()
                        raise DagsterExecutionInterruptedError
                    for step in active.get_steps_to_execute():
                        steps.submit(step, active)
                    yield from steps.tell_waits()
                    for key, outcome in steps.ended():
                        yield from self._account(plan_context, active, key, outcome)
                    yield from active.plan_events_iterator(plan_context)

    def _account(
        self,
        plan_context: PlanOrchestrationContext,
        active: ActiveExecution,
        key: str,
        outcome: list[DagsterEvent] | str,
    ) -> Iterator[DagsterEvent]:
        """Take in the events of a step that ended, or why it has none."""
        if isinstance(outcome, str):
            step_context = plan_context.for_step(active.get_step_by_key(key))
            error = SerializableErrorInfo(outcome, [], cls_name=None)
            outcome = [self.log_failure_or_retry_event_after_error(step_context, error, active.get_known_state())]
        for event in outcome:
            yield event
            active.handle_event(event)
        active.verify_complete(plan_context, key)


class _StepsAtWork:
    """The steps of a run that Dask was given and has not handed back."""

    def __init__(self, client: Client, plan_context: PlanOrchestrationContext, worker_seconds: float) -> None:
        self._client = client
        self._plan_context = plan_context
        self._worker_seconds = worker_seconds
        self._job = _job_for_workers(plan_context)
        self._futures: dict[str, Future[Any]] = {}
        self._needs: dict[str, Mapping[str, float]] = {}
        self._without_worker_since: dict[str, float] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    @property
    def keys(self) -> list[str]:
        """Keys of the steps."""
        return list(self._futures)

    def submit(self, step: ExecutionStep, active: ActiveExecution) -> None:
        """Give a step to Dask, under a name that no step of another run has."""
        run = self._plan_context.dagster_run
        self._needs[step.key] = get_dask_resource_requirements(step.tags)
        # Bound beforehand: Dask looks through plain arguments for tasks, and a run with a pool refuses that.
        on_worker = partial(
            _events_on_worker,
            dependencies=[],
            recon_job=self._job,
            dagster_run=run,
            run_config=self._plan_context.run_config,
            step_keys=[step.key],
            instance_ref=self._plan_context.instance.get_ref(),
            known_state=active.get_known_state(),
        )
        name = f"{step.key}-{run.run_id}"
        future = self._client.submit(on_worker, key=name, resources=self._needs[step.key])
        self._futures[step.key] = future
        future.add_done_callback(lambda _, key=step.key: self._ended.put(key))  # type: ignore[no-untyped-call]

    def ended(self) -> Iterator[tuple[str, list[DagsterEvent] | str]]:
        """Steps that ended, at the latest after a second: their events, or one line that says why there are none."""
        try:
            key = self._ended.get(timeout=_LOOK_EVERY_SECONDS)
        except queue.Empty:
            yield from self._given_up()
            return
        future = self._futures.pop(key, None)
        if future is not None:
            yield key, _outcome(future)

    def tell_waits(self) -> Iterator[DagsterEvent]:
        """Say, once for each step, that no worker offers what it asks for."""
        workers = workers_of(self._client).values() if self._client.status == "running" else ()
        for key in self._futures:
            if any(offers(worker, self._needs[key]) for worker in workers):
                self._without_worker_since.pop(key, None)
            elif key not in self._without_worker_since:
                self._without_worker_since[key] = time.monotonic()
                line = f"waiting for a Dask worker that offers {_named(self._needs[key])}, for {key}"
                yield DagsterEvent.engine_event(self._plan_context, line, EngineEventData(metadata={TOLD: True}))

    def forget_all(self) -> None:
        """Let Dask drop what has not begun; what a worker is at work on it ends, and its artifact is kept."""
        self._client.cancel(list(self._futures.values()))  # type: ignore[no-untyped-call]
        self._futures.clear()

    def _given_up(self) -> Iterator[tuple[str, str]]:
        """Steps that have had no worker for too long."""
        now = time.monotonic()
        for key, since in list(self._without_worker_since.items()):
            if now - since >= self._worker_seconds and key in self._futures:
                self._client.cancel([self._futures.pop(key)])  # type: ignore[no-untyped-call]
                needed = list(self._needs[key])
                yield (
                    key,
                    f"no Dask worker has offered {_named(self._needs[key])} for {self._worker_seconds:.0f} s; "
                    f"start one with: {start_words(needed)}; then run again",
                )


@dataclass(frozen=True)
class _Events:
    """Events of a step; Dask, which weighs lists by what they hold, would complain of them as they are."""

    events: Sequence[DagsterEvent]


def _events_on_worker(**arguments: Any) -> _Events:
    """On a worker: carry a step out."""
    return _Events(query_on_dask_worker(**arguments))


def _job_for_workers(plan_context: PlanOrchestrationContext) -> ReconstructableJob:
    """The job as a worker can make it.

    A run that the server began names a module, which on a worker knows neither the study nor its settings of today.
    """
    job = plan_context.reconstructable_job
    if isinstance(job.repository.pointer, CustomPointer) or STUDY_VARIABLE not in os.environ:
        return job
    return reconstructable_job(study_of_run(study_folder(), plan_context.dagster_run.run_id))


def _outcome(future: Future[Any]) -> list[DagsterEvent] | str:
    """Events of a step, or why its worker could not end it."""
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        result: _Events = future.result()
    except FutureCancelledError as error:
        return f"the Dask scheduler dropped it ({error.reason}); run again once the scheduler is back"
    except KilledWorker as error:
        times = error.allowed_failures + 1
        return f"{times} Dask workers died at it, such as for want of memory; see their logs, and their --memory-limit"
    except Exception as error:  # a worker may fail in any way before Dagster takes the step over
        return f"the Dask worker failed ({type(error).__name__}: {error})"
    finally:
        future.release()  # type: ignore[no-untyped-call]
    return list(result.events)


def _interruption(plan_context: PlanOrchestrationContext, keys: list[str]) -> DagsterEvent:
    return DagsterEvent.engine_event(
        plan_context,
        "Dask executor: interrupted; workers end the steps they have begun",
        EngineEventData.interrupted(keys),
    )


def _named(needed: Mapping[str, float]) -> str:
    return " and ".join(needed) if needed else "itself"
