"""A private authority, and what it vouches for."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM
_PLAIN = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


class Authority:
    """Keeps its own certificate in `path`; nobody trusts it until they are told to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("A private authority")
        own = _begun(self._name, self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.path = folder / "authority.pem"
        self.path.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(PEM))

    def vouch_for(self, name: str) -> Path:
        """Return a file with a key, and a certificate for `name` (an address, or the name of a host or a client)."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_alternative(name)])
        certificate = _begun(_named(name), self._name, key).add_extension(names, critical=False)
        path = self._folder / f"{name}.pem"
        signed = certificate.sign(self._key, hashes.SHA256()).public_bytes(PEM)
        path.write_bytes(key.private_bytes(PEM, *_PLAIN) + signed)
        return path

    def serves(self, name: str, *, asks_for_certificate: bool = False) -> ssl.SSLContext:
        """Return what a server of that name shows, and whether it takes only clients that this authority knows."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.vouch_for(name))
        if asks_for_certificate:
            context.load_verify_locations(self.path)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _begun(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now, day = datetime.now(UTC), timedelta(days=1)
    serial = x509.random_serial_number()
    return x509.CertificateBuilder(issuer, name, key.public_key(), serial, now - day, now + day)
