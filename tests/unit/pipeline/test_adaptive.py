"""What --adaptive refuses before anything is scored."""

import pytest

from distill_eval.errors import UsageError
from distill_eval.evaluate.kept import PlannedTask
from distill_eval.pipeline.adaptive import check_bounded


def planned(metric="acc", kind="binary", **sizes):
    return PlannedTask(sum(sizes.values()), kind, metric, sizes)


def test_tasks_and_groups_scored_from_0_to_1_are_taken():
    check_bounded({"g": planned(a=10, b=20), "c": planned("f1", "real", c=5)})


@pytest.mark.parametrize(
    ("metric", "kind"), [("bits_per_byte", "loglikelihood"), ("f1", "corpus"), ("bleu", "real"), ("mcc", "corpus")]
)
def test_what_has_no_bounds_is_named_with_what_can_be_compared(metric, kind):
    plan = {"odd": planned(metric, kind, odd=5), "fine": planned(fine=5)}
    with pytest.raises(UsageError, match=rf"odd \({metric}\) cannot be stopped early.*--tasks fine$"):
        check_bounded(plan)
    with pytest.raises(UsageError, match=r"Compare it without --adaptive$"):
        check_bounded({"odd": planned(metric, kind, odd=5)})


def test_a_task_in_two_groups_is_refused():
    with pytest.raises(UsageError, match="b belongs to both g and h"):
        check_bounded({"g": planned(a=1, b=2), "h": planned(b=2, c=3)})
