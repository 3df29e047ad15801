"""How to reach the API server, for both who talk to it: our own client, and Kopf at its start.

As with controller-runtime: the file in KUBECONFIG, else the service account of the pod, else
~/.kube/config.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import kopf
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

USER_AGENT: Final = "vectorops"


class NoAccess(Exception):
    """There is no usable description of an API server; the message says what was looked for."""


async def configuration() -> Configuration:
    """Reads it anew, so that a token that was rotated in a file, or comes from a plugin, is the current one.

    Raises NoAccess.
    """
    found = Configuration()
    try:
        if not os.environ.get("KUBECONFIG") and os.environ.get(config.incluster_config.SERVICE_HOST_ENV_NAME):
            config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
        else:
            file = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
            await config.load_kube_config(config_file=file, client_configuration=found, persist_config=False)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise NoAccess(
            f"cannot tell how to reach the API server: {error}; "
            "run in a pod with a service account, or name a file in KUBECONFIG"
        ) from error
    found.proxy = found.proxy or _proxy_of_environment(found.host)
    # Each watch keeps a connection, and there may be many namespaces. What else is asked is bounded by the workers.
    found.connection_pool_maxsize = 0
    # Else aiohttp looks for proxies and a .netrc at each request, in a thread: half of what a small request costs.
    found.client_session_kwargs = {"trust_env": False}
    return found


def client(found: Configuration) -> ApiClient:
    """The caller closes it."""
    made = ApiClient(found)
    made.user_agent = USER_AGENT
    return made


def for_kopf(found: Configuration) -> kopf.ConnectionInfo:
    """The same access, as Kopf wants to be told of it."""
    # "Bearer abc" from a kubeconfig, "bearer abc" from a service account, "Basic abc" for a user with a password.
    scheme, _, token = found.api_key.get("BearerToken", "").strip().partition(" ")
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        ca_data=found.ca_cert_data,
        insecure=not found.verify_ssl,
        scheme=scheme.capitalize() or None,
        token=token or None,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
        proxy_url=found.proxy,
    )


def _proxy_of_environment(host: str) -> str | None:
    """What HTTPS_PROXY and NO_PROXY say of the API server, as kubectl takes it."""
    parts = urlsplit(host)
    if parts.hostname is None or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)
