"""The real checkpoint on real benchmarks: every log-likelihood, greedy flag, text and score is lm-eval's own."""

import pytest
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_eval.evaluate.harness import results, tasks
from distill_eval.evaluate.harness.index import open_manager
from distill_eval.evaluate.harness.lm import SharedPrefixLM
from distill_eval.evaluate.harness.requests import Recorder
from distill_eval.store import Store

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
CASES = {  # task: (shots, documents)
    "lambada_openai": (None, 24),
    "hellaswag": (None, 8),
    "arc_easy": (2, 8),
    "arc_challenge": (5, 4),
    "winogrande": (None, 16),
    "boolq": (None, 4),
    "openbookqa": (None, 8),
    "sciq": (None, 4),
    "blimp_adjunct_island": (None, 8),
    "blimp_wh_island": (None, 8),
    "mmlu_anatomy": (5, 6),
    "mmlu_business_ethics": (5, 4),
    "wikitext": (None, 1),
    "gsm8k": (2, 1),
}


@pytest.fixture(scope="module")
def engines(hub):
    def model():
        return AutoModelForCausalLM.from_pretrained(MODEL, dtype="float32").eval()

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    return HFLM(pretrained=model(), tokenizer=tokenizer, batch_size=4), SharedPrefixLM(model(), tokenizer)


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("index"))
    return open_manager(None, store.get, store.put)


@pytest.mark.parametrize("name", CASES)
def test_scores_are_lm_evals(name, engines, manager):
    num_fewshot, limit = CASES[name]
    options = tasks.TaskOptions(num_fewshot, limit, 1234)
    task = tasks.load_tasks(manager, [name], options).tasks[name]
    built = tasks.build(task, options)
    kind = built.instances[0].request_type
    scores, answers = [], []
    for engine in engines:
        if isinstance(engine, SharedPrefixLM):
            engine.recorder = Recorder()
        responses = getattr(engine, kind)(built.instances, disable_tqdm=True)
        results.assign(built.instances, responses)
        metrics, _ = results.score(task, built.num_docs)
        answers.append(responses)
        scores.append({(run.metric, run.filter): run.value for run in metrics})
    expected, found = answers
    assert engines[1].plain_reason is None
    if kind == "generate_until":
        assert found == expected
    elif kind == "loglikelihood_rolling":
        assert found == pytest.approx(expected, abs=1e-3, rel=1e-6)  # float32 sums of thousands of nats
    else:
        assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-3)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    for key, value in scores[0].items():  # a perplexity is e to the power of what was compared above
        assert scores[1][key] == (
            pytest.approx(value, rel=1e-4) if "perplexity" in key[0] else pytest.approx(value, abs=1e-6)
        )
