"""The settings of a study: defaults, the file that is written for people, and one line for each fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stalign_assets.settings_file import set_value, settings_text
from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.errors import SettingsError
from stalign_core.settings import STUDY_VERSION, Settings, parse_settings, read_settings

RICH: dict[str, Any] = {
    "seed": 7,
    "store": "s3://bucket/study",
    "expression": {"n_components": 12, "target_sum": 5000, "scaling": "sample"},
    "encoders": {"texture": {}, "vit": {"model": "timm:test_vit", "weights": "weights.safetensors"}},
    "representations": {"model": {"obsm": "X_model", "file": "embeddings/{sample}.h5ad"}},
    "aestetik": {"window": 3, "morphology_weight": 0},
    "domains": {"n_domains": {"P01": 4, "cohort": 6}, "ignored_labels": ["undetermined", 'fold "a"']},
    "variants": {
        "plain": {"correction": "uncorrected"},
        "other.one": {"representation": "model", "encoder": "vit", "aestetik": {"window": 7, "reconstruction": "mse"}},
    },
}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def fault_of(tmp_path: Path, text: str) -> SettingsError:
    path = written(tmp_path / "study.toml", text)
    with pytest.raises(SettingsError) as caught:
        read_settings(path)
    assert "\n" not in caught.value.line
    assert caught.value.where.startswith(str(path))
    assert caught.value.expected or caught.value.remedy or "is not valid TOML" in caught.value.problem
    return caught.value


def test_an_empty_file_gives_the_defaults_of_the_method(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path / "study.toml", ""))
    assert settings == Settings()
    assert list(settings.variants) == ["uncorrected", "harmony", "scanorama", "scvi"]
    assert (settings.expression.n_top_genes, settings.expression.n_components) == (3000, 20)
    assert (settings.aestetik.window, settings.aestetik.morphology_weight) == (5, 1.5)
    assert (settings.domains.n_domains, settings.domains.clusterer) == ("annotation", "tied")


@pytest.mark.parametrize("table", [{}, RICH], ids=["defaults", "everything changed"])
def test_the_written_file_reads_as_the_same_settings(tmp_path: Path, table: dict[str, Any]) -> None:
    settings = parse_settings(table)
    assert read_settings(written(tmp_path / "study.toml", settings_text(settings))) == settings


def test_the_written_file_names_and_explains_every_setting() -> None:
    text = settings_text(Settings())
    for line in (
        "study_version = 1 # layout",
        "min_spots = 50 # a section with fewer spots fails its check",
        '# weights = ""  # local checkpoint',
        "window = 5 # Side of the neighbourhood grid, in cells; odd, 1 to 9. 1 means no spatial context\n",
        'reconstruction = "l1" # "l1" as the reference program has it, "mse" as the paper has it\n',
    ):
        assert line in text


def test_every_value_of_the_written_file_has_its_comment() -> None:
    bare, of_table = [], False
    for line in filter(None, settings_text(Settings()).splitlines()):
        if line.startswith("["):
            of_table = "] # " in line
        elif not line.startswith("#") and "#" not in line and not of_table:
            bare.append(line)
    assert bare == []


def test_a_table_of_free_names_has_its_comment_in_its_head() -> None:
    assert "[benchmark.model_seeds] # seeds of a costly model, instead of all\nreference = [0]\n" in settings_text(
        Settings()
    )


def test_settings_survive_json_which_a_run_keeps_them_as() -> None:
    settings = parse_settings(RICH)
    assert parse_settings(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("text", "setting", "problem", "expected"),
    [
        ("colour = 1", "colour", "is not a setting", ""),
        ("[expression]\nn_component = 3", "expression.n_component", "is not a setting", ""),
        ("[aestetik]\nwindw = 3", "aestetik.windw", "is not a setting", ""),
        ('[expression]\nn_components = "20"', "expression.n_components", "is '20'", "a whole number"),
        ("[expression]\nn_components = true", "expression.n_components", "is true", "a whole number"),
        ("[expression]\nn_components = 20.0", "expression.n_components", "is 20.0", "a whole number"),
        ("[expression]\nn_components = 0", "expression.n_components", "is 0", "a number greater than 0"),
        ("[expression]\ntarget_sum = inf", "expression.target_sum", "is inf", "a finite number"),
        ("[expression]\nscaling = 'all'", "expression.scaling", "is 'all'", "'auto', 'cohort' or 'sample'"),
        ("seed = -1", "seed", "is -1", "a number greater than or equal to 0"),
        ('store = ""', "store", "is ''", "a text that is not empty"),
        ("input = 5", "input", "is 5", "a table of settings"),
        ('[domains]\nrefine = "yes"', "domains.refine", "is 'yes'", "true or false"),
        ('[domains]\nignored_labels = "x"', "domains.ignored_labels", "is 'x'", "a list"),
        ('[domains]\nignored_labels = ["x", 3]', "domains.ignored_labels.1", "is 3", "a text in quotes"),
        ("[metrics]\nbio_weight = 1.5", "metrics.bio_weight", "is 1.5", "a number less than or equal to 1"),
        (
            "[morphology]\nstain_normalisation = 'macenco'",
            "morphology.stain_normalisation",
            "is 'macenco'",
            "'none', 'macenko' or",
        ),
        ("[aestetik]\nwindow = 4", "aestetik.window", "is 4", "an odd number from 1 to 9"),
        ("[aestetik]\nwindow = 11", "aestetik.window", "is 11", "an odd number from 1 to 9"),
        ("[aestetik]\nwindow = '5'", "aestetik.window", "is '5'", "a whole number"),
        ("[aestetik]\nlearning_rate = nan", "aestetik.learning_rate", "is nan", "a finite number"),
        ("[aestetik]\nreconstruction = 'l3'", "aestetik.reconstruction", "is 'l3'", "one of 'l1', 'mse'"),
        ("aestetik = 5", "aestetik", "is 5", "a table of settings"),
        ("[variants.a]\ncorrection = 'combat'", "variants.a.correction", "is 'combat'", "one of uncorrected, harmony"),
        ("[variants.a]\nencoder = 'uni'", "variants.a.encoder", "'uni' is not an encoder", "one of texture"),
        ("[encoders.e]\nmodel = 'inception_v4'", "encoders.e.model", "'inception_v4' is not", "texture, inception_v3"),
        (
            "[encoders.e]\nmodel = 'uni2_h'\nweights = 'w.pth'\nrevision = 'abc'",
            "encoders.e.revision",
            "is set beside weights",
            "",
        ),
        ("[variants.a]\nrepresentation = 'm'", "variants.a.representation", "'m' is not a repr", "one of pca"),
        ("[variants.a.aestetik]\nwindow = 4", "variants.a.aestetik.window", "is 4", "an odd number from 1 to 9"),
        ("[variants.a.aestetik]\nwindw = 4", "variants.a.aestetik.windw", "is not a setting", ""),
        ("[variants.'a/b']", "variants.a/b", "is not a safe name", "up to 64 letters"),
        ("variants = {}", "variants", "is empty", "one or more"),
        ("[representations.m]", "representations.m.obsm", "is missing", "a value"),
        ("[representations.pca]\nobsm = 'X'", "representations.pca", "takes a built-in name", ""),
        (
            "[representations.m]\nobsm = 'X'\n[variants.a]\nrepresentation = 'm'\ncorrection = 'scvi'",
            "variants.a.correction",
            "scvi learns from counts",
            "uncorrected, harmony or scanorama",
        ),
        (
            f"study_version = {STUDY_VERSION + 1}",
            "study_version",
            f"is {STUDY_VERSION + 1}, made by a newer",
            "at most",
        ),
        ('study_version = "2"', "study_version", "is '2'", "a whole number"),
    ],
)
def test_a_setting_that_cannot_stand_is_named_with_what_was_expected(
    tmp_path: Path, text: str, setting: str, problem: str, expected: str
) -> None:
    error = fault_of(tmp_path, text)
    assert error.where == f"{tmp_path / 'study.toml'}, {setting}"
    assert error.problem.startswith(problem)
    assert error.expected.startswith(expected)


@pytest.mark.parametrize("k", ["0", "-3", '"abc"', '"7"', "true", "2.5", "[3]", "{P01 = 0}", '{P01 = "5"}'])
def test_a_k_that_no_clustering_can_have_is_one_line(tmp_path: Path, k: str) -> None:
    error = fault_of(tmp_path, f"[domains]\nn_domains = {k}")
    assert error.where.endswith(", domains.n_domains")
    assert error.expected == "a whole number above 0, 'annotation', or a table of such per donor"


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("sed = 1", "seed"),
        ("[expresion]", "expression"),
        ("[expression]\nn_top_gene = 1", "n_top_genes"),
        ("[aestetik]\nwindw = 3", "window"),
        ("[variants.mine]\ncorection = 'harmony'", "correction"),
        ("[correction.harmony]\ntheta = 1.0\ncolour = 1", ""),
    ],
)
def test_a_misspelt_setting_is_told_what_it_may_have_meant(tmp_path: Path, text: str, likely: str) -> None:
    hint = f"; did you mean {likely}?" if likely else ""
    assert fault_of(tmp_path, text).remedy == f"remove it or correct its spelling{hint}"


def test_auto_is_no_value_but_an_option_of_run(tmp_path: Path) -> None:
    assert "--n-domains auto" in fault_of(tmp_path, "[domains]\nn_domains = 'auto'").remedy


def test_the_first_fault_says_how_many_more_there_are(tmp_path: Path) -> None:
    error = fault_of(tmp_path, "seed = -1\n[input]\nmin_spots = 0\nmin_genes = 0")
    assert error.line.endswith("(and 2 more)")


def test_a_file_that_is_none_or_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist; make it with 'stalign init'"):
        read_settings(tmp_path / "study.toml")
    assert "is not valid TOML" in fault_of(tmp_path, "[input").problem
    assert "at line 2" in fault_of(tmp_path, "seed = 1\nseed = 2\n").problem
    again = fault_of(tmp_path, "[downstream]\nfdr = 0.1\n[input]\n[downstream]\nnetwork = 'p.csv'\n")
    assert again.remedy == "it stands in the file already: change it there instead of adding it again"
    (tmp_path / "study.toml").write_bytes(b"seed = 1 # \xe9")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        read_settings(tmp_path / "study.toml")


def test_k_per_donor_leaves_the_others_to_their_labels() -> None:
    settings = parse_settings({"domains": {"n_domains": {"P01": 4, "cohort": 6}}})
    assert settings.n_domains_of("P01") == 4
    assert settings.n_domains_of("cohort") == 6
    assert settings.n_domains_of("P02") == "annotation"
    assert parse_settings({"domains": {"n_domains": 5}}).n_domains_of("P02") == 5


def test_a_variant_changes_the_model_for_itself_alone() -> None:
    settings = parse_settings(RICH)
    assert settings.aestetik_of("plain") == AestetikSettings(window=3, morphology_weight=0)
    assert settings.aestetik_of("other.one") == AestetikSettings(window=7, morphology_weight=0, reconstruction="mse")


def test_a_whole_number_where_a_fraction_may_stand_is_the_same_setting() -> None:
    whole, fraction = (parse_settings({"aestetik": {"morphology_weight": weight}}) for weight in (2, 2.0))
    assert repr(whole.aestetik) == repr(fraction.aestetik)


def test_a_misspelt_encoder_is_told_what_was_perhaps_meant(tmp_path: Path) -> None:
    error = fault_of(tmp_path, "[encoders.e]\nmodel = 'uni2h'")
    assert error.line.endswith(
        "encoders.e.model: 'uni2h' is not an encoder; "
        "expected texture, inception_v3, uni2_h or timm:<model name>; did you mean 'uni2_h'?"
    )
    assert fault_of(tmp_path, "[encoders.e]\nmodel = 'something'").remedy == ""


def test_an_empty_path_of_weights_means_none() -> None:
    encoder = parse_settings({"encoders": {"texture": {"weights": "", "revision": ""}}}).encoders["texture"]
    assert (encoder.weights, encoder.revision) == (None, None)


def test_changing_a_value_keeps_comments_and_a_refused_one_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "study.toml", settings_text(Settings()) + "# my own note\n")
    set_value(path, "domains", "n_domains", 7)
    text = path.read_text()
    assert read_settings(path).domains.n_domains == 7
    assert "# my own note" in text and "# K; or 'annotation'" in text
    with pytest.raises(SettingsError, match=r"domains\.n_domains: is 0"):
        set_value(path, "domains", "n_domains", 0)
    assert path.read_text() == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.toml"]
