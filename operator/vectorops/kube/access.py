"""The address and credentials of the API server, for our own client and for Kopf.

Like controller-runtime: the file in KUBECONFIG, or the service account of the pod, or ~/.kube/config.
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
    """No API server is configured; the message says what was looked for."""


async def configuration() -> Configuration:
    """Reads the configuration, with the current token: it may have been rotated in a file, or come from a plugin.

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
            f"no API server is configured: {error}; run in a pod with a service account, or name a file in KUBECONFIG"
        ) from error
    parts = urlsplit(found.host)
    if not found.proxy and parts.hostname is not None and not proxy_bypass(parts.hostname):
        # As kubectl reads HTTPS_PROXY and NO_PROXY.
        found.proxy = getproxies().get(parts.scheme)
    # No limit: each watch keeps a connection, and there may be many namespaces. The workers limit all other requests.
    found.connection_pool_maxsize = 0
    # Otherwise aiohttp reads proxies and a .netrc for each request, in a thread: half the cost of a small request.
    found.client_session_kwargs = {"trust_env": False}
    return found


def make_client(found: Configuration) -> ApiClient:
    """A client with this configuration; the caller closes it."""
    made = ApiClient(found)
    made.user_agent = USER_AGENT
    return made


def for_kopf(found: Configuration) -> kopf.ConnectionInfo:
    """The same configuration for Kopf."""
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
