"""A stand-in for optimum-cli: its command line, its graphs' names, its way of failing, and transformers 4's config.

It traces a tiny Llama or DistilBERT, and takes `rope_theta` from where transformers 4 looks for it: beside the other
values, 10,000 if it is not there.
"""

import argparse
import json
import os
import shutil
import signal
import sys
from pathlib import Path

VERSIONS = {"optimum": "2.1.0", "transformers": "4.57.6"}
KNOWN = ("llama", "distilbert")
_PROGRAM = """#!{python}
import sys
sys.path.insert(0, {tests!r})
from fakes.optimum_cli import main
main(sys.argv[1:], **{settings!r})
"""


def install(folder, **settings):
    """The command, as it lies in another environment's folder; `settings` are those of `main`."""
    path = folder / "optimum-cli"
    tests = str(Path(__file__).resolve().parent.parent)
    path.write_text(_PROGRAM.format(python=sys.executable, tests=tests, settings=settings))
    path.chmod(0o755)
    return path


def main(argv, fault=None, replay=None):
    """Run a command line.

    Args:
        argv: Its words.
        fault: `no-optimum`, `no-onnx`, `killed` or `nothing`: what is wrong with it.
        replay: A folder that holds, by task, what is given back in place of the model.
    """
    foreign = [name for name in ("PYTHONPATH", "VIRTUAL_ENV") if name in os.environ]
    assert not foreign, f"{foreign} point to another environment's packages"
    if fault == "no-optimum":
        raise ModuleNotFoundError("No module named 'optimum'")
    options = _parse(argv, fault)
    if options.command == "env":
        print("\nCopy-and-paste the text below in your GitHub issue:\n")
        print("".join(f"- `{name}` version: {version}\n" for name, version in VERSIONS.items()))
    elif fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif replay is not None:
        shutil.copytree(Path(replay, options.task), options.output)
    elif fault != "nothing":
        write(Path(options.model), Path(options.output), options.task)


def write(model, output, task):
    """Write model.onnx, and a config as the real one does."""
    config = json.loads((model / "config.json").read_text())
    if config["model_type"] not in KNOWN:
        raise ValueError(
            f"Trying to export a {config['model_type']} model, that is a custom or unsupported architecture, but no "
            "custom onnx configuration was passed as `custom_onnx_configs`."
        )
    assert not (model / "tokenizer_config.json").exists(), "transformers 4 does not load every tokenizer of 5"
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.get("rope_theta", 10000.0)}
    output.mkdir()
    (output / "config.json").write_text(json.dumps(config))
    {"text-generation-with-past": _trace_causal, "text-classification": _trace_classifier}[task](model, output)


def _parse(argv, fault):
    parser = argparse.ArgumentParser("optimum-cli")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("env")
    formats = commands.add_parser("export").add_subparsers(required=True)
    onnx = formats.add_parser("openvino" if fault == "no-onnx" else "onnx")
    onnx.add_argument("--model", required=True)
    onnx.add_argument("--task", required=True)
    onnx.add_argument("--library-name", required=True, choices=["transformers"])
    onnx.add_argument("output")
    return parser.parse_args(argv)


def _load(auto, folder, output):
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(output)
    return auto.from_pretrained(folder, config=config, attn_implementation="eager", dtype="float32").eval()


def _trace_causal(folder, output):
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    model = _load(AutoModelForCausalLM, folder, output)
    config = model.config
    layers = range(config.num_hidden_layers)

    class Step(torch.nn.Module):
        """One run of the decoder, with the cache as plain tensors."""

        def __init__(self):
            super().__init__()
            self.model, self.lm_head = model.model, model.lm_head

        def forward(self, input_ids, attention_mask, position_ids, *past):
            cache = DynamicCache([(past[2 * layer], past[2 * layer + 1]) for layer in layers])
            place = past[0].shape[2] + torch.arange(input_ids.shape[1])
            seen = torch.arange(attention_mask.shape[1])[None] <= place[:, None]
            allowed = seen[None, None] & attention_mask[:, None, None].bool()
            hidden = self.model(
                input_ids=input_ids,
                attention_mask=torch.where(allowed, 0.0, torch.finfo(torch.float32).min),
                position_ids=position_ids,
                past_key_values=cache,
            ).last_hidden_state
            return self.lm_head(hidden), *(part for layer in cache.layers for part in (layer.keys, layer.values))

    batch, before, now = 2, 3, 4
    ids = torch.ones(batch, now, dtype=torch.long)
    mask = torch.ones(batch, before + now, dtype=torch.long)
    places = torch.arange(before, before + now).expand(batch, now).contiguous()
    past = torch.zeros(batch, config.num_key_value_heads, before, config.head_dim)
    parts = [(layer, part) for layer in layers for part in ("key", "value")]
    names = [f"past_key_values.{layer}.{part}" for layer, part in parts]
    made = [f"present.{layer}.{part}" for layer, part in parts]
    row, cached = {0: "batch_size", 1: "sequence_length"}, "past_sequence_length + sequence_length"
    axes = {"input_ids": row, "position_ids": row, "logits": row, "attention_mask": {0: "batch_size", 1: cached}}
    axes |= {name: {0: "batch_size", 2: "past_sequence_length"} for name in names}
    axes |= {name: {0: "batch_size", 2: cached} for name in made}
    inputs, outputs = ["input_ids", "attention_mask", "position_ids", *names], ["logits", *made]
    _export(Step(), (ids, mask, places, *[past] * len(names)), output, inputs, outputs, axes)


def _trace_classifier(folder, output):
    import torch
    from transformers import AutoModelForSequenceClassification

    model = _load(AutoModelForSequenceClassification, folder, output)
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in names} | {"logits": {0: "batch_size"}}
    model.config.return_dict = False
    ids = torch.ones(2, 5, dtype=torch.long)
    _export(model, (ids, ids), output, names, ["logits"], axes)


def _export(module, arguments, output, inputs, outputs, axes):
    import torch

    torch.onnx.export(
        module,
        arguments,
        output / "model.onnx",
        dynamo=False,
        opset_version=18,
        input_names=inputs,
        output_names=outputs,
        dynamic_axes=axes,
    )
