"""Tasks of every output type on data made in code, as a folder for `--include-path`."""

import json
import random

WORDS = [
    "bone",
    "heart",
    "liver",
    "first",
    "second",
    "who",
    "where",
    "answer",
    "long",
    "way",
    "sun",
    "moon",
    "tree",
    "river",
    "stone",
]

MULTIPLE_CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
CLOZE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{question}}}}"
doc_to_target: " {{{{choices[label]}}}}"
metric_list:
  - {{metric: perplexity, aggregation: perplexity, higher_is_better: false}}
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
TEXT = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list: [{{metric: word_perplexity}}, {{metric: byte_perplexity}}, {{metric: bits_per_byte}}]
metadata: {{version: 1.0}}
"""
GENERATE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[label]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 6, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""
SHOTS = MULTIPLE_CHOICE + "num_fewshot: 2\nfewshot_split: test\n"
FILTERS = (
    GENERATE
    + """repeats: 2
filter_list:
  - name: first-word
    filter: [{{function: regex, regex_pattern: "(\\\\w)"}}, {{function: take_first}}]
  - name: last-word
    filter: [{{function: regex, regex_pattern: "(\\\\w)", group_select: -1}}, {{function: take_first}}]
"""
)
OUTER = """
group: tiny_outer
task:
  - tiny_group
  - {task: tiny_shots, num_fewshot: 1}
aggregate_metric_list: [{metric: acc, weight_by_size: false}]
metadata: {version: 1}
"""
GROUP = """
group: tiny_group
task: [tiny_a, tiny_b]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
metadata: {version: 1}
"""
TEMPLATES = {
    "tiny_mc": MULTIPLE_CHOICE,
    "tiny_a": MULTIPLE_CHOICE,
    "tiny_b": MULTIPLE_CHOICE,
    "tiny_cloze": CLOZE,
    "tiny_text": TEXT,
    "tiny_gen": GENERATE,
    "tiny_shots": SHOTS,
    "tiny_filters": FILTERS,
}


def documents(name, num_docs):
    """Questions with three options each, the same for the same name."""
    draw = random.Random(name)
    for _ in range(num_docs):
        question = " ".join(draw.choice(WORDS) for _ in range(draw.randint(2, 6)))
        yield {"question": question, "choices": draw.sample(WORDS, 3), "label": draw.randrange(3)}


def write_tasks(folder, num_docs=20):
    """Write every task and the group `tiny_group`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, template in TEMPLATES.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(doc) + "\n" for doc in documents(name, num_docs)))
        (folder / f"{name}.yaml").write_text(template.format(name=name, data=data))
    (folder / "tiny_group.yaml").write_text(GROUP)
    (folder / "tiny_outer.yaml").write_text(OUTER)
    return folder
