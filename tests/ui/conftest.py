"""The small finished study of the asset tests, for tests of the server on it."""

from tests.assets.conftest import finished_study, study, tiny_data

__all__ = ["finished_study", "study", "tiny_data"]
