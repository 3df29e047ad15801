"""A cluster as its users see it: through kubectl and helm, called as a person calls them.

KUBECONFIG says which; `make e2e` makes one if there is none. E2E_IMAGE is the operator's image, already on its nodes.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import yaml

Object = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts" / "vectorops"
OPERATOR_NAMESPACE: Final = "vectorops-system"
RELEASE: Final = "vectorops"
IMAGE: Final = os.environ.get("E2E_IMAGE", "vectorops:e2e")
KINDS: Final = ("pointsets", "qdrantcollections", "qdrantconnections", "clusterqdrantconnections")
CRDS: Final = tuple(f"{kind}.vectorops.dev" for kind in KINDS)
OURS: Final = "e2e=vectorops"
"""The label of namespaces that tests make."""


class CommandFailed(AssertionError):
    """A command said no; the message is what it said."""


def run(*command: str, stdin: str | None = None, timeout: float = 180) -> str:
    """What it prints. Raises CommandFailed."""
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout, cwd=ROOT
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(command)}: no end after {timeout:g} s") from error
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 180) -> str:
    return run("kubectl", *arguments, stdin=stdin, timeout=timeout)


def get(*arguments: str) -> Any:
    """`kubectl get ... -o json`."""
    return json.loads(kubectl("get", *arguments, "-o", "json"))


def names(*arguments: str) -> list[str]:
    """`kubectl get ... -o name`, without the kind."""
    return [line.rpartition("/")[2] for line in kubectl("get", *arguments, "-o", "name").split()]


def apply(*objects: Object, namespace: str) -> None:
    kubectl("apply", "--namespace", namespace, "--filename", "-", stdin=yaml.safe_dump_all(objects))


def wait_ready(namespace: str, *resources: str, seconds: int = 120) -> None:
    """Until all of them are Ready: `pointset/cats`, or `--all pointsets`."""
    kubectl(
        "wait",
        "--namespace",
        namespace,
        "--for=condition=Ready",
        f"--timeout={seconds}s",
        *resources,
        timeout=seconds + 30,
    )


def until(holds: Callable[[], object], *, what: str, seconds: float = 90) -> None:
    """Waits until it holds; a command that fails meanwhile is asked again."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = holds()
        except CommandFailed as error:
            last = error
        else:
            if last:
                return
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds:g} s for {what}; last: {last}")


def make_namespace(name: str, **labels: str) -> str:
    """A new one, which `clean` finds again."""
    made = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"e2e": "vectorops", **labels}},
    }
    kubectl("create", "--filename", "-", stdin=yaml.safe_dump(made))
    return name


# ---- the operator ----


def image_values(image: str = IMAGE) -> list[str]:
    repository, _, tag = image.rpartition(":")
    return ["--set", f"image.repository={repository}", "--set", f"image.tag={tag}"]


def install(*flags: str, chart: Path = CHART, image: str = IMAGE, wait: bool = True) -> str:
    """`helm upgrade --install` of the chart, with this image; returns the notes."""
    waiting = ["--wait", "--timeout=3m"] if wait else []
    command = ["helm", "upgrade", "--install", RELEASE, str(chart), "--namespace", OPERATOR_NAMESPACE, "--reset-values"]
    return run(*command, *image_values(image), *waiting, *flags, timeout=240)


def uninstall(*flags: str) -> None:
    run("helm", "uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout=3m", *flags, timeout=240)


def leader() -> str:
    """The name of the pod that leads."""
    lease = get("lease", RELEASE, "--namespace", OPERATOR_NAMESPACE)
    return str(lease["spec"].get("holderIdentity") or "")


def pods() -> list[str]:
    """Names of the operator's pods that are not being deleted."""
    found = get("pods", "--namespace", OPERATOR_NAMESPACE, "--selector", f"app.kubernetes.io/instance={RELEASE}")
    return [pod["metadata"]["name"] for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]


def clean() -> None:
    """Takes away all that these tests make, whoever left it: an earlier run may have been cut off."""
    remove_operator()
    if left := names("namespaces", "--selector", OURS):
        kubectl("delete", "namespace", *left, "--timeout=3m", timeout=240)


def remove_operator() -> None:
    """And the CRDs, with all resources. What they made in Qdrant stays."""
    if RELEASE in run("helm", "list", "--namespace", OPERATOR_NAMESPACE, "--all", "--short").split():
        uninstall("--no-hooks")
    left = [crd for crd in names("customresourcedefinitions") if crd in CRDS]
    for crd in left:
        for item in get(crd, "--all-namespaces")["items"]:
            name, namespace = item["metadata"]["name"], item["metadata"].get("namespace", "default")
            let_go = '--patch={"metadata":{"finalizers":[]}}'
            kubectl("patch", crd, name, f"--namespace={namespace}", "--type=merge", let_go)
    if left:
        kubectl("delete", "crd", *left, "--timeout=3m", timeout=240)


def state() -> str:
    """What one would look at when something is wrong."""
    commands: Iterable[list[str]] = (
        ["get", "pods", "--all-namespaces", "-o", "wide"],
        ["get", "vectorops", "--all-namespaces", "-o", "wide"],
        ["get", "events", "--namespace", OPERATOR_NAMESPACE, "--sort-by=.lastTimestamp"],
        ["describe", "pods", "--namespace", OPERATOR_NAMESPACE],
        ["logs", "--namespace", OPERATOR_NAMESPACE, "--all-containers", "--prefix", "--tail=60",
         "--selector", f"app.kubernetes.io/instance={RELEASE}"],
    )  # fmt: skip
    told = []
    for command in commands:
        try:
            text = kubectl(*command)
        except CommandFailed as error:
            text = str(error)
        told.append(f"--- kubectl {' '.join(command)}\n{text}")
    return "\n".join(told)
