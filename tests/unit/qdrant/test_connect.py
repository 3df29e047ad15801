"""From a spec and its secrets to a door: what is refused at once, and what is never shown."""

import pytest

from servers.certificates import CertificateAuthority
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.qdrant.connect import Credentials, connect, require_supported
from vectorops.qdrant.database import ServerInfo


async def endpoint_of(url: str) -> str:
    database = connect(QdrantConnectionSpec(url=url), Credentials())
    await database.close()
    return database.endpoint


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://qdrant", "http://qdrant:6333"),
        ("https://qdrant.example", "https://qdrant.example:6333"),
        ("https://qdrant.example:443/", "https://qdrant.example:443"),
        ("http://127.0.0.1:7000/behind/a/path", "http://127.0.0.1:7000"),
        ("http://[::1]", "http://[::1]:6333"),
    ],
)
async def test_the_port_is_qdrants_unless_it_is_given(url, endpoint):
    assert await endpoint_of(url) == endpoint


async def test_a_port_out_of_range_is_refused():
    with pytest.raises(Terminal) as refused:
        connect(QdrantConnectionSpec(url="http://qdrant:99999"), Credentials())

    assert refused.value.reason is Reason.INVALID_URL


async def test_a_host_that_no_pattern_matches_is_refused_with_the_flag_to_set():
    with pytest.raises(Terminal) as refused:
        connect(QdrantConnectionSpec(url="http://qdrant.other"), Credentials(), allowed_hosts=["*.svc"])

    assert refused.value.reason is Reason.NOT_ALLOWED
    assert "--allowed-connection-host qdrant.other" in refused.value.message


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "2852039166", "[::ffff:169.254.169.254]"])
async def test_a_link_local_address_is_refused_when_it_is_asked_whatever_the_patterns_say(host):
    """The third is one number, which the resolver makes an address of."""
    database = connect(QdrantConnectionSpec(url=f"http://{host}"), Credentials(), allowed_hosts=["*"])

    with pytest.raises(Terminal) as refused:
        await database.check()
    await database.close()

    assert refused.value.reason is Reason.NOT_ALLOWED
    assert "link-local" in refused.value.message


@pytest.mark.parametrize("prefer_grpc", [False, True])
@pytest.mark.parametrize(
    ("credentials", "field"),
    [
        (Credentials(ca=b"no PEM"), "caSecretRef"),
        (Credentials(ca=b""), "caSecretRef"),
        (Credentials(ca="é".encode()), "caSecretRef"),
        (Credentials(client_certificate=(b"no PEM", b"no PEM")), "clientCertificateSecretRef"),
        (Credentials(api_key="s3cret\n"), "apiKeySecretRef"),
        (Credentials(api_key="s3crét"), "apiKeySecretRef"),
        (Credentials(api_key=""), "apiKeySecretRef"),
    ],
)
async def test_a_secret_that_cannot_be_used_is_refused_by_name(credentials, field, prefer_grpc):
    spec = QdrantConnectionSpec(url="https://qdrant.example", prefer_grpc=prefer_grpc)

    with pytest.raises(Terminal) as refused:
        connect(spec, credentials)

    assert refused.value.reason is Reason.SECRET_INVALID
    assert field in refused.value.message
    assert "s3cr" not in refused.value.message


async def test_a_certificate_with_the_key_of_another_is_refused(tmp_path):
    authority = CertificateAuthority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    pair = (one.certificate.read_bytes(), other.key.read_bytes())

    with pytest.raises(Terminal) as refused:
        connect(QdrantConnectionSpec(url="https://qdrant.example"), Credentials(client_certificate=pair))

    assert refused.value.reason is Reason.SECRET_INVALID


def test_credentials_do_not_show_themselves():
    credentials = Credentials(api_key="s3cret", ca=b"s3cret", client_certificate=(b"s3cret", b"s3cret"))

    assert "s3cret" not in repr(credentials)
    assert "s3cret" not in str(credentials)


@pytest.mark.parametrize("version", ["1.15.2", "0.11.0", "1.9.7"])
def test_an_older_server_is_refused(version):
    with pytest.raises(Terminal) as refused:
        require_supported(ServerInfo(version=version, distributed=False))

    assert refused.value.reason is Reason.UNSUPPORTED_VERSION
    assert refused.value.message == f"Qdrant {version} is older than 1.16, the oldest supported"


@pytest.mark.parametrize("version", ["1.16.0", "1.16.3-dev", "1.20.0", "2.0.0", "nightly"])
def test_other_servers_are_supported(version):
    require_supported(ServerInfo(version=version, distributed=False))
