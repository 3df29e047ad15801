"""An embedding server of a team, behind TLS: OpenAI's API, with a model that counts words.

Its source is what the pod runs, so it needs Python alone; tests import it for the vector of a question.
"""

import json
import re
import ssl
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

NAMESPACE: Final = "e2e-embeddings"
HOST: Final = f"embeddings.{NAMESPACE}.svc"
SIZE: Final = 256
API_KEY: Final = "the-key-of-the-embedding-server"


def embed(text: str, size: int = SIZE) -> list[float]:
    """How often each word is in it; a word's place is its checksum."""
    counts = [0.0] * size
    for word in re.findall(r"\w+", text.lower()):
        counts[zlib.crc32(word.encode()) % size] += 1.0
    return counts


class Handler(BaseHTTPRequestHandler):
    """Answers those who have the key."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """The vectors of the texts."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.headers["Authorization"] == f"Bearer {API_KEY}"
        made = [embed(text, asked.get("dimensions", SIZE)) for text in asked["input"]]
        vectors = [{"object": "embedding", "index": n, "embedding": each} for n, each in enumerate(made)]
        body = json.dumps({"object": "list", "model": asked["model"], "data": vectors} if known else {}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("", 8443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
