"""The stage behind `distill-eval cache-teacher`: a teacher answers to every row of a data set, once."""

from __future__ import annotations

from collections.abc import Callable

from distill_eval.device import choose_device
from distill_eval.distill import data, models
from distill_eval.distill.blocks import Blocks
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.isolation import find_isolation
from distill_eval.distill.kept_rows import MAX_BYTES, check_num_kept, hidden_bytes, most_kept, row_bytes
from distill_eval.distill.layer_map import layer_pairs
from distill_eval.distill.live_rows import ask
from distill_eval.distill.teacher_cache import Teacher, write_cache
from distill_eval.schema.model import ModelRef
from distill_eval.schema.teacher_cache import CacheKey, CacheManifest


def run(config: CacheTeacherConfig, *, say: Callable[[str], None]) -> CacheManifest:
    """Write the cache, or go on with it, and return its manifest.

    Raises:
        UsageError: the models do not speak of the same tokens, or the folder holds something else.
        ModelError: a model cannot be had or loaded.
        DataError: the data cannot be had.
        StoreError: the folder cannot be written.
    """
    student = models.locate(ModelRef.parse(config.student), role="student")
    teacher = models.locate(ModelRef.parse(config.teacher), role="teacher")
    models.check_vocabulary(student, teacher)
    num_kept = _num_kept(config, student)
    layers = _layers(config, student, teacher)
    texts = data.load(config.data, student.tokenizer, seed=config.seed, batch_blocks=1)
    assert isinstance(texts.train, Blocks)  # the config refuses to stream
    key = _key(config, student, teacher, texts.train, num_kept=num_kept, layers=layers)
    say(_size(key, texts.train.num_scored_tokens))
    live = models.load_teacher(teacher, config.teacher_dtype, choose_device(config.device))
    answer = ask(
        live, temperature=key.temperature, layers=layers, vocab_size=key.vocab_size, isolation=find_isolation(live)
    )

    def tell(done: int, total: int) -> None:
        if done == total or done // config.batch_size % 16 == 0:
            say(f"{done:,} of {total:,} rows")

    return write_cache(
        config.output_dir,
        key,
        texts.train,
        Teacher(config.teacher, answer, config.batch_size),
        collate=texts.collate,
        progress=tell,
    )


def _num_kept(config: CacheTeacherConfig, student: models.Located) -> int | None:
    """Ids per token; `None` for hidden states alone."""
    if config.kind == "hidden":
        return None
    vocab_size = int(student.config.get_text_config().vocab_size)
    num_kept = config.num_kept or most_kept(config.kind, vocab_size)
    check_num_kept(config.kind, num_kept, vocab_size)
    return num_kept


def _key(
    config: CacheTeacherConfig,
    student: models.Located,
    teacher: models.Located,
    blocks: Blocks,
    *,
    num_kept: int | None,
    layers: tuple[int, ...],
) -> CacheKey:
    theirs = teacher.config.get_text_config()
    return CacheKey(
        kind=config.kind,
        teacher_digest=models.weights_digest(teacher.folder),
        teacher_dtype=config.teacher_dtype,
        tokenizer_digest=models.vocabulary_digest(student.tokenizer),
        data_digest=blocks.digest,
        num_blocks=len(blocks),
        vocab_size=int(student.config.get_text_config().vocab_size),
        temperature=None if num_kept is None else config.temperature,
        num_kept=num_kept,
        seed=config.seed if config.kind == "sample" else None,
        layers=layers,
        num_layers=int(theirs.num_hidden_layers) if layers else None,
        hidden_size=int(theirs.hidden_size) if layers else None,
        dtype=config.kept_dtype,
    )


def _layers(config: CacheTeacherConfig, student: models.Located, teacher: models.Located) -> tuple[int, ...]:
    """The teacher's layers that the student's map names, ascending; none without a map."""
    if config.mapped is None:
        return ()
    ours, theirs = (model.config.get_text_config().num_hidden_layers for model in (student, teacher))
    return tuple(sorted({layer for _, layer in layer_pairs(config.mapped, ours, theirs)}))


def _size(key: CacheKey, num_tokens: int) -> str:
    """What it will take, before the long work."""
    states = ""
    if key.layers:
        states = (
            f", {hidden_bytes(key):,} of them hidden states ({len(key.layers)} layers x {key.hidden_size:,} x 2 bytes; "
            f"the limit of {MAX_BYTES} bytes is that of soft labels alone)"
        )
    total = row_bytes(key) * num_tokens / 1e6
    return f"{num_tokens:,} tokens, at most {row_bytes(key):,.0f} bytes per token and {total:,.1f} MB{states}"
