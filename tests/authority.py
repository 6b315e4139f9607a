"""A certificate authority of the test's own, made by the system's openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.stack import skip_or_fail

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_OF_CA = (
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
)
_OF_SERVER = """basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
subjectAltName={names}
"""


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs the certificates of a test's servers.

    Attributes:
        folder: With its key, its certificate, and those of the servers.
    """

    folder: Path

    @property
    def certificate(self) -> Path:
        """What a client has to believe."""
        return self.folder / "ca.pem"

    def trusted(self) -> ssl.SSLContext:
        """A client's context that believes this authority alone."""
        return ssl.create_default_context(cafile=self.certificate)

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's context for these subject names: `DNS:files.example`, `IP:127.0.0.1`."""
        number = len(list(self.folder.glob("server-*.pem")))
        key, pem = self.folder / f"server-{number}.key", self.folder / f"server-{number}.pem"
        self._sign(key, pem, names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        return context

    def _sign(self, key: Path, pem: Path, names: Iterable[str]) -> None:
        wish, extensions = pem.with_suffix(".csr"), pem.with_suffix(".ext")
        extensions.write_text(_OF_SERVER.format(names=",".join(names)))
        _openssl("req", "-new", *_KEY, "-keyout", key, "-out", wish, "-subj", "/CN=server")
        signer = ("-CA", self.certificate, "-CAkey", self.folder / "ca.key", "-CAcreateserial")
        _openssl("x509", "-req", "-in", wish, "-out", pem, "-days", "2", *signer, "-extfile", extensions)


def make_authority(folder: Path) -> Authority:
    """A new one; its certificates are good for two days."""
    if shutil.which("openssl") is None:
        skip_or_fail("openssl is not on the PATH: no certificates can be made")
    wish, extensions = folder / "ca.csr", folder / "ca.ext"
    extensions.write_text(_OF_CA)
    _openssl("req", "-new", *_KEY, "-keyout", folder / "ca.key", "-out", wish, "-subj", "/CN=test authority")
    own = ("-signkey", folder / "ca.key", "-days", "2", "-extfile", extensions)
    _openssl("x509", "-req", "-in", wish, "-out", folder / "ca.pem", *own)
    return Authority(folder)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
