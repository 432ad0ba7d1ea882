from dataclasses import replace
from pathlib import Path

import pytest

from distill_eval.errors import UsageError
from distill_eval.schema.student import Shape
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.config import PrepareConfig
from distill_eval.student.shape import as_options, check_widths, fits, requested, with_heads

GROUPED = Shape(num_layers=30, hidden_size=576, ffn_size=1536, num_heads=9, num_kv_heads=3, head_dim=64)
BERT = Shape(num_layers=12, hidden_size=768, ffn_size=3072, num_heads=12, num_kv_heads=12, head_dim=64)
LLAMA, QWEN3, BERT_TABLE = (
    ARCHITECTURES[name] for name in ("LlamaForCausalLM", "Qwen3ForCausalLM", "BertForSequenceClassification")
)


def config(**options):
    return PrepareConfig(teacher="t", output_dir=Path("o"), calibration="c.txt", **options)


def test_what_is_given_replaces_the_teachers():
    asked = requested(config(ffn_size=1024, num_heads=6), GROUPED, 30)
    assert asked == replace(GROUPED, ffn_size=1024, num_heads=6, num_kv_heads=2)
    assert requested(config(hidden_size=512), GROUPED, 20) == replace(GROUPED, hidden_size=512, num_layers=20)
    assert with_heads(BERT, 6) == replace(BERT, num_heads=6, num_kv_heads=6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 31}, "--num-layers 31: the teacher has 30, and a student not more"),
        ({"ffn_size": 1537}, "--ffn-size 1537: the teacher has 1536, and a student not more"),
        ({"hidden_size": 577}, "--hidden-size 577: the teacher has 576, and a student not more"),
        ({"num_heads": 12}, "--num-heads 12: the teacher has 9, and a student not more"),
        (
            {"num_heads": 5},
            (
                "--num-heads 5: the teacher's 9 heads share 3 key and value heads, 3 each, which stay together. "
                "Type one of 3, 6, 9"
            ),
        ),
    ],
)
def test_what_the_teacher_cannot_give_is_refused(options, message):
    with pytest.raises(UsageError) as error:
        requested(config(**options), GROUPED, 30)
    assert str(error.value) == message


def test_hidden_size_and_heads_hang_together():
    assert fits(QWEN3, 500, 9, 64)
    assert not fits(LLAMA, 500, 9, 64)
    assert fits(LLAMA, 504, 9, 64)
    assert fits(BERT_TABLE, 384, 6, 64)
    assert not fits(BERT_TABLE, 384, 12, 64)


@pytest.mark.parametrize(
    ("architecture", "teacher", "changes", "message"),
    [
        (
            LLAMA,
            GROUPED,
            {"hidden_size": 512},
            (
                "--hidden-size 512 with --num-heads 9: LLaMA wants a hidden size that is a multiple of its number of "
                "heads. Type --hidden-size 504, or another --num-heads"
            ),
        ),
        (
            BERT_TABLE,
            BERT,
            {"hidden_size": 400},
            (
                "--hidden-size 400 with --num-heads 12: the hidden size of BERT is its number of heads times 64. "
                "Type --hidden-size 384 --num-heads 6"
            ),
        ),
        (
            BERT_TABLE,
            BERT,
            {"num_heads": 6, "num_kv_heads": 6},
            (
                "--hidden-size 768 with --num-heads 6: the hidden size of BERT is its number of heads times 64. "
                "Type --hidden-size 384 --num-heads 6"
            ),
        ),
        (
            BERT_TABLE,
            BERT,
            {"hidden_size": 8},
            (
                "--hidden-size 8 with --num-heads 12: the hidden size of BERT is its number of heads times 64. "
                "Type --hidden-size 64 --num-heads 1"
            ),
        ),
        (
            BERT_TABLE,
            BERT,
            {"hidden_size": 512, "num_heads": 4, "num_kv_heads": 4},
            (
                "--hidden-size 512 with --num-heads 4: the hidden size of BERT is its number of heads times 64. "
                "Type --hidden-size 256 --num-heads 4 or --hidden-size 512 --num-heads 8"
            ),
        ),
    ],
)
def test_widths_that_do_not_go_together_are_refused(architecture, teacher, changes, message):
    with pytest.raises(UsageError) as error:
        check_widths(architecture, teacher, replace(teacher, **changes))
    assert str(error.value) == message


def test_what_is_possible_is_not_refused():
    odd = replace(BERT, head_dim=80)  # a teacher that breaks the rule itself
    check_widths(BERT_TABLE, odd, replace(odd, ffn_size=100))
    check_widths(QWEN3, GROUPED, replace(GROUPED, hidden_size=500))
    check_widths(BERT_TABLE, BERT, with_heads(replace(BERT, hidden_size=384), 6))
    assert as_options(GROUPED) == "--num-layers 30 --ffn-size 1536 --hidden-size 576 --num-heads 9"
