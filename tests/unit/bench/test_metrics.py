"""Serving metrics against closed forms."""

import numpy as np
import pytest

from distill_eval.bench.metrics import metrics, parse_goodput, shape_of
from distill_eval.errors import UsageError
from distill_eval.schema.timing import Load, RequestTiming, Window

CLOSED, OPEN, OFFLINE = Load(kind="closed", concurrency=2), Load(kind="open", request_rate=1.0), Load(kind="offline")


def window(number=0, began_s=0.0, ended_s=10.0, load=CLOSED):
    return Window(
        number=number, model="m", engine="vllm", load=load, repeat=0, phase="measured", began_s=began_s, ended_s=ended_s
    )


def request(sent_s=0.0, chunk_s=(0.1, 0.2, 0.4), *, tokens=3, index=0, **more):
    fields = {
        "window": 0, "index": index, "scheduled_s": None, "sent_s": sent_s,
        "chunk_s": tuple(sent_s + stamp for stamp in chunk_s), "ended_s": sent_s + chunk_s[-1] + 0.01,
        "status": "completed", "reason": None, "num_tries": 1, "max_tokens": 8, "num_prompt_tokens": 4,
        "usage_prompt_tokens": 5, "usage_completion_tokens": tokens, "text_tokens": None, "finish_reason": "length",
    }  # fmt: skip
    return RequestTiming(**{**fields, **more})


def failed(status, reason, **more):
    return request(chunk_s=(0.1,), status=status, reason=reason, tokens=None, **more)


def measured(*timings, goodput=None, load=CLOSED):
    return metrics(timings, [window(load=load)], goodput=goodput or {})


def test_one_request():
    found = measured(request(sent_s=1.0))
    assert found.ttft_ms.mean == pytest.approx(100)
    assert found.e2el_ms.mean == pytest.approx(400)  # to the last chunk, not to the end of the stream
    assert found.tpot_ms.mean == pytest.approx((400 - 100) / 2)
    assert (found.itl_ms.num, found.itl_ms.mean, found.itl_ms.p50) == (2, pytest.approx(150), pytest.approx(150))
    assert found.itl_ms.p99 == pytest.approx(100 + 0.99 * 100)
    assert (found.request_throughput, found.output_throughput, found.total_throughput) == (0.1, 0.3, 0.8)
    assert found.duration_s == 10.0


def test_a_chunk_is_not_a_token():
    found = shape_of(request(tokens=7))
    assert (len(found.itls), found.tpot) == (2, pytest.approx(0.3 / 6))


def test_percentiles_are_interpolated_between_requests():
    ttfts = np.array([10.0, 20.0, 30.0, 70.0])
    found = measured(*(request(chunk_s=(ttft / 1e3,), tokens=1) for ttft in ttfts)).ttft_ms
    assert (found.num, found.mean, found.p50) == (4, pytest.approx(32.5), pytest.approx(25))
    assert (found.p90, found.p95, found.p99) == tuple(pytest.approx(30 + 40 * (3 * q - 2)) for q in (0.9, 0.95, 0.99))


def test_what_did_not_complete_is_counted_and_left_out_of_everything_else():
    found = measured(
        request(),
        failed("errored", "HTTP 503: busy"),
        failed("errored", "HTTP 503: busy"),
        failed("cancelled", "interrupted"),
    )
    assert (found.num_completed, found.num_errored, found.num_cancelled) == (1, 2, 1)
    assert found.reasons == {"HTTP 503: busy": 2, "interrupted": 1}
    assert (found.ttft_ms.num, found.num_output_tokens, found.num_prompt_tokens) == (1, 3, 5)


def test_nothing_completed():
    found = measured(failed("errored", "x"), goodput={"ttft": 1.0})
    assert found.ttft_ms is found.itl_ms is found.tpot_ms is found.e2el_ms is None
    assert found.request_throughput is found.output_throughput is found.total_throughput is None
    assert found.goodput == 0.0
    assert found.num_count_mismatches is None


def test_one_token_has_no_tpot_and_counts_as_0_for_goodput():
    found = measured(request(chunk_s=(0.1,), tokens=1), goodput={"tpot": 1.0})
    assert (found.tpot_ms, found.itl_ms, found.goodput) == (None, None, 0.1)


def test_goodput_needs_every_limit():
    quick, slow = request(), request(chunk_s=(0.1, 1.1, 2.0))
    assert measured(quick, slow, goodput={"ttft": 150.0}).goodput == pytest.approx(0.2)
    assert measured(quick, slow, goodput={"ttft": 150.0, "tpot": 200.0}).goodput == pytest.approx(0.1)
    assert measured(quick, slow, goodput={"ttft": 50.0, "tpot": 200.0}).goodput == 0.0
    assert measured(quick, slow, goodput={"e2el": 1000.0}).goodput == pytest.approx(0.1)
    assert measured(quick).goodput is None


def test_without_usage_the_tokenizer_counts_and_without_both_nobody():
    assert measured(request(tokens=None, text_tokens=4)).num_output_tokens == 4
    unknown = measured(request(tokens=None), request(), goodput={"tpot": 1e6})
    assert unknown.output_throughput is unknown.total_throughput is None
    assert unknown.request_throughput == 0.2
    assert (unknown.tpot_ms.num, unknown.goodput) == (1, 0.1)


def test_counts_are_compared_where_both_exist():
    assert measured(request(text_tokens=3), request(text_tokens=4), request()).num_count_mismatches == 1
    assert measured(request()).num_count_mismatches is None


def test_prompt_tokens_are_the_servers():
    assert measured(request(usage_prompt_tokens=None), request()).num_prompt_tokens == 4 + 5


def test_both_clocks():
    """A request sent late is as slow for its user as one that is answered late (coordinated omission)."""
    timings = [request(sent_s=1.5, scheduled_s=1.0), request(sent_s=2.0005, scheduled_s=2.0)]
    found = measured(*timings, load=OPEN)
    assert found.ttft_ms.p50 == pytest.approx(100)
    assert found.scheduled_ttft_ms.mean == pytest.approx((600 + 100.5) / 2)
    assert found.scheduled_e2el_ms.mean == pytest.approx((900 + 400.5) / 2)
    assert found.num_late == 1
    offline = measured(*timings, load=OFFLINE)  # nobody can send all at one instant
    assert (offline.num_late, offline.scheduled_ttft_ms) == (None, found.scheduled_ttft_ms)
    closed = measured(request())
    assert closed.scheduled_ttft_ms is closed.scheduled_e2el_ms is closed.num_late is None


def test_a_late_request_is_late_though_it_failed():
    found = measured(failed("errored", "x", sent_s=1.5, scheduled_s=1.0), load=OPEN)
    assert (found.num_late, found.scheduled_ttft_ms) == (1, None)


def test_peak_concurrency_is_exact():
    timings = [request(sent_s=sent, chunk_s=(0.5,), ended_s=sent + 1.0, tokens=1) for sent in (0.0, 0.5, 1.0, 1.25)]
    assert measured(*timings).peak_concurrency == 3
    back_to_back = [request(sent_s=float(sent), chunk_s=(0.5,), ended_s=sent + 1.0, tokens=1) for sent in range(3)]
    assert measured(*back_to_back).peak_concurrency == 1
    assert measured().peak_concurrency == 0


def test_windows_are_pooled():
    windows = (window(0, 0.0, 4.0), window(1, 10.0, 16.0))
    timings = [request(), request(window=1, sent_s=11.0, chunk_s=(0.3,), tokens=1), request(window=2)]
    found = metrics(timings, windows, goodput={})
    assert found.duration_s == 10.0
    assert (found.num_completed, found.ttft_ms.mean) == (2, pytest.approx(200))
    assert found.output_throughput == pytest.approx(0.4)
    assert found.peak_concurrency == 1


def test_retries_are_counted():
    assert measured(request(num_tries=3), request()).num_retried == 1


def test_no_window_is_no_metric():
    with pytest.raises(ValueError, match="no window"):
        metrics([request()], [], goodput={})


def test_goodput_is_parsed():
    assert parse_goodput(["ttft:500", "tpot:50.5", "e2el:2000"]) == {"ttft": 500.0, "tpot": 50.5, "e2el": 2000.0}
    assert parse_goodput([]) == {}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tftt:500", "unknown --goodput metric 'tftt'. Did you mean 'ttft'? Known: e2el, tpot, ttft"),
        ("ttft", "--goodput ttft: expected a metric and milliseconds, e.g. ttft:500,tpot:50"),
        ("ttft:", "--goodput ttft:: expected milliseconds above 0, e.g. ttft:500,tpot:50"),
        ("ttft:0", "--goodput ttft:0: expected milliseconds above 0, e.g. ttft:500,tpot:50"),
        ("tpot:-5", "--goodput tpot:-5: expected milliseconds above 0, e.g. ttft:500,tpot:50"),
        ("tpot:nan", "--goodput tpot:nan: expected milliseconds above 0, e.g. ttft:500,tpot:50"),
        ("tpot:inf", "--goodput tpot:inf: expected milliseconds above 0, e.g. ttft:500,tpot:50"),
    ],
)
def test_goodput_is_refused(word, message):
    with pytest.raises(UsageError) as error:
        parse_goodput([word])
    assert message in str(error.value)


def test_goodput_twice_is_refused():
    with pytest.raises(UsageError, match="--goodput has ttft twice"):
        parse_goodput(["ttft:1", "ttft:2"])
