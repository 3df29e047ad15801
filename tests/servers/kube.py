"""A Kubernetes API server on an etcd of its own: the part of a cluster that stores, validates and watches.

The session fixture `kube` (tests/integration/conftest.py) starts one for each test process. No controller runs: objects
stay as they are written, no Secret or token is made for anybody, and a namespace is only gone when the test finishes it
(`KubeApi.delete_namespace`).
"""

import json
import os
import secrets
import shutil
import ssl
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import yaml

from servers.certificates import CertificateAuthority
from servers.kubeapi import KubeApi, Object
from servers.process import Process, free_port, wait_until
from servers.programs import kube_programs

ADMIN: Final = "admin"


class KubeServer:
    """kube-apiserver with RBAC, one user (`admin`, who may do everything) and the given CRDs.

    url: `https://127.0.0.1:PORT`, the same over restarts. tls: trusts its certificate. token: the admin's.
    """

    def __init__(self, folder: Path, crds: list[Object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._crds = crds
        self._data = folder / "etcd"
        self._port = free_port()
        authority = CertificateAuthority(folder / "pki")
        self.url = f"https://127.0.0.1:{self._port}"
        self.token = secrets.token_urlsafe(16)
        self.authority_file = authority.certificate
        self.tls = authority.client_context()
        self.etcd = self._etcd_process()
        self.apiserver = self._apiserver_process(authority)

    def start(self) -> None:
        """Start both programs and install the CRDs."""
        self.etcd.start()
        self.apiserver.start()
        self._install_crds()

    def stop(self) -> None:
        """Stop both programs; what is stored stays."""
        for process in (self.apiserver, self.etcd):
            # Nobody reads what is stored after the last test: no need for the API server's minute of grace.
            process.kill()

    def rebuild(self) -> None:
        """Lose everything, as a cluster that is rebuilt does: an empty store, with the CRDs, at the same address."""
        self.stop()
        shutil.rmtree(self._data)
        self.start()

    def api(self) -> KubeApi:
        """A client with all rights; an async context manager."""
        return KubeApi(self.url, token=self.token, tls=self.tls)

    def kubeconfig(self, url: str | None = None, *, token: str | None = None) -> Path:
        """A kubeconfig file, for this server or for a proxy in front of it (`http://...`). token: the admin's."""
        cluster: Object = {"server": url or self.url}
        if cluster["server"].startswith("https:"):
            cluster["certificate-authority"] = str(self.authority_file)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": ADMIN, "user": {"token": token or self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": ADMIN, "namespace": "default"}}],
            "current-context": "test",
        }
        file = self._folder / f"kubeconfig-{secrets.token_hex(4)}"
        file.write_text(yaml.safe_dump(config))
        return file

    def _etcd_process(self) -> Process:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._etcd_url = client
        command = [
            str(kube_programs().etcd),
            f"--data-dir={self._data}",
            # Test data need not survive a power cut.
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        ]
        return Process(
            "etcd",
            command,
            log=self._folder / "etcd.log",
            environment=dict(os.environ),
            answers=lambda: _says_ok(f"{client}/health"),
        )

    def _apiserver_process(self, authority: CertificateAuthority) -> Process:
        server = authority.issue("kube-apiserver")
        service_accounts = authority.issue("service-accounts")
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f'{self.token},{ADMIN},{ADMIN},"system:masters"\n')
        command = [
            str(kube_programs().apiserver),
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self._folder / 'certs'}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            f"--client-ca-file={authority.certificate}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={service_accounts.key}",
            f"--service-account-signing-key-file={service_accounts.key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            # There are no nodes to route to this server, and a loopback address cannot be advertised to any.
            "--endpoint-reconciler-type=none",
            # Without a controller there are no service accounts that it could look up.
            "--disable-admission-plugins=ServiceAccount",
            # A test that applies hundreds of objects at once is no abuse.
            "--enable-priority-and-fairness=false",
            "--shutdown-delay-duration=0s",
        ]
        return Process(
            "kube-apiserver",
            command,
            log=self._folder / "kube-apiserver.log",
            environment=dict(os.environ),
            # kube-system, whose UID names an installation, is made shortly after the server is ready.
            answers=lambda: all(
                _says_ok(f"{self.url}{path}", tls=self.tls, token=self.token)
                for path in ("/readyz", "/api/v1/namespaces/kube-system", "/api/v1/namespaces/default")
            ),
        )

    def _install_crds(self) -> None:
        with httpx.Client(base_url=self.url, verify=self.tls, headers=_bearer(self.token)) as client:
            for crd in self._crds:
                path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
                client.patch(
                    path,
                    params={"fieldManager": "tests", "force": "true"},
                    content=json.dumps(crd),
                    headers={"content-type": "application/apply-patch+yaml"},
                ).raise_for_status()
            for crd in self._crds:
                wait_until(partial(_is_served, client, crd), what=f"{crd['metadata']['name']} to be served")


def _says_ok(url: str, *, tls: ssl.SSLContext | bool = False, token: str | None = None) -> bool:
    try:
        return httpx.get(url, verify=tls, headers=_bearer(token) if token else {}, timeout=2).is_success
    except httpx.HTTPError:
        return False


def _is_served(client: httpx.Client, crd: Object) -> bool:
    """Being Established comes a moment earlier."""
    spec = crd["spec"]
    served = (version["name"] for version in spec["versions"] if version["served"])
    return all(
        client.get(f"/apis/{spec['group']}/{version}/{spec['names']['plural']}").is_success for version in served
    )


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
