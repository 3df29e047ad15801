"""Two servers that speak S3's protocol: moto, which keeps objects in memory, and versitygw, whose buckets are folders.

moto does not check signatures, but refuses requests without one unless the object is public. versitygw checks them.
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from servers.process import Process, free_port
from servers.programs import moto_python, versitygw_program

ACCESS_KEY: Final = "AKIAEXAMPLE"
SECRET_KEY: Final = "wJalr+example/5ecret"
# The client of AWS itself, so that objects arrive as those of everybody else.
PUT: Final = """
import boto3, json, sys
from botocore.config import Config
asked = json.load(sys.stdin)
s3 = boto3.client("s3", endpoint_url=asked["url"], region_name="us-east-1", aws_access_key_id=asked["access"],
                  aws_secret_access_key=asked["secret"], config=Config(s3={"addressing_style": "path"}))
if asked["bucket"] not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=asked["bucket"])
for key, content in asked["objects"].items():
    s3.put_object(Bucket=asked["bucket"], Key=key, Body=content.encode(), **asked["more"])
"""


class S3Server(Process):
    """One of the two, on a port of its own."""

    def __init__(self, name: str, command: list[str], port: int, log: Path, environment: Mapping[str, str]) -> None:
        self.url = f"http://localhost:{port}"
        super().__init__(name, command, log=log, environment=environment, answers=self._answers)

    def put(self, bucket: str, objects: Mapping[str, str], **more: str) -> None:
        """Store objects; make the bucket if need be. more: other arguments of boto3's `put_object`."""
        asked = {
            "url": self.url,
            "bucket": bucket,
            "objects": objects,
            "access": ACCESS_KEY,
            "secret": SECRET_KEY,
            "more": more,
        }
        subprocess.run([str(moto_python()), "-c", PUT], input=json.dumps(asked), text=True, check=True)

    def _answers(self) -> bool:
        try:
            httpx.get(self.url, trust_env=False)
        except httpx.TransportError:
            return False
        return True


def moto_server(folder: Path) -> S3Server:
    """Not started yet."""
    port = free_port()
    command = [str(moto_python()), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    return S3Server("moto", command, port, folder / "moto.log", {})


def versity_gateway(folder: Path) -> S3Server:
    """Not started yet. Its buckets are the folders in `folder/buckets`."""
    port = free_port()
    (folder / "buckets").mkdir()
    command = [str(versitygw_program()), "--port", f"127.0.0.1:{port}", "posix", str(folder / "buckets")]
    environment = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY, "HOME": str(folder)}
    return S3Server("versitygw", command, port, folder / "versitygw.log", environment)
