"""Memory of a group of processes, memory of the machine, joules of a block."""

import subprocess
import sys
import time

import pytest

from distill_eval.serving import energy, memory
from distill_eval.serving.ticking import ticking

MIB = 1 << 20
HOLDER = """
import sys
held = bytearray({first})
print("one", flush=True)
sys.stdin.readline()
more = bytearray({second})
print("two", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder():
    """A process that leads its group and holds 60 MiB, and 40 MiB more when it is told to."""
    code = HOLDER.format(first=60 * MIB, second=40 * MIB)
    process = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "one\n"
    yield process
    process.kill()
    process.communicate()


def test_the_memory_of_a_group_and_its_peak(holder):
    with memory.watched(holder.pid, "cpu", seconds=0.05) as found:
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "two\n"
        time.sleep(0.2)
    assert 60 * MIB < found.rest.num_bytes < 90 * MIB
    assert found.peak.num_bytes - found.rest.num_bytes == pytest.approx(40 * MIB, rel=0.1)
    if sys.platform == "linux":
        assert found.rest.measure == memory.PSS


def test_pages_that_processes_share_count_once():
    code = "import os, sys; held = bytearray(80 << 20); child = os.fork(); print(flush=True); sys.stdin.readline()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert [process.stdout.readline() for _ in range(2)] == ["\n", "\n"]
        assert len(memory.processes(process.pid)) == 2
        found = memory.resident(process.pid)
    finally:
        process.communicate("\n\n")
    limit = 120 * MIB if sys.platform == "linux" else 250 * MIB
    assert 80 * MIB < found.num_bytes < limit


def test_a_group_that_is_gone_has_no_memory(holder):
    holder.kill()
    holder.wait()
    assert memory.resident(holder.pid) == memory.Memory(None, "the server's processes have ended")


def program(tmp_path, text):
    """A program in nvidia-smi's place."""
    path = tmp_path / "nvidia-smi"
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_memory_of_a_gpu(holder, tmp_path):
    ours = program(tmp_path, f"print('{holder.pid}, 1000'); print('1, 7'); print('{holder.pid}, 24')")
    assert memory.on_gpu(holder.pid, ours) == memory.Memory(1024 * MIB, memory.GPU)
    others = program(tmp_path, "print('1, 7')")
    assert memory.on_gpu(holder.pid, others) == memory.Memory(None, f"{others} names no process of the server")
    broken = program(tmp_path, "import sys; sys.exit('no devices')")
    assert memory.on_gpu(holder.pid, broken).measure.endswith("ended with code 1: no devices")
    assert memory.on_gpu(holder.pid, "no-such-smi").measure.startswith("no-such-smi is not there")


def test_a_reading_that_fails_hides_no_peak():
    found = memory.Watched(memory.Memory(None, "not yet"))
    for size in (3, None, 7, 5, None):
        found.note(memory.Memory(size, str(size)))
    assert found.peak == memory.Memory(7, "7")
    assert found.rest.num_bytes is None


def test_a_container_has_less_memory_than_its_machine(tmp_path):
    whole = memory.available_bytes(tmp_path)
    assert whole > 100 * MIB
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{60 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {20 * MIB}\ninactive_file {30 * MIB}\n")
    assert memory.available_bytes(tmp_path) == pytest.approx(whole, rel=0.2)
    (tmp_path / "memory.max").write_text(f"{100 * MIB}\n")
    assert memory.available_bytes(tmp_path) == 70 * MIB
    (tmp_path / "memory.current").write_text(f"{200 * MIB}\n")
    assert memory.available_bytes(tmp_path) == 0


def zone(root, name, energy_uj, period=1_000_000):
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{period}\n")


def test_joules_of_all_packages_with_a_counter_that_begins_again(tmp_path):
    zone(tmp_path, "intel-rapl:0", 900_000)
    zone(tmp_path, "intel-rapl:1", 100_000)
    zone(tmp_path, "intel-rapl:0:0", 5)  # a part of package 0, which must not count twice
    meter = energy.PackageMeter(tmp_path)
    with energy.metered(meter, seconds=60):
        zone(tmp_path, "intel-rapl:0", 100_000)
        zone(tmp_path, "intel-rapl:1", 350_000)
        zone(tmp_path, "intel-rapl:0:0", 5_000)
    assert meter.joules == pytest.approx(0.2 + 0.25)
    assert meter.reason is None


def test_energy_that_cannot_be_read_has_a_reason(tmp_path):
    none = energy.PackageMeter(tmp_path)
    with energy.metered(none):
        pass
    assert (none.joules, none.reason) == (None, f"no energy counter in {tmp_path}")
    zone(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    gone = energy.PackageMeter(tmp_path)
    gone.read()
    assert gone.joules is None
    assert gone.reason.endswith("energy_uj cannot be read: No such file or directory")


def test_joules_of_gpus_are_the_mean_of_their_power_times_the_seconds(tmp_path):
    count = tmp_path / "count"
    count.write_text("0")
    code = f"""
import pathlib
count = pathlib.Path({str(count)!r})
number = int(count.read_text())
count.write_text(str(number + 1))
print([100, 200, 50][number]); print(10)
"""
    times = iter([0.0, 2.0, 3.0])
    meter = energy.GpuMeter(program=program(tmp_path, code), clock=lambda: next(times))
    for _ in range(3):
        meter.read()
    assert meter.joules == pytest.approx(2 * (110 + 210) / 2 + 1 * (210 + 60) / 2)
    silent = energy.GpuMeter("1", program=program(tmp_path, "print('[N/A]')"))
    silent.read()
    assert silent.joules is None
    assert silent.reason.endswith("does not say what power the GPU draws: '[N/A]'")
    assert energy.GpuMeter(program="no-such-smi").reason.startswith("no-such-smi is not there")


def test_each_device_has_its_meter():
    assert isinstance(energy.meter("cpu"), energy.PackageMeter)
    assert isinstance(energy.meter("cuda:1"), energy.GpuMeter)


def test_ticking_is_there_at_the_begin_in_between_and_at_the_end():
    seen = []
    with ticking(lambda: seen.append(time.monotonic()), 0.05):
        assert len(seen) == 1
        time.sleep(0.4)
        before = len(seen)
    assert before >= 4
    assert len(seen) == before + 1 or len(seen) == before + 2
    number = len(seen)
    time.sleep(0.15)
    assert len(seen) == number
