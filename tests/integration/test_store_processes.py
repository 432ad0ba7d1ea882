"""Several processes on one store: nothing is computed twice, and nothing is lost with a killed one."""

import os
import signal
import subprocess
import sys
import time

from distill_eval.store import Store

PARTS = {"model": "tiny", "task": "sciq"}
NUM_DOCS = 60

# Scores each document by writing its number to a log that every process appends to.
WORKER = """
import logging, os, signal, sys, time
from pathlib import Path
from distill_eval.store import Store

root, log, stop_after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
logging.basicConfig(level=logging.INFO, format="%(message)s")
with Store(root).journal("scores", {"model": "tiny", "task": "sciq"}) as journal:
    if journal.finished is None:
        for index in range(60):
            if index in journal.done:
                continue
            with open(log, "a") as file:
                file.write(f"{index}\\n")
            journal.append({index: -index / 7})
            time.sleep(0.01)
            if len(journal.done) == stop_after:
                os.kill(os.getpid(), signal.SIGKILL)
        journal.finish(repr(sorted(journal.done.items())).encode())
    print(len(journal.finished))
"""

# Fills its disk, as far as the system's limit on a file's size lets a test do so.
FULL = """
import resource, sys
from pathlib import Path
from distill_eval.errors import StoreError
from distill_eval.store import Store, write_atomic

root, output = Path(sys.argv[1]), Path(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    write_atomic(output / "report.md", "x" * 6000)
except StoreError as error:
    print(error)
index = 0
try:
    with Store(root).journal("scores", {"model": "tiny", "task": "sciq"}) as journal:
        while True:
            journal.append({index: "x" * 100})
            index += 1
except StoreError as error:
    print(error)
print(index)
"""


def start(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def expected():
    return repr([(i, -i / 7) for i in range(NUM_DOCS)]).encode()


def test_two_processes_compute_once_between_them(tmp_path):
    log = tmp_path / "log"
    workers = [start(WORKER, tmp_path / "cache", log, -1) for _ in range(3)]
    ends = [worker.communicate(timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert {out for out, _ in ends} == {f"{len(expected())}\n"}
    assert log.read_text().split() == [str(i) for i in range(NUM_DOCS)]
    assert Store(tmp_path / "cache").get("scores", PARTS) == expected()
    assert sorted(path.suffix for path in (tmp_path / "cache" / "scores").iterdir()) == [".entry"]


def test_who_waits_says_so(tmp_path):
    store = Store(tmp_path / "cache")
    with store.journal("scores", PARTS) as journal:
        worker = start(WORKER, store.root, tmp_path / "log", -1)
        assert worker.stderr.readline() == "waiting for another process that works on scores model=tiny task=sciq\n"
        journal.finish(b"12345")
    assert worker.communicate(timeout=60) == ("5\n", "")
    assert not (tmp_path / "log").exists()


def test_a_killed_process_loses_nothing(tmp_path):
    log = tmp_path / "log"
    for stop_after in (10, 25):
        worker = start(WORKER, tmp_path / "cache", log, stop_after)
        worker.communicate(timeout=60)
        assert worker.returncode == -signal.SIGKILL
    last = start(WORKER, tmp_path / "cache", log, -1)
    assert last.communicate(timeout=60)[0] == f"{len(expected())}\n"
    assert log.read_text().split() == [str(i) for i in range(NUM_DOCS)]
    assert Store(tmp_path / "cache").get("scores", PARTS) == expected()


def test_ctrl_c_keeps_what_was_done(tmp_path):
    log = tmp_path / "log"
    worker = start(WORKER, tmp_path / "cache", log, -1)
    deadline = time.monotonic() + 30
    while not (log.exists() and len(log.read_text().split()) >= 5):
        assert time.monotonic() < deadline, "the worker did not start"
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGINT)
    worker.communicate(timeout=60)
    assert worker.returncode == -signal.SIGINT
    with Store(tmp_path / "cache").journal("scores", PARTS) as journal:
        assert len(journal.done) >= 4
        assert journal.done == {i: -i / 7 for i in range(len(journal.done))}


def test_a_disk_that_takes_no_more_keeps_what_it_took(tmp_path):
    worker = start(FULL, tmp_path / "cache", tmp_path / "out")
    output, errors = worker.communicate(timeout=60)
    report, journal_message, count = output.splitlines()
    assert report.startswith(f"cannot write {tmp_path / 'out' / 'report.md'}: File too large. Free space")
    assert report.endswith("--output-dir")
    assert journal_message.endswith("$DISTILL_EVAL_CACHE"), errors
    assert list((tmp_path / "out").iterdir()) == []
    with Store(tmp_path / "cache").journal("scores", PARTS) as journal:
        assert int(count) > 30
        assert journal.done == dict.fromkeys(range(int(count)), "x" * 100)
