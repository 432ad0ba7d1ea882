"""The table of devices, names as people type them, given numbers, and the speed of this machine."""

import pytest

from distill_eval.errors import UsageError
from distill_eval.plan.config import HardwarePlan
from distill_eval.plan.hardware import devices, find_hardware, listing, this_machine
from distill_eval.schema.plan import Hardware

HERE = Hardware(
    name="cpu", num_devices=1, memory_bytes=7, flops=2.0, bandwidth=3.0, price_per_hour=None, source="measured"
)


def find(**options):
    return find_hardware(HardwarePlan(**options), here=lambda name: HERE)


@pytest.mark.parametrize("typed", ["8xA100-80GB", "8xa100 80gb", "8XA100_80GB"])
def test_several_devices_are_one_device_times_their_number(typed):
    found = find(hardware=typed, price_per_hour=12.0)
    assert (found.name, found.num_devices, found.memory_bytes) == ("8xA100-80GB", 8, 80_000_000_000)
    assert (found.flops, found.bandwidth, found.price_per_hour) == (312e12, 2039e9, 12.0)
    assert "nvidia-a100-datasheet" in found.source


def test_every_device_is_found_by_its_own_name_and_says_where_its_figures_come_from():
    for name, device in devices().items():
        found = find(hardware=name)
        assert found.name == name
        assert found.num_devices == 1
        assert device.source.startswith("https://")
        assert 50 < device.tflops < 5000
        assert 200 < device.bandwidth < 10_000
        assert 16 <= device.memory < 300
        assert found.flops / found.bandwidth > 50, "a step with few tokens is bound by memory on all of them"
        assert name in listing()


def test_no_name_and_cpu_are_this_machine():
    asked = []

    def here(name):
        asked.append(name)
        return HERE

    assert find_hardware(HardwarePlan(), here=here) == HERE
    assert find_hardware(HardwarePlan(hardware="CPU"), here=here) == HERE
    assert asked == [None, "cpu"]


def test_given_numbers_replace_those_of_the_table_and_make_unknown_hardware_known():
    found = find(hardware="L4", memory=48.0)
    assert (found.memory_bytes, found.flops) == (48_000_000_000, 121e12)
    assert found.source.startswith("--memory as given; the rest: https://")
    own = find(hardware="2xMyChip", flops=100.0, bandwidth=500.0, memory=20.0)
    assert (own.name, own.num_devices, own.memory_bytes) == ("2xMyChip", 2, 20_000_000_000)
    assert (own.flops, own.bandwidth, own.source) == (1e14, 5e11, "--flops, --bandwidth, --memory as given")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hardware": "H100"}, "Did you mean H100-SXM-80GB or H100-PCIe-80GB?"),
        ({"hardware": "A100-80G"}, "Did you mean A100-80GB?"),
        ({"hardware": "MyChip", "flops": 100.0}, "beside the numbers that are given add --bandwidth GB/s --memory GB"),
        ({"hardware": "MyChip"}, "--flops TFLOP/s --bandwidth GB/s --memory GB"),
        ({"hardware": "0xT4"}, "expected 1 device or more"),
    ],
)
def test_unknown_hardware_lists_what_is_known(options, said):
    with pytest.raises(UsageError) as caught:
        find(**options)
    assert said in str(caught.value)
    assert options["hardware"] in str(caught.value)


def test_this_machine_is_measured():
    found = this_machine("cpu", seconds=0.0)  # three runs of each
    assert found.name == "cpu"
    assert found.num_devices == 1
    assert 1e9 < found.memory_bytes < 1e14
    assert 1e8 < found.flops < 1e15
    assert 1e8 < found.bandwidth < 1e13
    assert "measured here with" in found.source
    assert "in float32" in found.source
