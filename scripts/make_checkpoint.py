#!/usr/bin/env python3
"""Writes a safetensors checkpoint of a given size: make_checkpoint.py FILE BYTES.

The layout is that of a transformer in bfloat16, with as many layers as the size needs. The values are pseudo-random: they
can't be compressed, and no two tensors are equal.
"""

import json
import random
import struct
import sys

HIDDEN = 4096
INTERMEDIATE = 11008
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
    "input_layernorm": (HIDDEN,),
    "post_attention_layernorm": (HIDDEN,),
}
BLOCK = 32 << 20


def tensors(total):
    """Names, shapes and sizes until `total` bytes are reached."""
    sum_bytes, layer = 0, 0
    while sum_bytes < total:
        for name, shape in SHAPES.items():
            size = 2
            for extent in shape:
                size *= extent
            yield f"model.layers.{layer}.{name}.weight", shape, size
            sum_bytes += size
            if sum_bytes >= total:
                return
        layer += 1


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: make_checkpoint.py FILE BYTES")
    path, total = sys.argv[1], int(sys.argv[2])
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, size in tensors(total):
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    generator = random.Random(20261123)
    block = generator.randbytes(BLOCK)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        left = offset
        while left > 0:
            # One block is drawn; each further one is it, rotated by a random number of bytes: fast, and still no two alike.
            cut = generator.randrange(BLOCK)
            piece = (block[cut:] + block[:cut])[: min(left, BLOCK)]
            file.write(piece)
            left -= len(piece)


main()
