"""What evaluating tasks takes: documents, tokens, time, and the drop that can be told, each by hand."""

import measure_tasks
import pytest

from distill_eval.compare import planned_power
from distill_eval.evaluate.sizes import TaskSize
from distill_eval.plan.evaluation import Asked, Rate, docs_to_detect, task_plans, well_known
from distill_eval.schema.plan import Hardware, KvCache, ModelSizes, Parts


def sizes(attention):
    """A language model with so many entries in its matrices, and a head of 10."""
    parts = Parts(embeddings=0, attention=attention, feed_forward=0, norms=0, head=10, other=0)
    return ModelSizes(
        name="it",
        architecture="It",
        config_source="a test",
        shape=None,
        vocab_size=10,
        max_length=None,
        parts=parts,
        weight_bytes={},
        kv_cache=KvCache(num_full_layers=1, num_window_layers=0, window=None, bytes_per_token_per_layer=1),
    )


def task(num_docs, *, kind="binary", shared=None, new=0):
    counted = 10 * num_docs if shared is None else shared
    return TaskSize(
        num_docs=num_docs,
        num_docs_total=num_docs,
        num_fewshot=0,
        kind=kind,
        num_tokens=40 * num_docs,
        num_shared_tokens=counted,
        num_new_tokens=new,
    )


HERE = Hardware(
    name="cpu", num_devices=1, memory_bytes=1, flops=1000.0, bandwidth=1.0, price_per_hour=None, source="a test"
)


def planned(members, *, limit=None, detect=None):
    (found,) = task_plans(
        [Asked("it", members, "a test")],
        teacher=sizes(90),
        student=sizes(40),
        limit=limit,
        detect=detect,
        level=0.95,
        rate=Rate(HERE, 0.5, 0.25, 1.0, "a test"),
    )
    return found


@pytest.mark.parametrize("drop", [0.01, 0.02, 0.05, 0.1])
def test_the_documents_that_a_drop_needs_are_the_fewest(drop):
    needed = docs_to_detect(drop, kind="binary", level=0.95)
    fewer, enough = (
        planned_power(number, kind="binary", level=0.95).planned_detectable_drop for number in (needed - 1, needed)
    )
    assert enough <= drop
    assert fewer is None or fewer > drop


def test_a_metric_without_a_known_spread_needs_an_unknown_number():
    assert docs_to_detect(0.02, kind="real", level=0.95) is None
    assert planned({"it": task(100, kind="real")}, detect=0.02).limit_to_detect is None


def test_a_groups_limit_is_that_of_each_of_its_tasks():
    needed = docs_to_detect(0.05, kind="binary", level=0.95)
    found = planned({"a": task(100), "b": task(1000)}, detect=0.05)
    assert found.limit_to_detect == needed - 100  # all of the small one, and the rest of the other
    assert min(100, found.limit_to_detect) + found.limit_to_detect >= needed


def test_a_task_with_too_few_documents_says_how_many_it_would_take():
    needed = docs_to_detect(0.01, kind="binary", level=0.95)
    found = planned({"it": task(500)}, detect=0.01)
    assert found.limit_to_detect is None
    assert f"a drop of 0.01 needs {needed:,}, and the task has 500" in found.reason


def test_tokens_and_time_by_hand():
    """1000 shared tokens, 2 * (90 + 10) and 2 * (40 + 10) operations each, at half of 1000 per second."""
    found = planned({"it": task(100)})
    assert (found.num_docs, found.num_tokens.value, found.num_tokens.high) == (100, 1000, None)
    assert "4,000 without that" in found.num_tokens.source
    assert (found.seconds.value, found.seconds.low, found.seconds.high) == (600, 300, 1200)


def test_a_limit_takes_its_share_and_what_is_written_is_the_upper_end():
    found = planned({"it": task(100, new=500)}, limit=0.2)
    assert (found.num_docs, found.num_docs_total) == (20, 100)
    assert (found.num_tokens.value, found.num_tokens.low, found.num_tokens.high) == (200, 200, 300)
    assert found.detectable_drop == planned_power(20, kind="binary", level=0.95).planned_detectable_drop


def test_tokens_that_were_not_counted_have_no_time():
    unknown = TaskSize(
        num_docs=5,
        num_docs_total=5,
        num_fewshot=0,
        kind="binary",
        num_tokens=None,
        num_shared_tokens=None,
        num_new_tokens=None,
    )
    found = planned({"it": unknown})
    assert (found.num_tokens.value, found.seconds.value) == (None, None)


def test_the_table_has_the_documents_that_the_data_sets_have():
    """As their cards say, e.g. 14,042 questions of 57 subjects in MMLU's test split, 67 times 1,000 pairs in BLiMP."""
    mmlu = well_known("mmlu")
    assert (len(mmlu), sum(size.num_docs for size in mmlu.values())) == (57, 14042)
    assert well_known("hellaswag")["hellaswag"].num_docs == 10042
    assert well_known("gsm8k")["gsm8k"].num_fewshot == 5
    assert well_known("wikitext")["wikitext"].kind != "binary"
    blimp = well_known("blimp")
    assert (len(blimp), {size.num_docs for size in blimp.values()}) == (67, {1000})
    assert well_known("no such task") is None


def test_the_table_is_what_the_script_writes():
    rows = {name: well_known(name) for name in measure_tasks.TASKS}
    assert measure_tasks.PAGE.read_text(encoding="utf-8") == measure_tasks.render(rows)
