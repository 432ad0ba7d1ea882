"""One flat table of numbers for every tracker."""

from dataclasses import replace

from fakes.subjects import report, speed, student

from distill_eval.report import tracked


def test_every_number_has_a_key_and_what_is_missing_has_none():
    found = tracked.numbers(report())
    assert {key: value for key, value in found.items() if key.startswith("student/")} == {
        "student/num_parameters": 81_000_000.0,
        "student/size_bytes": 162_000_000.0,
        "student/size_ratio": 0.602,
        "student/retention": 0.9125,
        "student/retention_ci_low": 0.8925,
        "student/retention_ci_high": 0.9325,
        "student/worst_retention": 0.88,
        "student/worst_retention_ci_low": 0.86,
        "student/worst_retention_ci_high": 0.9,
        "student/kl": 0.7421,
        "student/kl_ci_low": 0.7221,
        "student/kl_ci_high": 0.7621,
        "student/concurrency_4/ttft_p50_ms": 20.0,
        "student/concurrency_4/ttft_p99_ms": 81.5,
        "student/concurrency_4/tpot_p50_ms": 7.0,
        "student/concurrency_4/tpot_p99_ms": 9.25,
        "student/concurrency_4/output_throughput": 820.0,
        "student/concurrency_4/speedup": 1.9,
        "student/concurrency_4/speedup_ci_low": 1.7,
        "student/concurrency_4/speedup_ci_high": 2.1,
    }
    assert "teacher/retention" not in found
    assert found["teacher/concurrency_4/output_throughput"] == 412.5


def test_keys_hold_only_what_every_tracker_takes():
    odd = replace(student(name="org/s@v1 (a|b)"), speeds=(speed(load="rate 2.5/s"),))
    keys = [key for key in tracked.numbers(report(odd)) if not key.startswith("teacher")]
    assert "org_s_v1_a_b_/rate_2.5_s/ttft_p50_ms" in keys


def test_words_are_labels():
    assert tracked.labels(report()) == {
        "teacher": "org/teacher",
        "ship": "student",
        "verdict": "Ship student.",
        "student/verdict": "PASS",
    }
