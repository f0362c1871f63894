"""The random streams of dualmd's trainings, from the definitions of what they are made of.

A stream belongs to a seed, a purpose and a number. Its key is the BLAKE3 hash of the three, its words are ChaCha8's. Integers are drawn from them by
multiplication (Canon's method), permutations by swaps with such integers, normal numbers by the ziggurat of 256 layers. So another program can
draw what a training drew. `python interop/streams.py` compares hash and cipher with published values.
"""

import math
import struct

_WORD = 0xFFFFFFFF
_START = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_MOVED = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
# The columns of a square of 4 x 4 words, then its diagonals.
_QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def _right(value, by):
    return (value >> by | value << (32 - by)) & _WORD


def blake3(data):
    """The hash of at most 64 bytes, which are a single block."""
    assert len(data) <= 64, len(data)
    block = list(struct.unpack("<16I", data.ljust(64, b"\0")))
    # The block is the first and last of its chunk, and the chunk is the root: 1 + 2 + 8.
    state = [*_START, *_START[:4], 0, 0, len(data), 11]
    for _ in range(7):
        for k, (a, b, c, d) in enumerate(_QUARTERS):
            for word, (first, second) in ((block[2 * k], (16, 12)), (block[2 * k + 1], (8, 7))):
                state[a] = (state[a] + state[b] + word) & _WORD
                state[d] = _right(state[d] ^ state[a], first)
                state[c] = (state[c] + state[d]) & _WORD
                state[b] = _right(state[b] ^ state[c], second)
        block = [block[n] for n in _MOVED]
    return struct.pack("<8I", *(state[n] ^ state[n + 8] for n in range(8)))


class Stream:
    """The words of one stream, and what is drawn from them."""

    def __init__(self, seed, purpose, number):
        name = purpose.encode()
        self._key = struct.unpack("<8I", blake3(struct.pack("<QQ", seed, len(name)) + name + struct.pack("<Q", number)))
        self._block, self._held = 0, []

    def _more(self):
        first = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *self._key, self._block & _WORD, self._block >> 32, 0, 0]
        state = list(first)
        for _ in range(4):
            for a, b, c, d in _QUARTERS:
                for left in ((16, 12), (8, 7)):
                    state[a] = (state[a] + state[b]) & _WORD
                    state[d] = _right(state[d] ^ state[a], 32 - left[0])
                    state[c] = (state[c] + state[d]) & _WORD
                    state[b] = _right(state[b] ^ state[c], 32 - left[1])
        self._block += 1
        self._held += [(x + y) & _WORD for x, y in zip(state, first)]

    def word(self):
        """32 bits."""
        if not self._held:
            self._more()
        return self._held.pop(0)

    def double_word(self):
        """64 bits, the lower ones first."""
        low = self.word()
        return low | self.word() << 32

    def _below(self, high, bits, draw):
        whole = 1 << bits
        product = draw() * high
        result, rest = product >> bits, product % whole
        if rest > whole - high:
            result += rest + (draw() * high >> bits) >= whole
        return result

    def integers(self, high, n):
        """n numbers below `high`, of 64 bits each."""
        return [self._below(high, 64, self.double_word) for _ in range(n)]

    def shuffled(self, items):
        """A permutation: each item in turn is swapped with one up to it. One word serves several places, as long as their product fits."""
        order = list(items)
        chunk, left = 0, 1
        for n in range(len(order)):
            if left == 0:
                bound, left = n + 1, 1
                while bound * (n + 1 + left) <= _WORD:
                    bound *= n + 1 + left
                    left += 1
                chunk = self._below(bound, 32, self.word)
            left -= 1
            other = chunk if left == 0 else chunk % (n + 1)
            if left:
                chunk //= n + 1
            order[n], order[other] = order[other], order[n]
        return order

    def _unit(self):
        return (self.double_word() >> 11) * 2.0**-53

    def _open(self):
        return ((self.double_word() >> 12) + 0.5) * 2.0**-52

    def normal(self):
        """A normal number."""
        while True:
            bits = self.double_word()
            layer = bits & 0xFF
            u = (bits >> 12) * 2.0**-51 - 1
            x = u * _EDGES[layer]
            if abs(x) < _EDGES[layer + 1]:
                return x
            if layer == 0:
                a, b = 1.0, 0.0
                while -2 * b < a * a:
                    a, b = math.log(self._open()) / _TAIL, math.log(self._open())
                return a - _TAIL if u < 0 else _TAIL - a
            low, high = _density(_EDGES[layer]), _density(_EDGES[layer + 1])
            if high + (low - high) * self._unit() < _density(x):
                return x


_TAIL = 3.654152885361008796
# A layer has the area of the lowest: its rectangle, and the tail.
_AREA = _TAIL * math.exp(-_TAIL * _TAIL / 2) + math.sqrt(math.pi / 2) * math.erfc(_TAIL / math.sqrt(2))


def _density(x):
    return math.exp(-x * x / 2)


def _layers():
    """Edges of layers of one area under the density, the widest first; the first stands for the tail."""
    edges = [_AREA / _density(_TAIL), _TAIL]
    while len(edges) < 256:
        edges.append(math.sqrt(-2 * math.log(_AREA / edges[-1] + _density(edges[-1]))))
    return [*edges, 0.0]


_EDGES = _layers()


def order(seed, purpose, pool, turn, batch):
    """The images that a training draws for the `turn`-th time: permutations of the pool, one after the other."""
    drawn = []
    for position in range(turn * batch, (turn + 1) * batch):
        epoch, place = divmod(position, len(pool))
        drawn.append(Stream(seed, purpose, epoch).shuffled(pool)[place])
    return drawn


def check():
    """Published values of the hash and of the cipher."""
    assert blake3(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    zeros = Stream(0, "", 0)
    zeros._key = (0,) * 8
    words = struct.pack("<8I", *(zeros.word() for _ in range(8)))
    assert words.hex() == "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e"
    assert sorted(Stream(1, "a", 2).shuffled(range(30))) == list(range(30))
    # A wrong layer would show in the moments of what is drawn.
    drawn = Stream(1, "a", 2)
    values = [drawn.normal() for _ in range(20000)]
    moments = [sum(v**k for v in values) / len(values) for k in (1, 2, 4)]
    assert abs(moments[0]) < 0.03 and abs(moments[1] - 1) < 0.05 and abs(moments[2] - 3) < 0.3, moments


if __name__ == "__main__":
    check()
