"""Each tracker is told the same numbers through calls that its own client has."""

from contextlib import contextmanager

import pytest
from fakes.subjects import report

from distill_eval.errors import PublishError, UsageError
from distill_eval.pipeline import trackers
from distill_eval.report import tracked

VARIABLES = ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "TRACKIO_PROJECT")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Wandb:
    """wandb.init is a context manager whose run has log."""

    def __init__(self):
        self.logged, self.finished = [], False

    @contextmanager
    def init(self, *, project, name, job_type, config):
        self.started = (project, name, job_type, config)
        yield self
        self.finished = True

    def log(self, data):
        self.logged.append(data)


class Mlflow:
    """mlflow's functions of the module."""

    def __init__(self):
        self.experiment, self.params, self.metrics = None, None, None

    def set_experiment(self, experiment_name):
        self.experiment = experiment_name

    @contextmanager
    def start_run(self, *, run_name):
        self.run_name = run_name
        yield

    def log_params(self, params):
        self.params = params

    def log_metrics(self, metrics):
        self.metrics = metrics


class Trackio:
    """trackio's functions of the module."""

    def __init__(self, error=None):
        self.error, self.logged, self.finished = error, [], False

    def init(self, project, *, name, config):
        self.started = (project, name, config)

    def log(self, metrics):
        if self.error is not None:
            raise self.error
        self.logged.append(metrics)

    def finish(self):
        self.finished = True


def test_all_three_are_told_the_same_numbers():
    wandb, mlflow, trackio = Wandb(), Mlflow(), Trackio()
    clients = {"wandb": wandb, "mlflow": mlflow, "trackio": trackio}
    expected = tracked.numbers(report())
    assert {trackers.log(name, report(), "mine", client) for name, client in clients.items()} == {len(expected)}
    assert wandb.logged == trackio.logged == [expected]
    assert mlflow.metrics == expected
    assert wandb.started == ("distill-eval", "mine", "report", tracked.labels(report()))
    assert (mlflow.experiment, mlflow.run_name) == ("distill-eval", "mine")
    assert trackio.started == ("distill-eval", "mine", tracked.labels(report()))
    assert wandb.finished
    assert trackio.finished


def test_the_clients_own_variables_name_the_project(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "mine")
    wandb, mlflow, trackio = Wandb(), Mlflow(), Trackio()
    for name, client in {"wandb": wandb, "mlflow": mlflow, "trackio": trackio}.items():
        trackers.log(name, report(), "run", client)
    assert wandb.started[0] == trackio.started[0] == "mine"
    assert mlflow.experiment is None


def test_a_long_label_is_cut_for_mlflow():
    mlflow = Mlflow()
    trackers.log("mlflow", report(verdict="x" * 9000), "run", mlflow)
    assert len(mlflow.params["verdict"]) == 500


def test_a_client_that_fails_is_named_and_its_run_ended():
    trackio = Trackio(error=ConnectionError("no route"))
    with pytest.raises(PublishError, match=r"--trackio: the report was written, but trackio.*no route"):
        trackers.log("trackio", report(), "run", trackio)
    assert trackio.finished


def test_a_client_that_is_not_installed_is_refused_with_what_to_type():
    with pytest.raises(UsageError, match=r"--no_such_tracker: its client is not installed. Type: pip install no_such"):
        trackers.require(("no_such_tracker",))
    trackers.require(())
