"""A time-stamping authority (RFC 3161) on loopback: OpenSSL's, behind a small server."""

import datetime
import subprocess
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support import programs

CONFIG = """[tsa]
default_policy = 1.2.3.4.1
digests = sha256
serial = {folder}/serial
signer_digest = sha256
ess_cert_id_alg = sha256
"""


class Authority:
    """One that stamps whatever it is sent, unless it `refuses`. url : where it listens; roots : its certificate, PEM"""

    def __init__(self, folder: Path, name: str):
        self.folder, self.refuses, self.asked = folder, False, 0
        folder.mkdir(parents=True)
        (folder / "serial").write_text("01")
        (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder))
        root_key, root = _certificate(f"{name} root", None, None)
        key, leaf = _certificate(name, root_key, root)
        self.roots = folder / "roots.pem"
        self.roots.write_bytes(root.public_bytes(Encoding.PEM))
        (folder / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
        (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def answer(self, question: bytes) -> bytes:
        self.asked += 1
        (self.folder / "question").write_bytes(question)
        files = ["-queryfile", "question", "-signer", "leaf.pem", "-inkey", "key.pem", "-out", "answer"]
        command = [programs.need("openssl"), "ts", "-reply", "-config", "tsa.cnf", "-section", "tsa", *files]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        return (self.folder / "answer").read_bytes()


@contextmanager
def authority(folder: Path, name: str = "Clock Ltd"):
    """An authority that listens; its `url` is set."""
    programs.need("openssl")
    mine = Authority(folder, name)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            question = self.rfile.read(int(self.headers["Content-Length"]))
            if mine.refuses:
                self.send_error(503)
                return
            answer = mine.answer(question)
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    mine.url = f"http://127.0.0.1:{server.server_port}/tsa"
    try:
        yield mine
    finally:
        server.shutdown()


def _certificate(name: str, issuer_key, issuer):
    """A key and its certificate: of a root without an issuer, else of one that may stamp."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=30))
    if issuer is None:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    else:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return key, builder.sign(issuer_key or key, hashes.SHA256())
