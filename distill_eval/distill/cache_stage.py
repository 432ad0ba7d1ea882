"""The stage behind `distill-eval cache-teacher`: a teacher answers to every row of a data set, once."""

from __future__ import annotations

from collections.abc import Callable

from distill_eval.device import choose_device
from distill_eval.distill import data, models
from distill_eval.distill.answers import softened
from distill_eval.distill.blocks import Blocks
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.isolation import find_isolation
from distill_eval.distill.kept_rows import check_num_kept, most_kept
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
    vocab_size = int(student.config.get_text_config().vocab_size)
    num_kept = config.num_kept or most_kept(config.kind, vocab_size)
    check_num_kept(config.kind, num_kept, vocab_size)
    texts = data.load(config.data, student.tokenizer, seed=config.seed, batch_blocks=1)
    assert isinstance(texts.train, Blocks)  # the config refuses to stream
    device = choose_device(config.device)
    live = models.load_teacher(teacher, config.teacher_dtype, device)
    key = CacheKey(
        kind=config.kind,
        teacher_digest=models.weights_digest(teacher.folder),
        teacher_dtype=config.teacher_dtype,
        tokenizer_digest=models.vocabulary_digest(student.tokenizer),
        data_digest=texts.train.digest,
        num_blocks=len(texts.train),
        vocab_size=vocab_size,
        temperature=config.temperature,
        num_kept=num_kept,
        seed=config.seed if config.kind == "sample" else None,
    )
    answer = softened(live, temperature=config.temperature, vocab_size=vocab_size, isolation=find_isolation(live))

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
