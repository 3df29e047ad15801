"""The chart as Helm renders it: every value on both sides, each result checked by an API server.

`CASES` has a row for every value of values.yaml, or `test_every_value_has_a_case` fails. What only a kubelet can show
is in tests/e2e.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, fields
from tempfile import gettempdir
from typing import Any, Final

import pytest
import typer
import yaml
from typer.testing import CliRunner

from servers.helm import CHART, NAMESPACE, Helm, HelmError, Values, lint, render
from servers.kube import KubeServer
from servers.kubeapi import ApiError, KubeApi, Object
from servers.programs import prometheus_operator_crds
from vectorops.settings import Settings, command_of

WATCHED: Final = ["team-a", "team-b"]
RESTRICTED: Final = "restricted"
DIGEST: Final = f"sha256:{'0123456789abcdef' * 4}"


@dataclass(frozen=True)
class Case:
    """One value that is not the default, and others without which it would have no effect; both with dots in paths."""

    path: str
    value: Any
    given: Values = field(default_factory=dict)

    @property
    def without(self) -> Values:
        return nested(self.given)

    @property
    def values(self) -> Values:
        return nested({**self.given, self.path: self.value})


SERVICE_MONITOR: Final = {"metrics.serviceMonitor.enabled": True}
POD_MONITOR: Final = {"metrics.podMonitor.enabled": True}
RULES: Final = {"metrics.prometheusRule.enabled": True}
DASHBOARD: Final = {"metrics.dashboard.enabled": True}
POLICY: Final = {"networkPolicy.enabled": True}

EPHEMERAL: Final = {
    "ephemeral": {
        "volumeClaimTemplate": {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "fast",
                "resources": {"requests": {"storage": "10Gi"}},
            }
        }
    }
}

CASES: Final = (
    Case("image.repository", "registry.example.org/search/vectorops"),
    Case("image.tag", "1.2.3"),
    Case("image.digest", DIGEST),
    Case("image.pullPolicy", "Always"),
    Case("image.pullPolicy", "Never"),
    Case("imagePullSecrets", [{"name": "registry"}]),
    Case("nameOverride", "vectors"),
    Case("fullnameOverride", "vectors"),
    # As long as a name may be: what is made of it must stay a name.
    Case("fullnameOverride", "v" * 63, given={**DASHBOARD, "crds.keep": False}),
    Case("commonLabels", {"team": "search"}, given={**SERVICE_MONITOR, **RULES, **DASHBOARD, **POLICY}),
    Case("crds.install", False),
    Case("crds.keep", False),
    Case("installation", "production"),
    Case("watchNamespaces", WATCHED),
    Case("clusterConnections.secretNamespaces", ["vault"]),
    Case("connections.allowedHosts", ["*.qdrant.svc"]),
    Case("replicaCount", 0),
    Case("replicaCount", 3),
    Case("leaderElection.leaseSeconds", 30),
    Case("podDisruptionBudget.enabled", False, given={"replicaCount": 3}),
    Case("podDisruptionBudget.minAvailable", 2, given={"replicaCount": 3}),
    Case("podDisruptionBudget.minAvailable", "50%", given={"replicaCount": 3}),
    Case("workers", 2),
    Case("perEndpoint", 1),
    Case("maxMigrations", 2),
    # Where Helm, which reads numbers as floats, would write 1e+06.
    Case("resyncSeconds", 1_000_000),
    Case("drainSeconds", 0),
    Case("log.format", "text"),
    Case("log.level", "debug"),
    Case("log.level", "warning"),
    Case("log.level", "error"),
    Case("embedding.allowedModels", ["sentence-transformers/*", "Qdrant/*"]),
    Case("embedding.allowedHosts", ["*.openai.com"]),
    Case("embedding.offline", True),
    Case("embedding.modelFolder", "/"),
    Case("embedding.cacheVolume", {"persistentVolumeClaim": {"claimName": "models"}}),
    Case("embedding.device", "cpu"),
    Case("embedding.threads", 2),
    Case("embedding.idleSeconds", 60),
    Case("embedding.concurrency", 1),
    Case("embedding.timeoutSeconds", 5),
    Case("sources.allowedHosts", ["*.amazonaws.com"]),
    Case("sources.folder", {"persistentVolumeClaim": {"claimName": "rows", "readOnly": True}}),
    Case("sources.staging.sizeLimit", "500Mi"),
    Case("sources.staging.volume", EPHEMERAL),
    Case("sources.maxUnpackedBytes", "1Ti"),
    Case("rbac.create", False),
    Case("rbac.aggregate", False),
    Case("rbac.configMaps", True),
    Case("rbac.configMaps", True, given={"watchNamespaces": WATCHED}),
    Case("rbac.readerConfigMaps", True),
    Case("rbac.readerConfigMaps", True, given={"watchNamespaces": WATCHED}),
    Case("serviceAccount.create", False, given={"serviceAccount.name": "vectorops"}),
    Case("serviceAccount.name", "robot"),
    Case("serviceAccount.annotations", {"example.org/role": "none"}),
    Case("resources", {"limits": {"cpu": "2"}}),
    Case("podSecurityContext", {"runAsUser": 12345, "fsGroup": 12345}),
    Case("securityContext", {"runAsUser": 12345}),
    Case("livenessProbe.periodSeconds", 60),
    Case("livenessProbe.timeoutSeconds", 10),
    Case("livenessProbe.failureThreshold", 10),
    Case("readinessProbe.periodSeconds", 60),
    Case("readinessProbe.timeoutSeconds", 10),
    Case("readinessProbe.failureThreshold", 10),
    Case("metrics.service.enabled", False),
    Case("metrics.service.annotations", {"prometheus.io/scrape": "true"}),
    Case("metrics.serviceMonitor.enabled", True),
    Case("metrics.serviceMonitor.interval", "1m30s", given=SERVICE_MONITOR),
    Case("metrics.serviceMonitor.labels", {"release": "prometheus"}, given=SERVICE_MONITOR),
    Case("metrics.podMonitor.enabled", True, given={"metrics.service.enabled": False}),
    Case("metrics.podMonitor.interval", "2m", given=POD_MONITOR),
    Case("metrics.podMonitor.labels", {"release": "prometheus"}, given=POD_MONITOR),
    Case("metrics.prometheusRule.enabled", True),
    Case("metrics.prometheusRule.labels", {"release": "prometheus"}, given=RULES),
    Case("metrics.prometheusRule.runbookUrl", "https://example.org/runbooks/", given=RULES),
    Case("metrics.dashboard.enabled", True),
    Case("metrics.dashboard.labels", {"dashboards": "here"}, given=DASHBOARD),
    Case("metrics.dashboard.annotations", {"grafana_folder": "Search"}, given=DASHBOARD),
    Case("networkPolicy.enabled", True),
    Case("networkPolicy.metricsFrom", [{"namespaceSelector": {"matchLabels": {"team": "sight"}}}], given=POLICY),
    Case("networkPolicy.egress", [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}], given=POLICY),
    Case("caBundle.configMapName", "authorities"),
    Case("caBundle.secretName", "authorities"),
    Case("caBundle.key", "bundle.pem", given={"caBundle.secretName": "authorities"}),
    Case("extraArgs", ["--log-level=debug"]),
    Case("extraEnv", [{"name": "HF_ENDPOINT", "value": "https://hub.example.org"}]),
    Case("extraEnvFrom", [{"secretRef": {"name": "environment"}}]),
    Case("extraVolumes", [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]),
    Case(
        "extraVolumeMounts",
        [{"name": "models", "mountPath": "/models", "readOnly": True}],
        given={"extraVolumes": [{"name": "models", "emptyDir": {}}]},
    ),
    Case("podAnnotations", {"example.org/note": "x"}),
    Case("podLabels", {"team": "search"}),
    Case("priorityClassName", "system-cluster-critical"),
    Case("nodeSelector", {"kubernetes.io/arch": "amd64"}),
    Case("tolerations", [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]),
    Case("affinity", {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}),
    Case(
        "topologySpreadConstraints",
        [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}],
    ),
)

ALL_ON: Final[Values] = {
    **POLICY,
    **SERVICE_MONITOR,
    **RULES,
    **DASHBOARD,
    "replicaCount": 2,
    "watchNamespaces": WATCHED,
    "networkPolicy.egress": [{}],
    "rbac.configMaps": True,
    "rbac.readerConfigMaps": True,
    "sources.folder": {"persistentVolumeClaim": {"claimName": "rows"}},
    "caBundle.configMapName": "authorities",
    "metrics.prometheusRule.runbookUrl": "https://example.org/runbooks",
}

WRONG: Final[tuple[tuple[Values, str], ...]] = (
    # Not a value, or not of its type.
    ({"replicaCuont": 2}, "replicaCuont"),
    ({"image.tga": "1"}, "tga"),
    ({"metrics.serviceMonitor.enable": True}, "enable"),
    ({"replicaCount": "two"}, "replicaCount"),
    ({"replicaCount": 1.5}, "replicaCount"),
    ({"watchNamespaces": "team-a"}, "watchNamespaces"),
    ({"commonLabels": {"team": 7}}, "commonLabels/team"),
    ({"crds.keep": "yes"}, "crds/keep"),
    ({"workers": None}, "workers"),
    ({"extraEnv": [{"value": "x"}]}, "extraEnv/0"),
    ({"imagePullSecrets": ["registry"]}, "imagePullSecrets/0"),
    # Out of range, or not what a name, a digest, a time looks like.
    ({"replicaCount": -1}, "replicaCount"),
    ({"workers": 0}, "workers"),
    ({"drainSeconds": -1}, "drainSeconds"),
    ({"leaderElection.leaseSeconds": 0}, "leaseSeconds"),
    ({"embedding.threads": 0}, "embedding/threads"),
    ({"log.level": "loud"}, "log/level"),
    ({"image.digest": "sha256:abc"}, "image/digest"),
    ({"image.pullPolicy": "Sometimes"}, "image/pullPolicy"),
    ({"watchNamespaces": ["Team_A"]}, "watchNamespaces/0"),
    ({"embedding.modelFolder": "models"}, "modelFolder"),
    ({"metrics.serviceMonitor.interval": "often"}, "serviceMonitor/interval"),
    ({"metrics.prometheusRule.runbookUrl": "example.org"}, "runbookUrl"),
    ({"podDisruptionBudget.minAvailable": "half"}, "minAvailable"),
    ({"fullnameOverride": "v" * 64}, "fullnameOverride"),
    ({"sources.staging.sizeLimit": "10"}, "sources/staging/sizeLimit"),
    ({"sources.staging.sizeLimit": "10GB"}, "sources/staging/sizeLimit"),
    ({"sources.maxUnpackedBytes": "0Gi"}, "sources/maxUnpackedBytes"),
    ({"connections.allowedHosts": "qdrant"}, "connections/allowedHosts"),
    # At odds with another value, or without any effect.
    ({"watchNamespaces": ["team-a", "team-a"]}, "watchNamespaces"),
    ({**SERVICE_MONITOR, **POD_MONITOR}, "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled"),
    ({**SERVICE_MONITOR, "metrics.service.enabled": False}, "metrics.serviceMonitor.enabled"),
    ({"caBundle.configMapName": "a", "caBundle.secretName": "b"}, "caBundle"),
    ({"replicaCount": 2, "podDisruptionBudget.minAvailable": 2}, "podDisruptionBudget.minAvailable"),
    ({"serviceAccount.create": False}, "serviceAccount.name"),
    ({"crds.keep": False, "watchNamespaces": WATCHED}, "crds.keep"),
    ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "commonLabels: app.kubernetes.io/name"),
    ({"podLabels": {"app.kubernetes.io/instance": "x"}}, "podLabels: app.kubernetes.io/instance"),
    ({"extraEnv": [{"name": "POD_NAME", "value": "x"}]}, "extraEnv: POD_NAME"),
    ({"extraEnv": [{"name": "HF_HOME", "value": "/x"}]}, "extraEnv: HF_HOME"),
    ({"extraEnv": [{"name": "SSL_CERT_FILE", "value": "/x"}], "caBundle.secretName": "a"}, "extraEnv: SSL_CERT_FILE"),
    ({"extraEnv": [{"name": "VECTOROPS_WORKERS", "value": "2"}]}, "extraEnv: VECTOROPS_WORKERS"),
    ({"sources.staging.volume": {"emptyDir": {"medium": "Memory"}}}, "sources.staging.volume"),
    ({"rbac.configMaps": True, "rbac.create": False}, "rbac.configMaps"),
    ({"rbac.readerConfigMaps": True, "rbac.create": False}, "rbac.readerConfigMaps"),
    ({"networkPolicy.metricsFrom": [{}]}, "networkPolicy.metricsFrom"),
    ({"networkPolicy.egress": [{}]}, "networkPolicy.egress"),
    (
        {"clusterConnections.secretNamespaces": ["vault"], "watchNamespaces": WATCHED},
        "clusterConnections.secretNamespaces",
    ),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    """An API server of this module: no CRDs of ours, those of the Prometheus operator, and namespaces."""
    kinds = ("servicemonitors", "podmonitors", "prometheusrules")
    files = [prometheus_operator_crds() / f"monitoring.coreos.com_{plural}.yaml" for plural in kinds]
    crds = [yaml.safe_load(file.read_text()) for file in files]
    server = KubeServer(tmp_path_factory.mktemp("chart-kube"), crds)

    async def prepare() -> None:
        async with server.api() as api:
            for name in (NAMESPACE, *WATCHED):
                await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
            await api.create(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RESTRICTED, "labels": enforced}}
            )

    try:
        server.start()
        asyncio.run(prepare())
        yield server
    finally:
        server.stop()


@pytest.fixture
async def api(cluster: KubeServer) -> AsyncIterator[KubeApi]:
    """A client of `cluster`."""
    async with cluster.api() as api:
        yield api


def test_the_chart_is_free_of_lint():
    assert "0 chart(s) failed" in lint(nested(ALL_ON))


def test_every_value_has_a_case():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert {case.path for case in CASES} == set(leaves(values, schema, schema["$defs"]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path}={case.value}"[:60])
async def test_every_value_changes_what_is_made_and_both_sides_are_valid(api, case):
    without, changed = render(case.without), render(case.values)

    assert changed != without
    for obj in (*without, *changed):
        await check(api, obj)


async def test_all_that_can_be_on_at_once_is_valid(api):
    objects = render(nested(ALL_ON))

    assert {"NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor", "PrometheusRule"} <= {
        obj["kind"] for obj in objects
    }
    for obj in objects:
        await check(api, obj)


@pytest.mark.parametrize(("values", "named"), WRONG, ids=lambda row: str(row)[:60])
def test_a_wrong_value_is_refused_by_its_name(values, named):
    with pytest.raises(HelmError) as refusal:
        render(nested(values))

    assert named in str(refusal.value)


@pytest.mark.parametrize("path", [case.path for case in CASES if isinstance(case.value, dict | list)])
async def test_a_list_or_map_that_is_taken_away_leaves_valid_objects(api, path):
    """`null` is how Helm takes away the default of a map, which it would else merge."""
    for obj in render(nested({**SERVICE_MONITOR, **DASHBOARD, **POLICY, path: None})):
        await check(api, obj)


def test_a_kubernetes_that_is_too_old_is_refused():
    with pytest.raises(HelmError, match=r"1\.30\.0"):
        render({}, "--kube-version", "1.29.9")


async def test_a_wrong_field_of_a_free_value_is_refused_by_the_server(api):
    """So that the checks above are known to be able to fail."""
    (deployment,) = of_kind("Deployment", render({"resources": {"limits": {"memory": "much"}}}))

    with pytest.raises(ApiError, match="quantities must match"):
        await api.apply(deployment, dry_run=True)


@pytest.mark.parametrize("values", [{}, ALL_ON, {"crds.keep": False}, {"caBundle.secretName": "a"}], ids=str)
async def test_all_pods_meet_the_restricted_profile(api, values):
    for pod in pods(render(nested(values))):
        await api.apply(pod, dry_run=True)


async def test_a_pod_that_may_be_root_would_be_refused(api):
    (pod,) = pods(render({"podSecurityContext": {"runAsNonRoot": False}}))

    with pytest.raises(ApiError, match="violates PodSecurity"):
        await api.apply(pod, dry_run=True)


def test_every_flag_of_the_operator_is_set_by_some_value():
    """The operator itself reads the arguments, so that none can be misspelled."""
    changed = {name for case in CASES for name in differing(settings_of(case.values), Settings())}

    # Ports of the pod's own network namespace: the probes and the Service are told the same.
    assert changed == {flag.name for flag in fields(Settings)} - {"health_port", "metrics_port"}


def test_the_operator_is_told_the_defaults_of_its_own():
    """A default that changes in the operator is to change here."""
    # It is always elected: a node that was cut off must not make a second writer of the same release. And it has a
    # volume for staging, which the kubelet must not find full.
    of_the_pod = {"lease_name", "lease_namespace", "own_namespace", "staging_folder", "staging_bytes"}
    assert differing(settings_of({}), Settings()) == of_the_pod


@pytest.mark.parametrize(("limit", "told"), [("10Gi", 9728), ("500Mi", 475), ("2Ti", 1992294)])
def test_the_operator_stays_below_the_limit_of_the_volume_for_staging(limit, told):
    (deployment,) = of_kind("Deployment", render(nested({"sources.staging.sizeLimit": limit})))
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}

    assert volumes["staging"] == {"name": "staging", "emptyDir": {"sizeLimit": limit}}
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert f"--staging-bytes={told}Mi" in container["args"]


def test_a_folder_of_files_is_mounted_read_only_where_the_operator_reads_it():
    (deployment,) = of_kind("Deployment", render({"sources": {"folder": {"emptyDir": {}}}}))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "sources")
    assert mount["readOnly"]
    assert f"--source-folder={mount['mountPath']}" in container["args"]


def test_the_pod_is_given_longer_to_end_than_running_work():
    (deployment,) = of_kind("Deployment", render({"drainSeconds": 45}))

    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 55


def test_services_of_the_namespace_set_no_variable_of_the_operator():
    """Of a Service `vectorops-metrics` the kubelet would make VECTOROPS_METRICS_PORT=tcp://..."""
    (pod,) = pods(render({}))

    assert pod["spec"]["enableServiceLinks"] is False


def test_one_replica_ends_before_the_next_begins_and_several_go_one_by_one():
    (one,), (three,) = (of_kind("Deployment", render({"replicaCount": count})) for count in (1, 3))

    assert one["spec"]["strategy"] == {"type": "Recreate"}
    assert three["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert not of_kind("PodDisruptionBudget", render({"replicaCount": 1}))


def test_two_releases_of_one_name_in_two_namespaces_share_no_object():
    one, other = (
        {(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]) for obj in render({}, namespace=name)}
        for name in ("one", "other")
    )

    assert {kind for kind, *_ in one & other} <= {"CustomResourceDefinition"}


@pytest.mark.parametrize("keep", [True, False])
def test_the_crds_are_those_of_the_operator_with_labels_and_never_removed_by_helm(keep):
    made = render({"crds": {"keep": keep}})
    rendered = {obj["metadata"]["name"]: obj for obj in of_kind("CustomResourceDefinition", made)}

    for file in (CHART.parents[1] / "crds").glob("*.yaml"):
        shipped = yaml.safe_load(file.read_text())
        crd = rendered.pop(shipped["metadata"]["name"])
        assert crd["spec"] == shipped["spec"]
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert crd["metadata"]["labels"]["app.kubernetes.io/part-of"] == "vectorops"
    assert not rendered


def test_every_alert_leads_to_its_runbook_where_that_is_known():
    (rule,) = of_kind("PrometheusRule", render(nested({**RULES, "metrics.prometheusRule.runbookUrl": "https://x/y/"})))

    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"] if "alert" in alert]
    assert alerts
    for alert in alerts:
        page = alert["annotations"]["runbook_url"].removeprefix("https://x/y/")
        assert (CHART.parents[1] / "docs" / "runbooks" / page).is_file()


def test_grafana_is_handed_the_dashboard_as_it_is():
    (dashboard,) = (obj for obj in render(nested(DASHBOARD)) if obj["metadata"]["name"] == "vectorops-dashboard")

    (handed,) = dashboard["data"].values()
    assert json.loads(handed) == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_the_alerts_are_handed_over_as_they_are():
    (rule,) = of_kind("PrometheusRule", render(nested(RULES)))

    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())


async def test_what_is_applied_twice_changes_nothing(api):
    objects = [obj for obj in render(nested(ALL_ON)) if "helm.sh/hook" not in obj["metadata"].get("annotations", {})]
    for obj in objects:
        await api.apply(obj)
        # Some are completed by the server a moment later: the status of a CRD.
    before = [await api.apply(obj, dry_run=True) for obj in objects]

    after = [await api.apply(obj) for obj in objects]

    assert [versions(obj) for obj in after] == [versions(obj) for obj in before]


async def test_helm_installs_upgrades_to_and_fro_and_uninstalls(tmp_path):
    """A cluster with nothing in it; no kubelet, so nobody waits for pods."""
    server = KubeServer(tmp_path / "kube", [])
    try:
        server.start()
        async with server.api() as api:
            helm = Helm(server.kubeconfig(), tmp_path / "helm")

            notes = helm.install()
            assert "kind: QdrantConnection" in notes
            made = await api.get("Deployment", NAMESPACE, "vectorops")
            assert made["spec"]["strategy"] == {"type": "Recreate"}

            helm.upgrade({"replicaCount": 3, "networkPolicy": {"enabled": True}})
            made = await api.get("Deployment", NAMESPACE, "vectorops")
            assert made["spec"]["strategy"]["type"] == "RollingUpdate"

            with pytest.raises(HelmError, match="ServiceMonitor"):
                helm.upgrade(nested(SERVICE_MONITOR))

            notes = helm.upgrade({"replicaCount": 0})
            assert "STOPPED" in notes
            made = await api.get("Deployment", NAMESPACE, "vectorops")
            assert made["spec"]["strategy"] == {"type": "Recreate"}
            assert made["spec"]["replicas"] == 0

            resources = [await api.apply(example) for example in examples()]
            # Whoever changes his mind about the CRDs loses nothing by it.
            helm.upgrade({"replicaCount": 0, "crds": {"keep": False}})
            helm.upgrade({"replicaCount": 0, "crds": {"install": False}})
            helm.uninstall()
            assert await api.find("Deployment", NAMESPACE, "vectorops") is None
            for resource in resources:
                assert await api.get(resource["kind"], "default", resource["metadata"]["name"]) == resource

            helm.install()
            assert await api.find("Deployment", NAMESPACE, "vectorops") is not None
            for resource in resources:
                assert await api.get(resource["kind"], "default", resource["metadata"]["name"]) == resource
    finally:
        server.stop()


def nested(paths: Values) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    tree: dict[str, Any] = {}
    for path, value in paths.items():
        *above, last = path.split(".")
        node = tree
        for name in above:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def leaves(values: Values, schema: Any, definitions: Any, prefix: str = "") -> Iterator[str]:
    """The paths of all values; fails if values.yaml and its schema do not name the same."""
    assert set(values) == set(schema["properties"]) - {"global"}, prefix
    for name, value in values.items():
        below = schema["properties"][name]
        if reference := below.get("$ref"):
            below = definitions[reference.rpartition("/")[2]]
        if "properties" in below:
            yield from leaves(value, below, definitions, f"{prefix}{name}.")
        else:
            yield prefix + name


def examples() -> list[Object]:
    """The resources that Artifact Hub shows."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    shown: list[Object] = yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])
    return shown


def of_kind(kind: str, objects: list[Object]) -> list[Object]:
    return [obj for obj in objects if obj["kind"] == kind]


def pods(objects: list[Object]) -> list[Object]:
    """A pod of each template, in the namespace that takes none but restricted ones."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": obj["metadata"]["name"], "namespace": RESTRICTED},
            "spec": obj["spec"]["template"]["spec"],
        }
        for obj in objects
        if obj["kind"] in ("Deployment", "Job")
    ]


def settings_of(values: Values) -> Settings:
    """What the operator reads from the arguments that the chart gives it."""
    (deployment,) = of_kind("Deployment", render(values))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    name, *arguments = container["args"]
    assert name == "run"
    # Folders of the pod: the operator looks whether they are there.
    arguments = [re.sub("(--(staging|source)-folder)=.*", rf"\1={gettempdir()}", argument) for argument in arguments]
    read: list[Settings] = []
    app = typer.Typer()
    app.command()(command_of(Settings, read.append))
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    return read[0]


def differing(one: Settings, other: Settings) -> set[str]:
    return {flag.name for flag in fields(Settings) if getattr(one, flag.name) != getattr(other, flag.name)}


def versions(obj: Object) -> tuple[str, int | None, str]:
    return obj["metadata"]["name"], obj["metadata"].get("generation"), obj["metadata"]["resourceVersion"]


CHECKED: Final[set[str]] = set()


async def check(api: KubeApi, obj: Object) -> None:
    """Let the API server check it, once."""
    if (text := json.dumps(obj, sort_keys=True)) not in CHECKED:
        await api.apply(obj, dry_run=True)
        CHECKED.add(text)
