"""Keys and tokens that all peers are given: the same bytes for everyone who knows the algorithm."""

import base64
import hmac
import json
import secrets
import time
import uuid
from pathlib import Path

ISSUER = "bench"
USER = "bench"
AUDIENCE = "bench"
HOURS = 6


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A signing key: HS512, ES256, EdDSA or RS256."""

    def __init__(self, algorithm: str):
        self.algorithm = algorithm
        self.kid = secrets.token_hex(8)
        if algorithm == "HS512":
            # Text, because HAProxy takes the secret as text; 64 bytes, as RFC 7518 section 3.2 asks for.
            self.secret = secrets.token_hex(32)
            return
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        self.private = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
        }[algorithm]()

    def sign(self, data: bytes) -> bytes:
        if self.algorithm == "HS512":
            return hmac.digest(self.secret.encode(), data, "sha512")
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

        if self.algorithm == "EdDSA":
            return self.private.sign(data)
        if self.algorithm == "RS256":
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def jwk(self, private: bool) -> dict:
        """As a JSON Web Key (RFC 7517); a secret key's is always private."""
        key = {"kid": self.kid, "alg": self.algorithm, "use": "sig"}
        if self.algorithm == "HS512":
            return {**key, "kty": "oct", "k": b64(self.secret.encode())}
        numbers = getattr(self.private, "private_numbers", lambda: None)()
        if self.algorithm == "RS256":
            public = numbers.public_numbers
            return {**key, "kty": "RSA", "n": b64(_bytes(public.n)), "e": b64(_bytes(public.e))}
        if self.algorithm == "ES256":
            public = numbers.public_numbers
            key |= {"kty": "EC", "crv": "P-256", "x": b64(_bytes(public.x, 32)), "y": b64(_bytes(public.y, 32))}
            return {**key, "d": b64(_bytes(numbers.private_value, 32))} if private else key
        key |= {"kty": "OKP", "crv": "Ed25519", "x": b64(self.private.public_key().public_bytes_raw())}
        return {**key, "d": b64(self.private.private_bytes_raw())} if private else key

    def public_pem(self) -> bytes:
        from cryptography.hazmat.primitives import serialization as to

        return self.private.public_key().public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo)

    def ring(self, others: int = 0) -> dict:
        """A Vestibule key ring that signs with this key and holds some others besides."""
        now = int(time.time())
        times = {"iat": now - 60, "nbf": now - 60}
        retiring = [Key("HS512").jwk(private=True) | {"iat": now - 120, "nbf": now - 120} for _ in range(others)]
        return {"keys": [*retiring, self.jwk(private=True) | times]}

    def token(self, **more: object) -> str:
        """A JSON Web Token (RFC 7519) with the claims that each of the peers asks for."""
        now = int(time.time())
        claims = {
            "jti": str(uuid.uuid4()),
            "iat": now - 1,
            "sub": USER,
            "iss": ISSUER,
            "exp": now + HOURS * 3600,
            "auth_time": now - 1,
            "groups": ["Administrator"],
            **more,
        }
        header = {"alg": self.algorithm, "kid": self.kid}
        parts = ".".join(b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        return f"{parts}.{b64(self.sign(parts.encode()))}"


def many(key: Key, count: int, to: Path) -> Path:
    """A file with so many different tokens, one a line."""
    if not to.exists():
        to.write_text("".join(f"{key.token()}\n" for _ in range(count)))
    return to


def _bytes(number: int, length: int | None = None) -> bytes:
    return number.to_bytes(length or (number.bit_length() + 7) // 8, "big")
