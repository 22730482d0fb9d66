"""The settings of a study: typed, validated, read from and written to ``study.toml``. One file per part of them."""

from stalign_core.settings.automation import AutomationSettings
from stalign_core.settings.benchmark import BenchmarkModel, BenchmarkSettings, BenchmarkTask
from stalign_core.settings.correction import (
    CorrectionMethod,
    CorrectionSettings,
    HarmonySettings,
    ScanoramaSettings,
    ScviSettings,
)
from stalign_core.settings.downstream import DownstreamSettings
from stalign_core.settings.execution import (
    DaskSettings,
    ExecutionSettings,
    IncrementalSettings,
    KubernetesSettings,
)
from stalign_core.settings.features import (
    EncoderSettings,
    ExpressionSettings,
    InputSettings,
    MorphologySettings,
    RepresentationSettings,
)
from stalign_core.settings.reading import parse_settings, read_settings
from stalign_core.settings.results import Clusterer, DomainSettings, MetricSettings
from stalign_core.settings.study import FEATURE_NAMES, STUDY_VERSION, Scope, Settings
from stalign_core.settings.variants import VariantSettings, variant_group

__all__ = [
    "FEATURE_NAMES",
    "STUDY_VERSION",
    "AutomationSettings",
    "BenchmarkModel",
    "BenchmarkSettings",
    "BenchmarkTask",
    "Clusterer",
    "CorrectionMethod",
    "CorrectionSettings",
    "DaskSettings",
    "DomainSettings",
    "DownstreamSettings",
    "EncoderSettings",
    "ExecutionSettings",
    "ExpressionSettings",
    "HarmonySettings",
    "IncrementalSettings",
    "InputSettings",
    "KubernetesSettings",
    "MetricSettings",
    "MorphologySettings",
    "RepresentationSettings",
    "ScanoramaSettings",
    "Scope",
    "ScviSettings",
    "Settings",
    "VariantSettings",
    "parse_settings",
    "read_settings",
    "variant_group",
]
