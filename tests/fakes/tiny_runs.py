"""A teacher, a student and a text, as a folder, and command lines that train on them."""

import json
import random

from fakes.tiny_families import save


def write_models_and_text(root):
    """Write everything; returns the folder."""
    save("llama", root / "teacher", seed=0)
    save("llama", root / "student", seed=1)
    draw = random.Random(0)
    lines = ["".join(draw.choices("abcdefgh ", k=draw.randint(20, 60))) for _ in range(70)]
    (root / "text.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return root


def command(verb, root, output, **options):
    """Six short steps of `distill`, or of another verb with its options."""
    options = {
        "student": root / "student",
        "teacher": root / "teacher",
        "data": root / "text.jsonl",
        "max_length": 32,
        "validation_documents": 5,
        "steps": 6,
        "device": "cpu",
        "output_dir": output,
        **options,
    }
    return [verb, *(f"--{name.replace('_', '-')}={value}" for name, value in options.items())]
