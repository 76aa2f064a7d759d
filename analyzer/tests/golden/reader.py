"""A reader written from trace/FORMAT.md alone: counts what a trace holds, as one JSON object."""

import json
import struct
import sys

OUTCOMES = "passed-through native one-vma emulated refused begun".split()
HEADER, CHUNK, SLOT = 16384, 4096, 64


def text(data, offset, order):
    (length,) = struct.unpack_from(order + "H", data, offset)
    return data[offset + 2 : offset + 2 + length].decode()


def read(data):
    assert data[:8] == b"MREMAPTR", "no trace"
    order = "<" if data[12:16] == b"\4\3\2\1" else ">"
    number = lambda offset, kind="I": struct.unpack_from(order + kind, data, offset)[0]
    assert number(8) in (1, 2)
    assert [number(at) for at in (12, 16, 20, 24)] == [0x01020304, HEADER, CHUNK, SLOT]
    positions = (number(32, "Q") - HEADER) // CHUNK
    found = {"pid": number(40), "forked_from": number(148), "host": text(data, 448, order)}
    found |= {"exe": text(data, 576, order), "arguments": data[4674 : 4674 + number(4672, "H")].decode().split("\0")[:-1]}
    found |= {"calls": {}, "failed": {}, "threads": {}, "parts": 0, "gaps": 0, "bytes": 0, "frames": 0, "torn": 0}
    found |= {"modules": [], "messages": [], "old_len": 0, "ticks": 0}
    for position in range(min(number(104), positions)):
        start = HEADER + position * CHUNK
        tid, claims = number(start), number(start + 8, "Q") & 0xFFFF
        if tid == 0 or claims >= 24576:  # never begun, or void
            continue
        claims -= 16384 if claims >= 16384 else 0  # closed
        pending = None  # the list that a text belongs to, and how much of it is to come
        for slot in range(1, min(claims, 64)):
            at = start + slot * SLOT
            words = struct.unpack_from(order + "8Q", data, at)
            low, high = [word & 0xFFFFFFFF for word in words], [word >> 32 for word in words]
            tag = words[7] >> 56
            if tag == 0:
                found["torn"] += 1
            elif tag <= 6:
                result = words[6] - (1 << 64) if words[6] >> 63 else words[6]
                duration = (low[1] & 0x7FFFFFFF) << 10 if low[1] >> 31 else low[1]
                name = OUTCOMES[tag - 1]
                found["calls"][name] = found["calls"].get(name, 0) + 1
                found["threads"][tid] = found["threads"].get(tid, 0) + 1
                found["old_len"] += words[3]
                found["ticks"] += duration
                if -4096 < result < 0:
                    found["failed"][-result] = found["failed"].get(-result, 0) + 1
            elif tag == 16:
                found["parts"] += low[1]
                found["gaps"] += high[1]
                found["bytes"] += words[2]
            elif tag == 25:
                tid = low[0]
            elif tag == 23:
                found["frames"] += high[0] >> 16
            elif tag in (19, 22):
                pending = (found["modules"], low[3]) if tag == 19 else (found["messages"], high[1])
                pending[0].append(b"")
            elif tag == 20 and pending:
                pending[0][-1] = (pending[0][-1] + data[at : at + 56])[: pending[1]]
    for texts in (found["modules"], found["messages"]):
        texts[:] = [piece.decode() for piece in texts]
    return found


json.dump([read(open(path, "rb").read()) for path in sys.argv[1:]], sys.stdout)
