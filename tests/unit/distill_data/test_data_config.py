import pytest
import tyro

from distill_eval.distill.data_config import DataConfig
from distill_eval.errors import UsageError


def test_defaults_hold_a_part_out():
    config = DataConfig(data="org/name")
    assert (config.max_length, config.packing, config.text_column) == (512, "isolated", "text")
    assert not config.has_own_validation


def test_it_is_a_command_line():
    argv = ["--data", "org/name", "--data-config", "small", "--packing", "crossing", "--validation-documents", "20"]
    config = tyro.cli(DataConfig, args=argv)
    assert config == DataConfig(
        data="org/name", data_config="small", packing="crossing", validation_documents=20, data_split=None
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": " "}, "--data: expected a Hub data set, a file or a folder"),
        ({"max_length": 1}, "--max-length 1: expected 2 or more"),
        ({"max_documents": 0}, "--max-documents 0: expected 1 or more"),
        ({"validation_documents": 0}, "--validation-documents 0: expected 1 or more"),
        ({"validation_fraction": 1.0}, "--validation-fraction 1.0: expected a share between 0 and 1"),
        ({"validation_fraction": 0.1, "validation_documents": 3}, "--validation-fraction holds a part of --data out"),
        ({"validation_fraction": 0.1, "validation_split": "test"}, "--validation-fraction holds a part of --data out"),
        ({"streaming": True}, "--streaming: the data has no known size"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        DataConfig(**{"data": "a/b", **options})
