"""docs/plan.html in a real headless Chromium: Python's numbers, on a phone, in the dark, by keyboard."""

import json
import math

import plan_page
import pytest
from fakes import small_functions as small
from to_js import Translation

from distill_eval.plan.advice import COST
from distill_eval.plan.config import HardwarePlan, PlanConfig, ServingLoad, TrainingPlan
from distill_eval.plan.hardware import find_hardware
from distill_eval.plan.pair import Pair
from distill_eval.plan.quality import retained
from distill_eval.plan.serving import serving_plans
from distill_eval.plan.training import assumed_utilisation, training_figures
from distill_eval.schema.plan import Figure

HARDWARE = ("T4", "8xH100-SXM-80GB")  # one without bfloat16
TRAININGS = (
    TrainingPlan(batch_size=1, max_length=128, teacher_source="int8"),
    TrainingPlan(batch_size=8, max_length=2048, chunked_loss=False),
    TrainingPlan(batch_size=64, max_length=4096, gradient_checkpointing=True, teacher_source="cached"),
)
LOADS = (ServingLoad(input_len=64, output_len=2), ServingLoad(input_len=4096, output_len=512))
METHODS = ("logit", "feature", "attention", "response")
PRICE, REQUESTS = 12.5, 100


@pytest.fixture(scope="module")
def presets():
    return plan_page.presets()


@pytest.fixture
def page(chromium):
    chromium.show(width=1280)
    chromium.open(plan_page.PAGE)
    return chromium


def test_the_page_is_what_the_formulas_say_now():
    assert plan_page.PAGE.read_text(encoding="utf-8") == plan_page.render(), "run scripts/plan_page.py"


def test_the_students_are_what_plan_proposes(presets):
    stored = presets[0].stops
    assert [stop for stop in stored if stop != stored[presets[0].first]] == list(
        plan_page.proposals(plan_page.EXAMPLES[0])
    )


# ---- the same numbers


def same(found, expected):
    """As Python has it, to 1e-9 of its size."""
    if expected is None or isinstance(expected, bool):
        return found is expected
    return found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def grid(presets):
    """Everything that is compared: places of preset, stop, student, hardware, training with a load, and a method."""
    count = 0
    for a, preset in enumerate(presets):
        for b, stop in enumerate(preset.stops):
            for c in range(len(stop)):
                for d in range(len(HARDWARE)):
                    for e in range(len(TRAININGS)):
                        yield a, b, c, d, e, count % len(METHODS)
                        count += 1


SCRIPT = """
(() => {
  const [grid, hardware, trainings, loads, methods, requests] = %s;
  return grid.map(([a, b, c, d, e, f]) => {
    const preset = PRESETS[a], student = preset.stops[b][c];
    const found = figures({
      preset, student, method: methods[f], tokens: rule_tokens(student.compression), share: GPU_SHARE, requests,
      hardware: new Hardware(...hardware[d]), training: new TrainingPlan(...trainings[e]),
      load: new ServingLoad(...loads[e %% loads.length]),
    });
    const serving = found.serving.map(({ found: at, model, dtype, cost }) => (
      { ...at, model: model.name, dtype, cost }));
    return { ...found, serving };
  });
})()
"""


def values(record):
    return [getattr(record, name) for name in record.__dataclass_fields__]


def test_every_figure_is_pythons(page, presets):
    hardware = [find_hardware(HardwarePlan(hardware=name, price_per_hour=PRICE)) for name in HARDWARE]
    cells = list(grid(presets))
    given = [cells, *([values(one) for one in many] for many in (hardware, TRAININGS, LOADS)), METHODS, REQUESTS]
    found = page.run(SCRIPT % json.dumps(given))
    assert len(found) == len(cells) > 500
    wrong = []
    for cell, one in zip(cells, found, strict=True):
        for name, there, here in compared(presets, hardware, cell, one):
            if not same(there, here):
                wrong.append((cell, name, there, here))
    assert wrong == []


def compared(presets, hardware, cell, there):
    """Name, the page's number and Python's, by the functions that `distill-eval plan` calls."""
    a, b, c, d, e, f = cell
    preset, machine = presets[a], hardware[d]
    student = preset.stops[b][c]
    config = PlanConfig(
        teacher=preset.teacher.name,
        ratio=student.compression,
        method=METHODS[f],
        training=TRAININGS[e],
        serving=ServingLoad(
            input_len=LOADS[e % 2].input_len, output_len=LOADS[e % 2].output_len, concurrency=(REQUESTS,)
        ),
    )
    kept = retained(student.compression, METHODS[f], (), fine_tuned=preset.fine_tuned)
    tokens = kept.tokens.value
    share = assumed_utilisation(config.training, machine, student.sizes.parts.total)
    trained = {
        figure.name.removeprefix("training."): figure
        for figure in training_figures([Pair(preset.teacher, student.sizes)], config, machine, share, tokens)
    }
    for mine, name in (("weights", "weights"), ("gradients", "gradients"), ("optimizer", "optimizer")):
        yield name, there["memory"][mine], trained[f"{name}_bytes"].value
    for name in ("activations", "logits", "teacher"):
        yield name, there["memory"][name], trained[f"{name}_bytes"].value
    peak = trained["peak_bytes"]
    yield "peak", there["memory"]["peak"], peak.low if there["besides"] else peak.value
    yield "flops", there["flops"], trained["flops"].value
    yield from zip(("time", "least", "most"), there["times"], three(trained["seconds"]), strict=True)
    yield from zip(("price", "least", "most"), there["prices"], three(trained["cost_usd"]), strict=True)
    yield "checkpoints", there["checkpoints"], trained["checkpoint_bytes"].value
    yield "cache", there["cache"], trained["teacher_cache_bytes"].value
    yield "rule", there["rule"], kept.rule.value
    fit = there["fit"] or (None, None, None)
    yield from zip(("fit", "fit, low", "fit, high"), fit, three(kept.fit), strict=True)
    for one, plan in zip(there["serving"], serving_plans(preset.teacher, student.sizes, config, machine), strict=True):
        assert (one["model"], one["dtype"]) == (plan.model, plan.dtype)
        yield "ttft", one["ttft"] and 1e3 * one["ttft"], plan.ttft_ms.value
        yield "tpot", one["tpot"] and 1e3 * one["tpot"], plan.tpot_ms.value
        yield "throughput", one["throughput"], plan.throughput.value
        yield "requests", one["max_requests"], plan.max_requests
        yield "cost", one["cost"], plan.cost_per_million.value


def three(figure: Figure):
    return figure.value, figure.low, figure.high


def test_softened_logits_are_pythons(page):
    from distill_eval.plan.soft import dark_share, entropy, soft_loss, softened

    teacher, student = [5.0, 1.0, 0.5], [3.0, 1.5, 0.5]
    for temperature in (0.5, 1, 2, 4):
        found = page.run(f"softFigures({teacher}, {student}, {temperature})")
        probabilities = softened(teacher, temperature)
        assert found["teacher"]["probabilities"] == pytest.approx(probabilities, rel=1e-12)
        assert found["teacher"]["entropy"] == pytest.approx(entropy(probabilities), rel=1e-12)
        assert found["teacher"]["dark"] == pytest.approx(dark_share(probabilities), rel=1e-12)
        assert found["loss"] == pytest.approx(soft_loss(teacher, student, temperature), rel=1e-12)


CALLS = [
    (small.floors, [(7, 2), (-7, 2), (7, -2), (1e15, 3)]),
    (small.looks_up, [("low", "yes"), ("low", "no"), ("none", "no")]),
    (small.falls_through, [([], 1), ([0], 1), (0, 2), ("", 3)]),
    (small.chained, [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 7, 3)]),
    (small.adds_up, [([[1, 2], [3, 4.5]],), ([],)]),
    (small.counts, [(1,), (100,)]),
    (small.by_name, [(9,), (7,)]),
    (small.extremes, [([3, -1.5, 2],)]),
    (small.records, [(2,), (9,)]),
    (small.logarithms, [(0.3,), (8,)]),
]


def test_what_is_translated_does_what_it_did(page):
    script = Translation()
    script.add(*(function for function, _ in CALLS))
    for function, inputs in CALLS:
        for given in inputs:
            there = page.run(f"(() => {{ {script.text()} return {function.__name__}(...{json.dumps(given)}); }})()")
            here = json.loads(json.dumps(function(*given)))
            assert alike(there, here), (function.__name__, given, there, here)


def alike(there, here):
    """JSON of both, numbers to 1e-12."""
    if isinstance(here, list):
        return len(there) == len(here) and all(map(alike, there, here))
    is_number = isinstance(here, int | float) and not isinstance(here, bool)
    return there == pytest.approx(here, rel=1e-12) if is_number else there is here or (there == here and here == "")


@pytest.mark.parametrize(
    "call", ["divides(1, 0)", "logarithms(0)", "logarithms(-1)", "extremes([])", "looks_up('low')"]
)
def test_what_fails_in_python_fails(page, call):
    script = Translation()
    script.add(small.divides, small.logarithms, small.extremes)
    text = f"{script.text()} function looks_up() {{ return item([1], 5); }}"
    answer = f"(() => {{ {text} try {{ return {call}; }} catch (error) {{ return 'failed'; }} }})()"
    assert page.run(answer) == "failed"


# ---- the page itself


def test_it_asks_for_nothing_and_complains_of_nothing(page):
    assert page.requests == [plan_page.PAGE.resolve().as_uri()]
    assert page.complaints == []


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("preset", range(len(plan_page.EXAMPLES)))
def test_it_is_never_wider_than_the_screen(chromium, width, preset):
    chromium.show(width=width, mobile=width < 500)
    chromium.open(plan_page.PAGE)
    choose(chromium, "preset", preset)
    chromium.run("document.getElementById('anchors').open = true")
    assert chromium.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert chromium.run("window.innerWidth") == width
    assert chromium.complaints == []


def choose(chromium, id_, index):
    chromium.run(
        f"(() => {{ const one = document.getElementById('{id_}'); one.selectedIndex = {index}; "
        "one.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )


def shown(chromium, id_):
    return chromium.run(f"document.getElementById('{id_}').textContent")


def test_every_control_has_a_label_and_a_slider_says_what_it_means(page):
    unlabeled = (
        "[...document.querySelectorAll('input, select')].filter((one) => !one.labels.length).map((one) => one.id)"
    )
    assert page.run(unlabeled) == []
    untold = (
        "[...document.querySelectorAll('input[type=range]')].filter((one) => !one.getAttribute('aria-valuetext') "
        "|| one.getAttribute('aria-valuetext') !== document.getElementById(`${one.id}-shown`).textContent)"
    )
    assert page.run(f"{untold}.length") == 0


def test_sliders_move_by_keyboard(page, presets):
    before = shown(page, "stop-shown")
    page.run("document.getElementById('stop').focus()")
    page.press("ArrowRight", 39)
    ratio = presets[0].stops[presets[0].first + 1][0].compression
    assert before.startswith("1.65x")
    assert shown(page, "stop-shown").startswith(f"{ratio:.3g}x")
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert "14.7 MB" in shown(page, "sizes")  # 640 tokens of the teacher: 30 layers x 2 x 3 heads x 64 x 2 bytes


def test_a_preset_shows_its_student_and_where_published_ones_end(page):
    choose(page, "preset", 4)
    assert "8,030,261,248" in shown(page, "sizes")  # Llama 3.1 8B
    assert "no value, for published students are not like it" in shown(page, "kept")
    assert "91.9 %" in shown(page, "kept")  # the rule's own example
    choose(page, "preset", 1)
    assert "66,955,010" in shown(page, "sizes")  # DistilBERT with two labels
    assert "peak1.38 GB" in shown(page, "memory")  # on a GPU, with masks of dropout
    assert page.run("document.querySelectorAll('svg.kept .fit').length") == 1


def marks(chromium):
    """Lines of the fit, lines at the student's size, and dots of the student."""
    return [chromium.run(f"document.querySelectorAll('svg.kept {one}').length") for one in (".fit", ".size", ".point")]


def test_a_student_is_a_line_at_its_size_and_a_dot_where_the_fit_has_a_value(page):
    choose(page, "preset", 1)
    assert marks(page) == [1, 1, 1]  # BERT base to DistilBERT, 1.64 times, by logit
    assert page.run("document.querySelector('.kept .size').x1.baseVal.value") == pytest.approx(
        page.run("document.querySelector('.kept .point').cx.baseVal.value")
    )
    choose(page, "preset", 2)
    assert marks(page) == [1, 1, 0]  # BERT large to DistilBERT, 5 times: beyond the points of logit
    said = shown(page, "kept")
    assert "by logit there are 6, from 1.321 to 2.088 times smaller" in said
    assert "enough by attention (10, from 1.627 to 15.45 times) or feature (9, from 1.627 to 7.714 times)" in said
    choose(page, "method", list(COST).index("attention"))
    assert marks(page) == [1, 1, 1]
    assert "25 fine-tuned encoders are" in shown(page, "kept")
    choose(page, "preset", 3)
    choose(page, "method", list(COST).index("feature"))
    assert marks(page) == [0, 1, 0]
    assert "by feature there are 1, at 1.373 times smaller, and the fit needs 3" in shown(page, "kept")


def test_tokens_are_the_rules_until_they_are_chosen(page):
    assert shown(page, "tokens-shown") == f"{5 * (1 + 0.4 * math.log2(134515008 / 81413568)):.3g}B"
    page.run("document.getElementById('tokens').focus()")
    page.press("End", 35)
    assert shown(page, "tokens-shown") == "10T"
    assert page.run("document.getElementById('rule').checked") is False


def test_logits_that_are_typed(page):
    assert "0.8060" in shown(page, "softened")  # 5.0 of [5.0, 1.0, 0.5] at T = 2
    typed(page, "teacher-logits", "[2, 2]")
    assert shown(page, "soft-wrong") == "The teacher has 2 logits and the student 3: type as many of both"
    assert shown(page, "softened") == ""
    typed(page, "student-logits", "2 2")
    assert shown(page, "soft-wrong") == ""
    assert "0.5000" in shown(page, "softened")
    assert "0.6931" in shown(page, "softened")
    typed(page, "student-logits", "2, two")
    assert shown(page, "soft-wrong").startswith('"two" is no logit')


def typed(chromium, id_, text):
    chromium.run(
        f"(() => {{ const one = document.getElementById('{id_}'); one.value = {json.dumps(text)}; "
        "one.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )


def test_light_and_dark_can_be_read(chromium):
    grounds = []
    for dark in (False, True):
        chromium.show(width=1280, dark=dark)
        chromium.open(plan_page.PAGE)
        grounds.append(chromium.run("getComputedStyle(document.body).backgroundColor"))
        dot = "getComputedStyle(document.querySelector('.kept .anchor:not(.other)')).fill"
        assert chromium.run(dot) != grounds[-1]
    assert grounds == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]
