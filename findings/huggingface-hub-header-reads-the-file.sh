#!/usr/bin/env bash
# huggingface_hub 1.33.0 (seen 2026-11-28).
#
# One would guess: `HfApi.parse_safetensors_file_metadata` reads the header of a file, some kilobytes, from whatever server HF_ENDPOINT names: it
# asks for the range of the first 100,000 bytes.
# What happens: it does not check that the answer is a range (206), and does not stream. A server that ignores ranges, as a plain mirror may,
# answers 200 with the whole file, and all of that is read into memory before the header is parsed. With weights of gigabytes that is the end of
# a small process.
#
# Output (a file of 64 MB on a server without ranges):
#   shape [4]; read 64 MB, most memory at once 124 MiB
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check huggingface-hub==1.33.0

"$folder/python/bin/python" - <<'PYTHON'
import http.server
import json
import struct
import threading
import tracemalloc

from huggingface_hub import HfApi

WEIGHTS = 64_000_000
header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
body = struct.pack("<Q", len(header)) + header + bytes(WEIGHTS)
sent = 0


class WithoutRanges(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        global sent
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for start in range(0, len(body), 1 << 20):
            sent += self.wfile.write(body[start : start + (1 << 20)])

    def log_message(self, *_arguments: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WithoutRanges)
threading.Thread(target=server.serve_forever, daemon=True).start()
hub = HfApi(endpoint=f"http://127.0.0.1:{server.server_port}", token=False)
tracemalloc.start()
found = hub.parse_safetensors_file_metadata("team/model", "model.safetensors", revision="0" * 40, token=False, timeout=60)
most = tracemalloc.get_traced_memory()[1]
print(f"shape {found.tensors['a'].shape}; read {sent / 1e6:.0f} MB, most memory at once {most >> 20} MiB")
assert sent == len(body)
assert most > WEIGHTS
PYTHON
