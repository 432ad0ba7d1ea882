"""What every tier shares."""

import os
import signal

# Tiny models gain nothing from threads, and two processes with two threads each crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The Hub's client asks for more than it is told to otherwise, and tests count what it asks.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest
from hypothesis import settings

# No deadlines: machines are shared. CI tries the same examples every time.
settings.register_profile("distill-eval", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("distill-eval")


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the evaluation cache of whoever runs the tests."""
    monkeypatch.setenv("DISTILL_EVAL_CACHE", str(tmp_path_factory.mktemp("cache")))


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell: the processes that tests interrupt would inherit that they cannot be.
    signal.signal(signal.SIGINT, signal.default_int_handler)
