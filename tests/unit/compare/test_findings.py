"""What a reader must know, heaviest first."""

from unit.compare.build import binary, cells, evaluated, group, run

TEACHER, STUDENT = cells(both=500, student_only=40, teacher_only=50, neither=410)


def findings(teacher=None, student=None, groups=(), **options):
    tasks = {"arc": binary(TEACHER, **(teacher or {}))}
    others = {"arc": binary(STUDENT, **(teacher or {}))}
    found = run(
        evaluated("big", tasks, groups=groups), evaluated("small", others, groups=groups, **(student or {})), **options
    )
    return [(finding.weight, finding.subject, finding.text) for finding in found.findings]


def test_nothing_to_say():
    assert findings(margin=0.2) == []


def test_differences_that_are_allowed_are_said():
    changed = {
        "engine": "vllm",
        "engine_version": "vllm 0.32",
        "dtype": "bfloat16",
        "lm_eval_version": "0.4.14",
        "device": "cuda",
        "batch_tokens": 512,
        "scorer": "plain",
        "seed": 7,
        "model": {"tokenizer_digest": "other", "max_length": 512},
    }
    assert findings(student=changed, margin=0.2) == [
        (
            "high",
            "small",
            (
                "Scored by vllm 0.32, the teacher by transformers 5.19.0, torch 2.13.0: part of the difference may be "
                "the engine's."
            ),
        ),
        ("medium", "small", "Run in bfloat16, the teacher in float32: part of the difference may be the dtype's."),
        ("medium", "small", "Evaluated with lm-eval 0.4.14, the teacher with 0.4.13."),
        (
            "medium",
            "small",
            "Has another tokenizer than the teacher: log-likelihoods are compared per byte of text, never per token.",
        ),
        ("medium", "small", "Reads at most 512 tokens, the teacher 2048: longer prompts were cut differently."),
        ("low", "small", "device was cuda, cpu for the teacher."),
        ("low", "small", "batch_tokens was 512, automatic for the teacher."),
        ("low", "small", "scorer was plain, prefix for the teacher."),
        ("low", "small", "seed was 7, 1234 for the teacher."),
    ]


def test_a_limited_run_says_what_it_cannot_see():
    assert findings(teacher={"total": 5000}, margin=0.2) == [
        ("medium", "arc", "Limited to 1,000 of 5,000 documents: a drop below 2.7 points cannot be seen.")
    ]


def test_too_few_documents_for_the_criterion_weigh_most():
    assert findings(margin=0.01) == [
        (
            "high",
            "arc",
            "Has only 1,000 documents: a drop below 2.7 points cannot be seen, and the criterion allows 1.0 points.",
        ),
        (
            "medium",
            "arc",
            "small is INCONCLUSIVE: it stands exactly at the limit, where no number of documents decides.",
        ),
    ]


def test_what_would_settle_it():
    (finding,) = [
        text for weight, _, text in findings(teacher={"total": 90_000}, margin=0.02) if "INCONCLUSIVE" in text
    ]
    assert finding == "small is INCONCLUSIVE: about 3,638 documents in all would settle it (now 1,000)."
    (finding,) = [text for weight, _, text in findings(margin=0.02) if "INCONCLUSIVE" in text]
    assert finding == "small is INCONCLUSIVE: about 3,638 documents would settle it, more than its 1,000."


def test_a_plain_scorer_is_said_once_for_its_tasks():
    names = ["a", "b", "c", "d", "e"]
    reason = "two of the first 8 documents disagreed"
    tasks = {name: binary(TEACHER, changes={"scorer": "plain", "scorer_reason": reason}) for name in names}
    found = run(evaluated("big", {name: binary(TEACHER) for name in names}), evaluated("small", tasks), margin=0.2)
    assert [(f.weight, f.subject, f.text) for f in found.findings] == [
        ("medium", "small", f"Scored by the plain path on a, b, c and 2 more tasks: {reason}")
    ]


def test_several_students_share_a_finding_about_a_task():
    tasks = {"arc": binary(TEACHER, total=5000)}
    found = run(
        evaluated("big", tasks),
        evaluated("one", tasks),
        evaluated("two", {"arc": binary(STUDENT, total=5000)}),
        margin=0.2,
    )
    assert [f.text for f in found.findings] == [
        "Limited to 1,000 of 5,000 documents: a drop below 2.7 points cannot be seen."
    ]


def test_a_group_of_few_tasks_is_wide():
    tasks = {"a": binary(TEACHER), "b": binary(TEACHER)}
    groups = [group("ab", tasks)]
    found = run(evaluated("big", tasks, groups=groups), evaluated("small", tasks, groups=groups), margin=0.2)
    assert [(f.weight, f.text) for f in found.findings] == [
        ("low", "Its interval rests on 2 tasks as clusters, so it is wide.")
    ]


def test_tasks_that_differ_too_much_are_not_settled_by_documents():
    def tasks(*gaps):
        return {f"task{i}": binary([1] * (600 - gap) + [0] * (400 + gap)) for i, gap in enumerate(gaps)}

    groups = [group("all", ["task0", "task1", "task2"])]
    found = run(
        evaluated("big", tasks(0, 0, 0), groups=groups),
        evaluated("small", tasks(0, 90, 30), groups=groups),
        margin=0.05,
    )
    assert found.verdicts[0].verdict == "INCONCLUSIVE"
    assert found.findings[-2].text == (
        "small is INCONCLUSIVE: its tasks differ so much that more documents of the same tasks would not settle it."
    )


def test_a_rise_is_the_loss_where_lower_is_better():
    from unit.compare.build import text

    found = run(
        evaluated("big", {"wiki": text([1.0, 1.1, 0.9], [100, 90, 80])}),
        evaluated("small", {"wiki": text([1.0, 1.2, 1.0], [100, 90, 80])}),
    )
    assert found.findings[0].text == (
        "Has only 3 documents: a rise below 0.226 bits/byte cannot be seen, and the criterion allows 0.0528 bits/byte."
    )


def lengths_finding(num_bytes):
    from unit.compare.build import text

    teacher = {"wiki": text([1.0 + 0.01 * (i % 7) for i in range(len(num_bytes))], num_bytes)}
    student = {"wiki": text([1.0 + 0.01 * (i % 5) for i in range(len(num_bytes))], num_bytes)}
    found = run(evaluated("big", teacher), evaluated("small", student))
    return [(f.weight, f.subject, f.text) for f in found.findings if "uneven" in f.text]


def test_texts_of_very_uneven_length_are_said():
    assert lengths_finding([10_000] * 5 + [100] * 195) == [
        (
            "medium",
            "wiki",
            (
                "Its 200 documents are so uneven in length that they say as much as 10 of equal length: if a student "
                "loses more on longer texts, its interval is too narrow and passes it too easily "
                "(docs/design/statistics.md, What it cannot do)."
            ),
        )
    ]


def test_texts_of_like_length_are_not():
    assert lengths_finding([100, 150] * 20) == []
    assert lengths_finding([400] * 10 + [100] * 30) == []
