"""What follows from the figures of a plan: what published students say for or against it, never a promise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from distill_eval.plan.config import TrainingPlan
from distill_eval.plan.expected import used_anchors
from distill_eval.plan.quality import rule_tokens
from distill_eval.plan.room import can_be_cached
from distill_eval.plan.training import GPU_SHARE, has_known_share
from distill_eval.report.plan_values import count, size
from distill_eval.schema.plan import Anchor, Figure, Method, ModelSizes, Retained, StudentPlan
from distill_eval.schema.retention import WEIGHTS, Finding, Weight

SAFE = (3.0, 5.0)
"""Times smaller: what is customarily called safe; the finding says what the anchors there kept."""
FEW = 4
"""Published students, below which each is named by its share."""
FAR = 10.0
"""Times smaller, above which more data and steps are customarily advised."""
VERY_SHORT = 0.01
"""Of the rule's tokens: what `MEASURED` is far below."""
MEASURED = (
    "A student of SmolLM2-135M, 1.65 times smaller, kept 72 % after 0.33 million tokens (this project's "
    "reports/2026-11-26-smollm2-distilled), where the rule says 98 % and the fit 97 %."
)
LEARNS, TEACHES = 6.0, 2.0
"""FLOPs per token and parameter: of the model that learns (forward and backward), of the one that only answers: the
first terms of `flops.step_flops`, since all that is known of an assistant is how many parameters it has."""
COST: dict[Method, str] = {
    "logit": "the teacher's logits, one forward pass of it per token, and a shared tokenizer",
    "feature": "the logits and hidden states of both models, with projections between them where their widths differ",
    "attention": "the logits and attention maps of both models: memory grows with the square of the length, and no "
    "fused attention kernel keeps them",
    "response": "the teacher's text alone, from any server and any tokenizer; its distribution is lost",
    "progressive": "a whole training more, of an assistant between the two sizes",
}
"""What each method needs, the plainest first."""


def advise(
    *,
    teacher: ModelSizes,
    student: StudentPlan,
    method: Method,
    retained: Retained,
    training: Sequence[Figure],
    config: TrainingPlan,
) -> tuple[Finding, ...]:
    """Advice and warnings about one proposed student, heaviest first.

    Args:
        teacher: Its sizes.
        student: The proposed one.
        method: Of the distillation.
        retained: What is expected of it.
        training: The figures of the training, by their stable names; those of its room and its tokens are read.
        config: The training that is planned.
    """
    figures = {figure.name: figure for figure in training}
    found = [
        *_fits(figures, student, config, method),
        *_no_fit(retained, student),
        *_ratio(student, fine_tuned=retained.fine_tuned),
        *_tokens(figures.get("training.tokens"), student),
        *_time(figures.get("training.utilisation"), student),
        _steps(teacher, student, method),
        _method(method, fine_tuned=retained.fine_tuned),
        _temperature(student, config),
        *_then_quantize(teacher, student),
    ]
    return tuple(sorted(found, key=lambda one: WEIGHTS.index(one.weight)))


def _fits(figures: Mapping[str, Figure], student: StudentPlan, config: TrainingPlan, method: Method) -> list[Finding]:
    """Whether the training has room on a device, and what it would take to have it."""
    share, peak = (at_least(figures.get(f"training.{name}")) for name in ("fits", "peak_bytes"))
    if share is None or share <= 1:
        return []
    room = None if peak is None else peak / share
    ways = ["a shorter --max-length"]
    ways += [] if config.batch_size == 1 else ["a smaller --batch-size"]
    ways += [] if config.gradient_checkpointing else ["--gradient-checkpointing"]
    ways += [] if config.chunked_loss else ["the chunked loss (leave --no-chunked-loss out)"]
    cached = config.teacher_source == "cached" or not can_be_cached(student.sizes, method)
    ways += [] if cached else ["--teacher-source cached"]
    text = f"The training needs {share:.2g} times the memory of a device. It shrinks with {', '.join(ways)}."
    for name, said in (
        ("least_bytes", "With all but shorter rows it takes"),
        (
            "sharded_bytes",
            "Sharded over all devices besides (FSDP, ZeRO-3), which distill does not do, each would hold",
        ),
    ):
        other = at_least(figures.get(f"training.{name}"))
        if room and other is not None:
            fit = "fits" if other <= room else f"is still {other / room:.2g} times a device's memory"
            text += f" {said} {size(other)}, which {fit}."
    return [_finding("high", student, text)]


def at_least(figure: Figure | None) -> float | None:
    """The figure, or the lower end where no more is known."""
    if figure is None:
        return None
    return figure.low if figure.value is None else figure.value


def _time(share: Figure | None, student: StudentPlan) -> list[Finding]:
    """That nobody published how fast so small a student trains."""
    if share is None or share.value is None or share.basis == "measured" or share.low is not None:
        return []
    if share.value != GPU_SHARE or has_known_share(student.sizes.parts.total):
        return []
    text = (
        f"The time rests on {100 * GPU_SHARE:.0f} % of the peak, which was published for students of 0.8B and more on "
        "H100. Smaller ones reach less: take it as a lower end, add --calibrate there, or give --utilisation."
    )
    return [_finding("medium", student, text)]


def _no_fit(retained: Retained, student: StudentPlan) -> list[Finding]:
    """That no published result says what such a student keeps."""
    if retained.fit.value is not None:
        return []
    text = f"Nothing published is close enough to say what it keeps: {retained.fit.source}. The rule's number is no"
    return [_finding("high", student, f"{text} evidence: compare a short training of it first.")]


def _ratio(student: StudentPlan, *, fine_tuned: bool) -> list[Finding]:
    """What published students about as small kept."""
    r = student.compression
    alike = [one for one in used_anchors() if one.fine_tuned == fine_tuned]
    safe = _kept([one for one in alike if SAFE[0] <= one.compression <= SAFE[1]])
    said = f"3 to 5 times is what is called safe; there {safe}."
    if r > FAR:
        beyond = _kept([one for one in alike if one.compression > FAR])
        text = f"{r:.3g} times smaller: above {FAR:g} times more data and more steps are advised, and {beyond}. {said}"
        return [_finding("high", student, text)]
    if r > SAFE[1]:
        between = _kept([one for one in alike if SAFE[1] < one.compression <= FAR])
        return [_finding("medium", student, f"{r:.3g} times smaller: between 5 and {FAR:g} times {between}. {said}")]
    below = _kept([one for one in alike if one.compression < SAFE[0]])
    text = f"{r:.3g} times smaller: below 3 times {below}. {said}"
    return [_finding("low", student, said if r >= SAFE[0] else text)]


def _kept(those: Sequence[Anchor]) -> str:
    """What some anchors kept, in a clause."""
    if not those:
        return "no published student of this kind is known to this plan"
    shares = sorted(100 * one.retention for one in those)
    if len(those) == 1:
        return f"the one published student of this kind ({those[0].student}) kept {shares[0]:.1f} %"
    if len(those) < FEW:
        return f"{len(those)} published students of this kind kept {' and '.join(f'{one:.1f}' for one in shares)} %"
    return (
        f"{len(those)} published students of this kind kept {shares[0]:.1f} to {shares[-1]:.1f} %, "
        f"half of them {median(shares):.1f} % or more"
    )


def _tokens(tokens: Figure | None, student: StudentPlan) -> list[Finding]:
    """Whether the training is shorter than the rule's, which is known for no more than that."""
    rule = rule_tokens(student.compression)
    if tokens is None or tokens.value is None or tokens.value >= rule / 2:
        return []
    text = (
        f"{count(tokens.value)} tokens are {100 * tokens.value / rule:.2g} % of what the planner's rule asks for "
        f"({count(rule)}): expect less than its share, and less than published students, which had more."
    )
    if tokens.value >= rule * VERY_SHORT:
        return [_finding("medium", student, text)]
    return [_finding("high", student, f"{text} {MEASURED}")]


# ---- how


def assistant(teacher: float, student: float) -> float:
    """Parameters of an assistant: the geometric mean, from which both steps are equally large."""
    return math.sqrt(teacher * student)


def two_steps(teacher: float, student: float) -> float:
    """FLOPs of teacher to assistant to student over those of one step, every training over as many tokens."""
    between = assistant(teacher, student)
    direct = LEARNS * student + TEACHES * teacher
    return (LEARNS * between + TEACHES * teacher + LEARNS * student + TEACHES * between) / direct


def _steps(teacher: ModelSizes, student: StudentPlan, method: Method) -> Finding:
    """Direct or by way of an assistant."""
    sizes = float(teacher.parts.total), float(student.sizes.parts.total)
    times, between = two_steps(*sizes), assistant(*sizes)
    cost = f"an assistant of {count(between)} (the geometric mean) makes it {times:.2g} times the compute"
    if method == "progressive":
        text = (
            f"Progressive: {cost} of one step, at as many tokens in each. No measurement known to this plan shows that"
        )
        return _finding("medium", student, f"{text} it keeps more: train the direct student too, and compare both.")
    if student.compression > SAFE[1]:
        text = (
            f"Direct, or by way of an assistant: {cost} of one step; --method progressive plans it. On images students"
        )
        return _finding("medium", student, f"{text} of far larger teachers gained by it (arXiv 1902.03393).")
    return _finding("low", student, f"Direct: at {student.compression:.3g} times smaller {cost}, with no known gain.")


def _method(method: Method, *, fine_tuned: bool) -> Finding:
    """What the method needs, and what students by each kept."""
    alike = [one for one in used_anchors() if one.fine_tuned == fine_tuned]
    known = {one.method for one in alike}
    each = "; ".join(f"{name}: {_kept([one for one in alike if one.method == name])}" for name in COST if name in known)
    text = f"{method} needs {COST[method]}. At whatever size, by {each}. logit is the plainest, to begin with."
    return Finding(weight="low", subject="method", text=text)


def _temperature(student: StudentPlan, config: TrainingPlan) -> Finding:
    """What is customary, and how to find out."""
    text = (
        "A temperature of 2 to 4 is customary; which one, and alpha, cost a short sweep: "
        "distill-eval sweep ... --temperatures 1,2,4 --alphas 0.5,0.9."
    )
    if config.teacher_source in ("int8", "int4"):
        text += (
            f" The teacher answers in {config.teacher_source}: distill-eval fidelity says how far from itself it is."
        )
    return _finding("low", student, text)


def _then_quantize(teacher: ModelSizes, student: StudentPlan) -> list[Finding]:
    """What size and quantization come to together."""
    before, after = teacher.weight_bytes.get("bf16"), student.sizes.weight_bytes
    if before is None or not {"int8", "int4"} <= after.keys():
        return []
    each = " and ".join(
        f"{size(after[name])} in {name} ({before / after[name]:.3g} times smaller)" for name in ("int8", "int4")
    )
    text = f"Quantized afterwards it is {each}, where the teacher is {size(before)} in bf16. What that costs is in no"
    return [_finding("low", student, f"{text} estimate of this plan: distill-eval quantize, then compare.")]


def _finding(weight: Weight, student: StudentPlan, text: str) -> Finding:
    return Finding(weight=weight, subject=student.sizes.name, text=text)
