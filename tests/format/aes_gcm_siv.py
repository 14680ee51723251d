"""AES-256-GCM-SIV (RFC 8452), decrypting only. Slow and not constant-time: for tests only."""

import hashlib
import hmac


def _tables():
    """The S-box, and for each row of a column the products of MixColumns."""
    power, log, value = [0] * 255, [0] * 256, 1
    for exponent in range(255):
        power[exponent], log[value] = value, exponent
        value ^= value << 1 ^ (0x11B if value & 0x80 else 0)
        value &= 0xFF
    sbox = [0x63] * 256
    for byte in range(1, 256):
        inverse = power[-log[byte] % 255]
        sbox[byte] = 0x63
        for turn in range(5):
            sbox[byte] ^= (inverse << turn | inverse >> 8 - turn) & 0xFF
    mixed = [[], [], [], []]
    for substituted in sbox:
        double = substituted << 1 ^ (0x11B if substituted & 0x80 else 0)
        word = double << 24 | substituted << 16 | substituted << 8 | substituted ^ double
        for row in range(4):
            mixed[row].append((word >> 8 * row | word << 32 - 8 * row) & 0xFFFFFFFF)
    return sbox, mixed


SBOX, MIXED = _tables()


class Aes:
    """The block cipher, encrypting only."""

    def __init__(self, key):
        words = [int.from_bytes(key[at : at + 4], "big") for at in range(0, len(key), 4)]
        size, rcon = len(words), 1
        self.rounds = size + 6
        for index in range(size, 4 * self.rounds + 4):
            word = words[-1]
            if index % size == 0:
                word = self._substitute(word << 8 | word >> 24) ^ rcon << 24
                rcon = rcon << 1 ^ (0x11B if rcon & 0x80 else 0)
            elif size == 8 and index % size == 4:
                word = self._substitute(word)
            words.append(words[-size] ^ word)
        self.words = words

    @staticmethod
    def _substitute(word):
        return int.from_bytes(bytes(SBOX[byte] for byte in (word & 0xFFFFFFFF).to_bytes(4, "big")), "big")

    def encrypt(self, block):
        words, (first, second, third, fourth) = self.words, MIXED
        state = [int.from_bytes(block[4 * at : 4 * at + 4], "big") ^ words[at] for at in range(4)]
        for turn in range(1, self.rounds):
            state = [
                first[state[at] >> 24]
                ^ second[state[at - 3] >> 16 & 0xFF]
                ^ third[state[at - 2] >> 8 & 0xFF]
                ^ fourth[state[at - 1] & 0xFF]
                ^ words[4 * turn + at]
                for at in range(4)
            ]
        out = b""
        for at in range(4):
            shifted = (state[at] >> 24, state[at - 3] >> 16 & 0xFF, state[at - 2] >> 8 & 0xFF, state[at - 1] & 0xFF)
            word = int.from_bytes(bytes(SBOX[byte] for byte in shifted), "big") ^ words[4 * self.rounds + at]
            out += word.to_bytes(4, "big")
        return out


# x^128 + x^127 + x^126 + x^121 + 1, without its highest term, and the inverse of x^128 modulo it.
POLYNOMIAL = 1 << 127 | 1 << 126 | 1 << 121 | 1
INVERSE = 1 << 127 | 1 << 124 | 1 << 121 | 1 << 114 | 1


def _multiply(left, right):
    product = 0
    while right:
        if right & 1:
            product ^= left
        right >>= 1
        left <<= 1
        if left >> 128:
            left = left & (1 << 128) - 1 ^ POLYNOMIAL
    return product


def _padded(data):
    return data + bytes(-len(data) % 16)


def _polyval(key, blocks):
    factor, total = _multiply(int.from_bytes(key, "little"), INVERSE), 0
    for at in range(0, len(blocks), 16):
        total = _multiply(factor, total ^ int.from_bytes(blocks[at : at + 16], "little"))
    return total.to_bytes(16, "little")


def _keys(key, nonce):
    cipher = Aes(key)
    halves = [cipher.encrypt(index.to_bytes(4, "little") + nonce)[:8] for index in range(2 + len(key) // 8)]
    return b"".join(halves[:2]), Aes(b"".join(halves[2:]))


def _stream(cipher, tag, data):
    counter = int.from_bytes(tag[:4], "little")
    rest = tag[4:15] + bytes([tag[15] | 0x80])
    counters = (counter + index & 0xFFFFFFFF for index in range((len(data) + 15) // 16))
    stream = b"".join(cipher.encrypt(one.to_bytes(4, "little") + rest) for one in counters)
    return bytes(left ^ right for left, right in zip(data, stream))


def _tag(cipher, authentication_key, nonce, text, associated):
    lengths = (8 * len(associated)).to_bytes(8, "little") + (8 * len(text)).to_bytes(8, "little")
    digest = _polyval(authentication_key, _padded(associated) + _padded(text) + lengths)
    mixed = bytes(left ^ right for left, right in zip(digest, nonce)) + digest[12:]
    return cipher.encrypt(mixed[:15] + bytes([mixed[15] & 0x7F]))


def unseal(key, nonce, sealed, associated):
    """The plain text, or None if it does not authenticate."""
    if len(sealed) < 16:
        return None
    authentication_key, cipher = _keys(key, nonce)
    text, tag = sealed[:-16], sealed[-16:]
    plain = _stream(cipher, tag, text)
    return plain if hmac.compare_digest(_tag(cipher, authentication_key, nonce, plain, associated), tag) else None


def unseal_envelope(key, purpose, envelope, associated):
    """An envelope of docs/wal-format.md: its own key from 32 random bytes, a nonce of zeros."""
    one_time = hmac.new(key, purpose + envelope[:32], hashlib.sha256).digest()
    return unseal(one_time, bytes(12), envelope[32:], associated)


# Key, nonce, associated data, plain text, ciphertext with tag: RFC 8452, appendices C.2 and C.3 (the counter wraps).
VECTORS = [
    ("01" + 31 * "00", "03" + 11 * "00", "", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
    (
        "01" + 31 * "00",
        "03" + 11 * "00",
        "010000000000000000000000000000000200",
        "0300000000000000000000000000000004000000",
        "43dd0163cdb48f9fe3212bf61b201976067f342bb879ad976d8242acc188ab59cabfe307",
    ),
    (
        "3c535de192eaed3822a2fbbe2ca9dfc88255e14a661b8aa82cc54236093bbc23",
        "688089e55540db1872504e1c",
        "734320ccc9d9bbbb19cb81b2af4ecbc3e72834321f7aa0f70b7282b4f33df23f167541",
        "ced532ce4159b035277d4dfbb7db62968b13cd4eec",
        "626660c26ea6612fb17ad91e8e767639edd6c9faee9d6c7029675b89eaf4ba1ded1a286594",
    ),
    (
        32 * "00",
        12 * "00",
        "",
        "000000000000000000000000000000004db923dc793ee6497c76dcc03a98e108",
        "f3f80f2cf0cb2dd9c5984fcda908456cc537703b5ba70324a6793a7bf218d3eaffffffff000000000000000000000000",
    ),
]


def check_vectors():
    """Decrypts every vector, and refuses each with one bit flipped."""
    for vector in VECTORS:
        key, nonce, associated, plain, sealed = map(bytes.fromhex, vector)
        assert unseal(key, nonce, sealed, associated) == plain, vector
        assert unseal(key, nonce, sealed[:-1] + bytes([sealed[-1] ^ 1]), associated) is None, vector
        assert unseal(key, nonce, sealed, associated + b"x") is None, vector
