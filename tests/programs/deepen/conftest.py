"""Tiny models, saved once for each file of tests, and a config that names them."""

import pytest
from deepen_world import save_models, write_world


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def conf(tmp_path, models):
    return write_world(tmp_path, models)
