from pathlib import Path

import pytest

from distill_eval.errors import UsageError
from distill_eval.student.config import PrepareConfig


def test_refuses_before_anything_is_read():
    with pytest.raises(UsageError, match="'name@' is not a model"):
        PrepareConfig(teacher="name@", keep_layers="0", output_dir=Path("out"))
    with pytest.raises(UsageError, match="'x' is not a layer"):
        PrepareConfig(teacher="name", keep_layers="0,x", output_dir=Path("out"))


def test_accepts_a_revision():
    config = PrepareConfig(teacher="org/name@v1", keep_layers="::2", output_dir=Path("out"))
    assert config.teacher == "org/name@v1"
