"""Settings of what happens unattended, while ``stalign ui`` or a daemon of Dagster serves the study."""

from __future__ import annotations

from pydantic import Field, PositiveInt, field_validator

from stalign_core.errors import SettingsError
from stalign_core.settings.cron import cron_fault, is_timezone
from stalign_core.settings.section import Section


class AutomationSettings(Section):
    """When new samples are looked for, and when the cohort is integrated again."""

    watch: bool = Field(
        True, description="look for new and changed donors, and run their own assets; unattended, by the sensor"
    )
    watch_seconds: PositiveInt = Field(30, description="between two looks; files must stand still from one to the next")
    donor_scope: bool = Field(True, description="whether such a run integrates the donor alone, too")
    retry_hours: float = Field(
        20.0, ge=0, description="a donor whose run failed is tried again after so long, or once something of it changes"
    )
    integrate_at: str = Field(
        "0 3 * * *",
        description="when the cohort is integrated again if it is not up to date, as a cron expression (minute, hour, "
        'day of month, month, day of week); "" for never',
    )
    timezone: str = Field("UTC", description="time zone of integrate_at, such as Europe/Zurich")
    max_run_hours: float = Field(48.0, gt=0, description="an unattended run that lasts longer is ended")

    @field_validator("integrate_at", mode="after")
    @classmethod
    def _is_cron(cls, text: str) -> str:
        fault = cron_fault(text) if text else ""
        if fault:
            raise SettingsError(
                "automation.integrate_at",
                f"is '{text}', which {fault}",
                expected="five fields such as '0 3 * * *', at three each night",
            )
        return text

    @field_validator("timezone", mode="after")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if not is_timezone(name):
            raise SettingsError(
                "automation.timezone", f"is '{name}', which is no time zone", expected="UTC, Europe/Zurich or the like"
            )
        return name
