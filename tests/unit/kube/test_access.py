"""Which API server is talked to, and as whom, from the files that say so."""

from pathlib import Path

import pytest
import yaml

from vectorops.kube.access import NoAccess, configuration, for_kopf


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a kubeconfig and makes it the current one."""
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)

    def write(user: dict[str, str], **cluster: str) -> Path:
        file = tmp_path / "config"
        content = {
            "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443", **cluster}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        file.write_text(yaml.safe_dump(content))
        monkeypatch.setenv("KUBECONFIG", str(file))
        return file

    return write


async def test_kopf_gets_the_server_and_the_token_that_we_use(kubeconfig):
    kubeconfig({"token": "abc"})

    info = for_kopf(await configuration())

    assert info.server == "https://api.example:6443"
    assert info.as_http_headers() == {"Authorization": "Bearer abc"}


async def test_a_rotated_token_is_found_at_the_next_look(kubeconfig):
    kubeconfig({"token": "old"})
    await configuration()
    kubeconfig({"token": "new"})

    assert for_kopf(await configuration()).as_http_headers() == {"Authorization": "Bearer new"}


async def test_proxies_are_those_of_the_file_or_of_the_environment(kubeconfig, monkeypatch):
    kubeconfig({"token": "abc"})
    assert (await configuration()).proxy is None

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert (await configuration()).proxy == "http://proxy.example:3128"
    kubeconfig({"token": "abc"}, **{"proxy-url": "http://other.example:3128"})
    assert for_kopf(await configuration()).proxy_url == "http://other.example:3128"

    kubeconfig({"token": "abc"})
    monkeypatch.setenv("NO_PROXY", "api.example")
    assert (await configuration()).proxy is None


async def test_without_any_description_the_message_says_what_helps(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))

    with pytest.raises(NoAccess, match="name a file in KUBECONFIG"):
        await configuration()
