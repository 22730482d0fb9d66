"""The schedule over the cohort: when it asks for a run, why it skips, and who takes part."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from stalign_assets.audit.ancestry import ancestry_of
from stalign_assets.audit.left_out import left_out_now
from stalign_assets.doctor.examination import examine
from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.materialise import Materialisation, Step, materialise
from stalign_assets.platform import assets
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.settings_file import set_value
from stalign_assets.unattended.attempts import STATE_TAG
from stalign_assets.wanted import joint_key
from stalign_core.errors import InputDataError
from stalign_core.store.refusals import refusal_of
from stalign_core.store.store import UNPARTITIONED
from tests.assets import bad_inputs as bad
from tests.automation.conftest import Unattended

pytestmark = pytest.mark.slow

DOMAINS = "cohort/uncorrected/domains"


def skipped(decision: dg.RunRequest | dg.SkipReason) -> str:
    assert isinstance(decision, dg.SkipReason), decision
    return str(decision.skip_message)


def asked(decision: dg.RunRequest | dg.SkipReason) -> dg.RunRequest:
    assert isinstance(decision, dg.RunRequest), decision
    return decision


def attempt_of(request: dg.RunRequest) -> int:
    return int(str(request.run_key).rsplit(":", 1)[1])


def donors_of_cohort(unattended: Unattended) -> tuple[str, ...]:
    return unattended.current(DOMAINS).manifest.donors


# When there is a run, and when there is none


def test_a_cohort_that_is_up_to_date_is_left_alone(unattended: Unattended) -> None:
    assert skipped(unattended.night()) == "the cohort of 2 donors is up to date"


def test_a_new_donor_is_waited_for_and_then_integrated_once(unattended: Unattended) -> None:
    donor = unattended.add_third()
    told = skipped(unattended.night())
    assert told.startswith(f"the cohort waits for {donor}, whose raw_samples is changed (")
    assert ": is new or has changed" in told
    (own,) = unattended.requests()
    assert unattended.carry_out(own)
    request = asked(unattended.night())
    assert request.partition_key is None
    selected = {key.to_user_string() for key in request.asset_selection}
    assert DOMAINS in selected and all(asset.startswith("cohort/") for asset in selected)
    assert request.run_key == f"cohort:{request.tags[STATE_TAG]}:1"
    assert unattended.carry_out(request)
    assert donors_of_cohort(unattended) == ("P01", "P02", donor)
    assert skipped(unattended.night()) == "the cohort of 3 donors is up to date"


def test_a_run_at_work_on_the_cohort_is_not_doubled_whoever_started_it(unattended: Unattended) -> None:
    set_value(unattended.folder / "study.toml", "domains", "refine_neighbors", 4)
    assert attempt_of(asked(unattended.night())) == 1
    job = unattended.definitions().resolve_implicit_global_asset_job_def()
    selection = frozenset({dg.AssetKey(DOMAINS.split("/"))})
    run = unattended.instance.create_run_for_job(
        job.get_subset(asset_selection=selection), status=dg.DagsterRunStatus.STARTED, asset_selection=selection
    )
    assert skipped(unattended.night()) == f"run {run.run_id[:8]} is integrating the cohort"
    unattended.instance.report_run_failed(run)
    assert attempt_of(asked(unattended.night())) == 1


def test_a_failed_attempt_is_tried_again_the_next_night(
    unattended: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_value(unattended.folder / "study.toml", "domains", "refine_neighbors", 4)
    first = asked(unattended.night())
    with monkeypatch.context() as patch:
        patch.setattr(assets, "materialise", failing_at(DOMAINS))
        assert not unattended.carry_out(first)
    second = asked(unattended.night())
    assert second.tags[STATE_TAG] == first.tags[STATE_TAG]
    assert (attempt_of(first), attempt_of(second)) == (1, 2)
    assert unattended.carry_out(second)
    assert skipped(unattended.night()) == "the cohort of 2 donors is up to date"


def test_damage_that_doctor_moved_aside_is_made_again_and_the_cohort_waits_no_longer(unattended: Unattended) -> None:
    unattended.look()
    assert "nothing has changed" in str(unattended.look().skip_reason)
    path = stored_file(unattended, "gene_statistics", "P01")
    path.write_bytes(path.read_bytes()[:100])
    repaired = list(examine(unattended.study, repair=True))
    assert {told.kind for told in repaired} == {"artifact", "pointer"}
    told = skipped(unattended.night())
    assert told.startswith("the cohort waits for P01, whose gene_statistics is missing")
    assert unattended.settle() == ["P01"]
    assert skipped(unattended.night()) == "the cohort of 2 donors is up to date"
    # What is lost again is made again at once: that the run for it succeeded is known.
    shutil.rmtree(stored_file(unattended, "gene_statistics", "P01").parent)
    assert unattended.settle() == ["P01"]
    path = stored_file(unattended, "gene_statistics", "P01").with_name("manifest.json")
    path.write_bytes(path.read_bytes()[:100])
    assert unattended.settle() == ["P01"]


def test_other_bytes_in_a_donors_artifact_fail_one_night_and_are_made_again_for_the_next(
    unattended: Unattended,
) -> None:
    path = stored_file(unattended, "gene_statistics", "P01")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    set_value(unattended.folder / "study.toml", "expression", "n_top_genes", 120)
    assert unattended.settle() == []
    first = asked(unattended.night())
    assert not unattended.carry_out(first)
    (aside,) = unattended.study.store.set_aside()
    assert "gene_statistics/P01" in str(aside)
    assert unattended.settle() == ["P01"]
    assert stored_file(unattended, "gene_statistics", "P01").read_bytes() == whole
    second = asked(unattended.night())
    assert second.tags[STATE_TAG] == first.tags[STATE_TAG]


def stored_file(unattended: Unattended, asset: str, donor: str) -> Path:
    """A file of the artifact in force."""
    artifact = unattended.current(asset, donor)
    return artifact.file(next(iter(artifact.manifest.files)))


def failing_at(asset: str) -> Callable[[Step], Materialisation]:
    def fail_or_materialise(step: Step) -> Materialisation:
        if step.recipe.asset == asset:
            raise InputDataError(asset, "was told to fail")
        return materialise(step)

    return fail_or_materialise


def test_a_state_that_returns_is_recognised_and_computed_from_nothing(unattended: Unattended) -> None:
    settings = unattended.folder / "study.toml"
    before = unattended.current(DOMAINS).manifest.input_key
    requests = []
    for n_neighbors in (4, 6, 4):
        set_value(settings, "domains", "refine_neighbors", n_neighbors)
        requests.append(asked(unattended.night()))
        assert unattended.carry_out(requests[-1])
        if n_neighbors == 6:
            assert unattended.current(DOMAINS).manifest.input_key == before
            assert unattended.metadata(DOMAINS)["reused"] is True
            n_computed = len(list(unattended.study.store.artifacts()))
    assert len(list(unattended.study.store.artifacts())) == n_computed
    assert [attempt_of(request) for request in requests] == [1, 1, 2]
    assert requests[0].tags[STATE_TAG] == requests[2].tags[STATE_TAG] != requests[1].tags[STATE_TAG]


def test_the_schedule_and_the_command_agree(unattended: Unattended) -> None:
    set_value(unattended.folder / "study.toml", "domains", "refine_neighbors", 4)
    unattended.add_third()
    assert bring_up_to_date(Request.parse(unattended.folder, scopes="cohort")).success
    assert skipped(unattended.night()) == "the cohort of 3 donors is up to date"
    unattended.write_rows(unattended.rows()[:2])
    assert unattended.carry_out(asked(unattended.night()))
    assert bring_up_to_date(Request.parse(unattended.folder, scopes="cohort")).n_computed == 0


def test_a_sheet_that_cannot_stand_skips_the_night_with_its_line(unattended: Unattended) -> None:
    (unattended.folder / "samples.csv").write_text("sample,donor\n")
    assert "samples.csv, row 1: misses the column path" in skipped(unattended.night())


def test_there_is_no_schedule_where_the_settings_name_no_time(unattended: Unattended) -> None:
    settings = unattended.folder / "study.toml"
    set_value(settings, "automation", "integrate_at", "30 1 * * sun")
    set_value(settings, "automation", "timezone", "Europe/Zurich")
    (schedule,) = unattended.definitions().schedules or ()
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 1 * * sun", "Europe/Zurich")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    set_value(settings, "automation", "integrate_at", "")
    assert not unattended.definitions().schedules


# Who takes part


def test_donors_that_fail_are_left_out_by_name_and_let_back_in(unattended: Unattended) -> None:
    """One donor's file cannot be read, another's sample has too few spots; both come back once they are mended."""
    donor = unattended.add_third()
    bad.truncate_image(bad.Files(unattended.data, "P03_S1"))
    bad.take_off_tissue(30)(bad.Files(unattended.data, "P02_S1"))
    assert sorted(unattended.settle()) == ["P02", donor]
    assert unattended.carry_out(asked(unattended.night()))
    assert donors_of_cohort(unattended) == ("P01",)
    left_out = unattended.metadata(DOMAINS)["donors_left_out"]
    assert left_out == dict(unattended.current(DOMAINS).manifest.donors_left_out)
    assert left_out["P02"] == "sample P02_S1 has 30 spots, fewer than the 50 of input.min_spots"
    assert "P03_S1.tif: is incomplete" in left_out[donor]
    told = skipped(unattended.night())
    assert told.startswith("the cohort of 1 donors is up to date; P02 is left out: sample P02_S1 has 30 spots")
    # Neither is asked for again while it stays as it is.
    assert unattended.settle() == []

    unattended.mend()
    assert sorted(unattended.settle()) == ["P02", donor]
    assert unattended.carry_out(asked(unattended.night()))
    assert donors_of_cohort(unattended) == ("P01", "P02", donor)
    assert "donors_left_out" not in unattended.metadata(DOMAINS)


def test_a_bad_donor_that_comes_changes_nothing_for_the_others_and_is_named_all_the_same(
    unattended: Unattended,
) -> None:
    donor = unattended.add_third()
    bad.truncate_image(bad.Files(unattended.data, "P03_S1"))
    before = unattended.current(DOMAINS).manifest.input_key
    report = bring_up_to_date(Request.parse(unattended.folder, scopes="cohort"))
    assert report.exit_code == 2
    assert list(report.donors_left_out) == [donor]
    assert unattended.current(DOMAINS).manifest.input_key == before
    n_artifacts = len(list(unattended.study.store.artifacts()))
    assert "donors_left_out" not in unattended.metadata(DOMAINS)
    study = unattended.study
    ancestry = ancestry_of(study.store, unattended.current(DOMAINS))
    assert left_out_now(study, recipes_of(study.settings), ancestry) == report.donors_left_out
    assert unattended.carry_out(asked(unattended.night()))
    assert unattended.metadata(DOMAINS)["reused"] is True
    assert unattended.metadata(DOMAINS)["donors_left_out"] == report.donors_left_out
    assert len(list(unattended.study.store.artifacts())) == n_artifacts
    assert f"up to date; {donor} is left out: " in skipped(unattended.night())


def test_a_donor_that_is_left_out_for_another_reason_is_named_with_that(unattended: Unattended) -> None:
    donor = unattended.add_third()
    bad.take_off_tissue(30)(bad.Files(unattended.data, "P03_S1"))
    assert unattended.settle() == [donor]
    assert unattended.carry_out(asked(unattended.night()))
    assert f"{donor} is left out: sample P03_S1 has 30 spots" in skipped(unattended.night())
    bad.truncate_image(bad.Files(unattended.data, "P03_S1"))
    assert unattended.settle() == [donor]
    assert unattended.carry_out(asked(unattended.night()))
    assert "P03_S1.tif: is incomplete" in unattended.metadata(DOMAINS)["donors_left_out"][donor]
    assert "P03_S1.tif: is incomplete" in skipped(unattended.night())


def test_a_known_donor_that_can_no_longer_be_read_is_left_out_and_not_taken_as_it_was(unattended: Unattended) -> None:
    bad.truncate_counts(bad.Files(unattended.data, "P02_S1"))
    report = bring_up_to_date(Request.parse(unattended.folder, scopes="cohort"))
    assert len(report.bad_input) == 1 and "P02_S1/filtered_feature_bc_matrix.h5: cannot be read" in report.bad_input[0]
    assert donors_of_cohort(unattended) == ("P01",)
    unattended.mend()
    # The same bytes are back: nothing is computed, but that they can be read has to be found.
    report = bring_up_to_date(Request.parse(unattended.folder, scopes="cohort"))
    assert (report.exit_code, report.n_computed) == (0, 0)
    assert refusal_of(unattended.study.store, "raw_samples", "P02") is None
    assert donors_of_cohort(unattended) == ("P01", "P02")


def test_a_known_donor_whose_files_are_gone_leaves_the_cohort_by_name_and_comes_back(unattended: Unattended) -> None:
    both = unattended.current(DOMAINS).manifest
    section = unattended.data / "P02_S1"
    away = section.rename(unattended.data / "archived")
    told = skipped(unattended.night())
    assert told.startswith("the cohort waits for P02, whose raw_samples is fault (")
    assert f"row 3, path: {section} does not exist" in told
    assert unattended.settle() == ["P02"]
    assert unattended.carry_out(asked(unattended.night()))
    assert donors_of_cohort(unattended) == ("P01",)
    left_out = unattended.metadata(DOMAINS)["donors_left_out"]
    assert list(left_out) == ["P02"] and f"{section} does not exist" in left_out["P02"]
    assert skipped(unattended.night()) == f"the cohort of 1 donors is up to date; P02 is left out: {left_out['P02']}"

    away.rename(section)
    n_computed = len(list(unattended.study.store.artifacts()))
    assert unattended.settle() == ["P02"]
    assert unattended.carry_out(asked(unattended.night()))
    assert unattended.current(DOMAINS).manifest == both
    assert len(list(unattended.study.store.artifacts())) == n_computed


def test_an_error_that_is_not_the_donors_own_holds_the_cohort_back(
    unattended: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing weights or a full disk tell nothing of a donor: to leave it out would shrink the cohort unnoticed."""
    set_value(unattended.folder / "study.toml", "encoders", "texture", {"model": "inception_v3", "weights": "gone.pth"})
    before = donors_of_cohort(unattended)
    report = bring_up_to_date(Request.parse(unattended.folder, scopes="cohort"))
    assert report.exit_code == 2
    assert all("gone.pth" in line for line in report.bad_input)
    assert report.donors_left_out == {}
    assert donors_of_cohort(unattended) == before
    told = skipped(unattended.night())
    assert told.startswith(
        "the cohort waits for P01, whose morphology_embeddings/texture is fault (encoders.texture.weights"
    )


def test_retired_donors_leave_the_cohort_and_come_back_as_they_were(unattended: Unattended) -> None:
    both = unattended.current(DOMAINS).manifest
    first, second = unattended.rows()
    unattended.write_rows([first, {**second, "retired": "yes"}])
    assert unattended.settle() == []
    assert unattended.carry_out(asked(unattended.night()))
    alone = unattended.current(DOMAINS).manifest
    assert alone.donors == ("P01",)
    assert alone.data_version != both.data_version
    assert unattended.metadata(DOMAINS)["donors_left_out"] == {"P02": "is retired in samples.csv"}
    assert skipped(unattended.night()) == "the cohort of 1 donors is up to date"
    assert set(unattended.instance.get_dynamic_partitions("donors")) == {"P01", "P02"}
    assert bring_up_to_date(Request.parse(unattended.folder, scopes="cohort")).exit_code == 0

    unattended.write_rows([first])
    assert skipped(unattended.night()) == "the cohort of 1 donors is up to date", "a removed row retires as well"

    unattended.write_rows([first, second])
    n_computed = len(list(unattended.study.store.artifacts()))
    assert unattended.settle() == []
    assert unattended.carry_out(asked(unattended.night()))
    assert unattended.current(DOMAINS).manifest == both
    assert len(list(unattended.study.store.artifacts())) == n_computed


# The key of the cohort


def test_the_joint_key_follows_from_what_the_cohort_is_made_from_and_from_nothing_else(unattended: Unattended) -> None:
    def key() -> str:
        study = unattended.study
        recipes = recipes_of(study.settings)
        cohort = [asset for asset in recipes if asset.startswith("cohort/")]
        return joint_key(study, recipes, cohort, UNPARTITIONED)

    settings = unattended.folder / "study.toml"
    before = key()
    for section, name, other, back in (
        ("domains", "refine_neighbors", 4, 6),
        ("expression", "n_top_genes", 120, 150),
        ("automation", "watch_seconds", 5, 30),
    ):
        set_value(settings, section, name, other)
        assert (key() == before) is (section == "automation"), name
        set_value(settings, section, name, back)
        assert key() == before
    set_value(settings, "expression", "n_top_genes", 120)
    assert unattended.carry_out(asked(unattended.night()))
    set_value(settings, "expression", "n_top_genes", 150)
    assert key() == before, "what was made meanwhile does not count"
    unattended.write_rows(unattended.rows()[:1])
    assert key() != before
