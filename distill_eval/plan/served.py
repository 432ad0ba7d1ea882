"""The serving of a plan held against benchmarks: of the same load, in the dtype that was planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from distill_eval.plan.check import ALIKE, check
from distill_eval.plan.serving import MEMORY_SHARE
from distill_eval.schema.bench import BenchedModel, BenchRun, LoadResult, PromptSource
from distill_eval.schema.plan import Check, Figure, ModelSizes, Plan, ServingPlan

SCHEMES = {"W8A16": "int8", "W8A8": "int8", "W4A16": "int4"}
"""Of `quantize`, as a plan calls what takes as many bytes."""
_PACKED = {f"compressed-tensors {scheme}": dtype for scheme, dtype in SCHEMES.items()}
"""How a folder says it."""


class _Role(NamedTuple):
    """Which of the plan's models a measured one is."""

    name: str
    sizes: ModelSizes
    dtype: str


def serving_checks(plan: Plan, benches: Mapping[str, BenchRun]) -> Iterator[Check]:
    """TTFT, TPOT, throughput and the requests that fit, of teacher and student.

    Args:
        plan: Its first student is the one that was made.
        benches: By where they were found.
    """
    for where, bench in benches.items():
        for model in bench.models:
            role = _role(model, plan)
            if role is None:
                continue
            mine = [one for one in plan.serving if (one.model, one.dtype) == (role.sizes.name, role.dtype)]
            told = f"{where}: {model.engine} in {model.quantization or model.dtype or 'its own dtype'}"
            whose = role.name if role.dtype == "bf16" else f"{role.name} in {role.dtype}"
            for planned in mine:
                for result in model.results:
                    if result.load.concurrency == planned.num_requests and result.load.ignore_eos:
                        yield from _load_checks(planned, result, bench.prompts, whose, told)
            yield from _room(mine, model, whose, told)


def _load_checks(
    planned: ServingPlan, result: LoadResult, prompts: PromptSource, whose: str, told: str
) -> Iterator[Check]:
    metrics, at = result.metrics, f"of the {whose}, {planned.num_requests} at once"
    ttft, tpot = (None if one is None else one.p50 for one in (metrics.ttft_ms, metrics.tpot_ms))
    sent = _other_lengths(planned, prompts)
    for what, figure, measured, how in (
        ("TTFT", planned.ttft_ms, ttft, "median"),
        ("TPOT", planned.tpot_ms, tpot, "median"),
        ("throughput", planned.throughput, metrics.output_throughput, "output tokens over all windows"),
    ):
        if measured is not None and figure.value is not None:
            yield check(f"{what} {at}", figure, None if sent else measured, f"{told}: {sent or how}")


def _other_lengths(planned: ServingPlan, prompts: PromptSource) -> str | None:
    """What was sent, where that is another load than the planned one."""
    pairs = ((planned.input_len, prompts.num_prompt_tokens), (planned.output_len, prompts.max_tokens))
    if all(abs(end - wanted) <= ALIKE * wanted for wanted, ends in pairs for end in ends):
        return None
    (least, most), (shortest, longest) = prompts.num_prompt_tokens, prompts.max_tokens
    return (
        f"prompts of {least:,} to {most:,} tokens and answers of {shortest:,} to {longest:,}, where the plan has "
        f"{planned.input_len:,} and {planned.output_len:,}: say those in [plan.serving]"
    )


def _room(planned: list[ServingPlan], model: BenchedModel, whose: str, told: str) -> Iterator[Check]:
    """Requests that fit, where the server said how many tokens it keeps."""
    tokens = model.memory.kv_cache_tokens
    if tokens is None or not planned or planned[0].max_requests is None:
        return
    one = planned[0]
    length = one.input_len + one.output_len
    figure = Figure(
        name="serving.max_requests",
        value=float(planned[0].max_requests),
        unit="requests",
        basis="estimate",
        source=f"of {length:,} tokens each, in {MEMORY_SHARE:.0%} of the memory beside the weights",
    )
    source = f"{told}: it keeps keys and values of {tokens:,} tokens"
    yield check(f"requests that fit, of the {whose}", figure, float(tokens // length), source)


def _role(model: BenchedModel, plan: Plan) -> _Role | None:
    """The plan's model that was measured, by the teacher's name or the bytes of the student's weights."""
    if model.quantization is None and model.ref == str(plan.teacher_ref):
        return _Role("teacher", plan.teacher, "bf16")
    dtype = "bf16" if model.quantization is None else _PACKED.get(model.quantization)
    if dtype is None:
        return None
    weights, student = model.memory.weights_bytes, plan.students[0].sizes
    stored = ("fp32", "bf16") if dtype == "bf16" else (dtype,)
    sizes = [student.weight_bytes[one] for one in stored if one in student.weight_bytes]
    near = weights is not None and any(abs(weights - one) <= ALIKE * one for one in sizes)
    return _Role("student", student, dtype) if near else None
