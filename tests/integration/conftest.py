"""What integration tests share: the index of lm-eval's tasks, which takes seconds to build, is built once."""

import os
import shutil
from pathlib import Path

import chromium as browser
import pytest

from distill_eval.store import Store


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A browser for the pages of a module; CI must have one."""
    path = browser.find()
    if path is None:
        assert os.environ.get("CI") != "true", "CI must have Chromium: apt-get install chromium"
        pytest.skip("no Chromium: apt-get install chromium")
    running = browser.Chromium(path, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def task_index(tmp_path_factory):
    """A cache that holds the index alone."""
    from distill_eval.evaluate.harness.index import open_manager

    store = Store(tmp_path_factory.mktemp("index"))
    open_manager(None, store.get, store.put)
    return store.root


@pytest.fixture(autouse=True)
def indexed_cache(private_cache, task_index):
    """Each test's private cache begins with the index."""
    shutil.copytree(task_index, Path(os.environ["DISTILL_EVAL_CACHE"]), dirs_exist_ok=True)
