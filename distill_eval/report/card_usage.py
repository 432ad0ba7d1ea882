"""How the model of a card is loaded and asked, by what wrote it."""

from __future__ import annotations

import json
import shlex

from distill_eval.report import escape
from distill_eval.report.card_metadata import pipeline_tag
from distill_eval.report.subject import Subject

GENERATE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({address})
model = AutoModelForCausalLM.from_pretrained({address})
inputs = tokenizer("The capital of France is", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0]))"""
CLASSIFY = """\
from transformers import pipeline

print(pipeline("text-classification", model={address})("A text to label."))"""
LOAD = """\
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({address})
model = AutoModel.from_pretrained({address})"""
GENAI = """\
import onnxruntime_genai as og

model = og.Model({folder})
tokenizer = og.Tokenizer(model)
params = og.GeneratorParams(model)
params.set_search_options(max_length=40)
generator = og.Generator(model, params)
generator.append_tokens(tokenizer.encode("The capital of France is"))
while not generator.is_done():
    generator.generate_next_token()
print(tokenizer.decode(generator.get_sequence(0)))"""
ONNX = """\
import onnxruntime
from transformers import AutoTokenizer

folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
session = onnxruntime.InferenceSession(f"{{folder}}/model.onnx")
inputs = dict(tokenizer("A text to label.", return_tensors="np"))
print(session.run(None, {{one.name: inputs[one.name] for one in session.get_inputs()}})[0])"""
DOWNLOAD = "from huggingface_hub import snapshot_download\n\n"


def section(subject: Subject) -> str:
    """A program that runs the model as it is, and what has to be installed for it."""
    packages, program = _program(subject)
    install = f"pip install {' '.join(packages)}"
    parts = [escape.code_block(install, language="sh"), escape.code_block(program, language="python")]
    if _for_vllm(subject):
        parts += ["Or serve it:", escape.code_block(f"vllm serve {shlex.quote(subject.address)}", language="sh")]
    return "\n\n".join(parts)


def _program(subject: Subject) -> tuple[list[str], str]:
    address, export = json.dumps(subject.address), subject.lineage.export
    if export is not None:
        folder = f"snapshot_download({address})" if subject.on_hub else address
        packages, program = (
            (["onnxruntime-genai"], GENAI) if export.kind == "causal" else (["onnxruntime", "transformers"], ONNX)
        )
        if subject.on_hub:
            packages, program = [*packages, "huggingface_hub"], DOWNLOAD + program
        return packages, program.format(folder=folder)
    program = {"text-generation": GENERATE, "text-classification": CLASSIFY}.get(pipeline_tag(subject) or "", LOAD)
    return ["torch", "transformers", *_unpacking(subject)], program.format(address=address)


def _unpacking(subject: Subject) -> list[str]:
    """What transformers computes with where weights are packed, named first in e.g. `bitsandbytes nf4`."""
    packed = subject.variant.quantization
    return [name for name in ("bitsandbytes", "compressed-tensors") if packed is not None and packed.startswith(name)]


def _for_vllm(subject: Subject) -> bool:
    """Whether vLLM reads the folder: a language model's, plain or as compressed-tensors."""
    packed = subject.variant.quantization
    readable = packed is None or packed.startswith("compressed-tensors")
    return readable and subject.lineage.export is None and pipeline_tag(subject) == "text-generation"
