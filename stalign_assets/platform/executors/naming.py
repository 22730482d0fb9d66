"""Naming in a run's tags the process that carries it out, whoever started it: a server does not say on which machine.

With its process gone the run can be told dead at once, where Dagster's own watch would wait until it has lasted too
long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from stalign_assets.processes import own_tags

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._core.execution.step_dependency_config import StepDependencyConfig


def naming_process(definition: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """The same executor, but that each run names its process before its first step."""

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        make = definition.executor_creation_fn
        assert make is not None, definition.name
        return _Naming(make(context))

    return dg.ExecutorDefinition(
        name=definition.name,
        config_schema=definition.config_schema,  # type: ignore[arg-type]
        requirements=definition.get_requirements,
        executor_creation_fn=create,
        description=definition.description,
    )


class _Naming(dg.Executor):
    def __init__(self, executor: dg.Executor) -> None:
        self._executor = executor

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        run = plan_context.dagster_run
        own = own_tags(run.run_id)
        if not own.items() <= run.tags.items():
            plan_context.instance.add_run_tags(run.run_id, own)
        return self._executor.execute(plan_context, execution_plan)

    @property
    def retries(self) -> RetryMode:
        return self._executor.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self._executor.step_dependency_config
