"""The manifest of an evaluation with every default."""

from distill_eval.schema.evals import Manifest

MANIFEST = Manifest(
    limit=None,
    num_fewshot=None,
    seed=1234,
    apply_chat_template=False,
    chat_template_digest=None,
    engine="transformers",
    engine_version="transformers 5.19.0, torch 2.13.0",
    lm_eval_version="0.4.13",
    dtype="float32",
    device="cpu",
    batch_tokens=None,
    scorer="prefix",
)
