"""A Qdrant beside the operator, with an API key and TLS, and a pod of a team that asks it, as an application would."""

import base64
import json
from pathlib import Path
from typing import Any, Final

from e2e import cluster
from e2e.cluster import Object, apply, kubectl, make_namespace
from servers.certificates import CertificateAuthority

NAMESPACE: Final = "e2e-qdrant"
HOST: Final = f"qdrant.{NAMESPACE}.svc"
URL: Final = f"https://{HOST}:6333"
API_KEY: Final = "the-key-of-the-end-to-end-tests"
IMAGE: Final = "qdrant/qdrant:v1.16.3"


class Qdrant:
    """One server for all tests; it outlives every operator."""

    def __init__(self, folder: Path) -> None:
        self._authority = CertificateAuthority(folder)
        self._server = self._authority.issue("qdrant", dns_names=(HOST,))

    def start(self) -> None:
        """Returns when it is ready and the pod that asks it is."""
        make_namespace(NAMESPACE)
        files = {
            "tls.crt": self._server.certificate,
            "tls.key": self._server.key,
            "ca.crt": self._authority.certificate,
        }
        apply(
            secret("tls", {name: file.read_text() for name, file in files.items()}),
            _server(),
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "qdrant"},
                "spec": {
                    "selector": {"app": "qdrant"},
                    "ports": [{"name": "rest", "port": 6333}, {"name": "grpc", "port": 6334}],
                },
            },
            _client(),
            namespace=NAMESPACE,
        )
        kubectl("rollout", "status", "deployment/qdrant", "deployment/client", "--namespace", NAMESPACE, "--timeout=2m")
        # Its Service may lead there a moment later.
        cluster.until(lambda: self.ask("client.info().version"), what="Qdrant to answer")

    def connect(self, namespace: str, name: str = "main") -> None:
        """Declares the connection and its Secrets in a team's namespace."""
        apply(*self.connection(name), namespace=namespace)

    def connection(self, name: str = "main") -> list[Object]:
        """The connection, and the Secrets that it names."""
        spec = {
            "url": URL,
            "apiKeySecretRef": {"name": "qdrant", "key": "api-key"},
            "tls": {"caSecretRef": {"name": "qdrant-ca", "key": "ca.crt"}},
        }
        return [
            secret("qdrant", {"api-key": API_KEY}),
            secret("qdrant-ca", {"ca.crt": self._authority.certificate.read_text()}),
            {
                "apiVersion": "vectorops.dev/v1alpha1",
                "kind": "QdrantConnection",
                "metadata": {"name": name},
                "spec": spec,
            },
        ]

    def ask(self, expression: str, **given: Any) -> Any:
        """The value of a Python expression over the plain Qdrant `client`, with `models`, worked out in a pod."""
        script = (
            "import json, sys; from qdrant_client import QdrantClient, models; "
            f"client = QdrantClient({URL!r}, api_key={API_KEY!r}, verify='/tls/ca.crt', check_compatibility=False); "
            "given = json.load(sys.stdin); "
            f"print(json.dumps(eval({expression!r}, dict(client=client, models=models, **given)), default=str))"
        )
        command = ("exec", "--stdin", "--namespace", NAMESPACE, "deployment/client", "--", "python", "-c", script)
        return json.loads(kubectl(*command, stdin=json.dumps(given)))

    def empty(self) -> None:
        """Deletes all collections."""
        self.ask("[client.delete_collection(each.name) for each in client.get_collections().collections]")

    def ids(self, collection: str) -> list[Any]:
        """Of all points, sorted."""
        found = "sorted((p.id for p in client.scroll(name, limit=100000, with_payload=False)[0]), key=str)"
        return list(self.ask(found, name=collection))

    def versions(self, collection: str, size: int, using: str | None = None) -> dict[str, int]:
        """The number of the operation that last wrote each point, by id: the same number means not written again."""
        asked = (
            "{str(p.id): p.version for p in client.query_points(name, query=query, using=using, limit=100000).points}"
        )
        return dict(self.ask(asked, name=collection, query=[1.0] * size, using=using))


def secret(name: str, content: dict[str, str]) -> Object:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def deployment(name: str, container: Object) -> Object:
    """Of one pod with one container, which has the Secret `tls` in /tls."""
    mounted = {**container, "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}]}
    volumes = [{"name": "tls", "secret": {"secretName": "tls"}}]
    labels = {"app": name}
    # What is first in its container ends of its own accord only if it knows how to: nobody is to wait for that.
    ends_at_once = {"enableServiceLinks": False, "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {**ends_at_once, "containers": [mounted], "volumes": volumes},
            },
        },
    }


def _server() -> Object:
    settings = {
        "QDRANT__SERVICE__API_KEY": API_KEY,
        "QDRANT__SERVICE__ENABLE_TLS": "true",
        "QDRANT__TLS__CERT": "/tls/tls.crt",
        "QDRANT__TLS__KEY": "/tls/tls.key",
    }
    container = {
        "name": "qdrant",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in settings.items()],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 6333, "scheme": "HTTPS"}, "periodSeconds": 1},
    }
    return deployment("qdrant", container)


def _client() -> Object:
    """It has qdrant-client because the operator has; an application brings its own."""
    container = {
        "name": "client",
        "image": cluster.IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
    }
    return deployment("client", container)
