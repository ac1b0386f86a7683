"""A model hub on loopback: one repository, the few addresses that huggingface_hub asks for, and ways to go wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "owner/model"


class Mirror:
    """Serves ``files`` (name to bytes) as owner/model at COMMIT; a context, whose ``url`` goes into HF_ENDPOINT.

    ``status`` and ``error_code`` answer everything; ``hang_up`` cuts the first download of a file after so many
    bytes; ``served`` are other contents than the hub says; ``requests`` is what was asked for, with the Range of it.
    """

    def __init__(self, files):
        self.files, self.requests = dict(files), []
        self.status, self.error_code, self.hang_up, self.served = 200, "", {}, {}
        handler = type("Handler", (_Handler,), {"mirror": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def sha256(self, name):
        """The file's hash, as the hub says it."""
        return hashlib.sha256(self.files[name]).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mirror: Mirror

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        mirror, path = self.mirror, self.path.partition("?")[0]
        mirror.requests.append((self.command, path, self.headers.get("Range", "")))
        api, files = f"/api/models/{MODEL}", f"/{MODEL}/resolve/{COMMIT}/"
        if mirror.status != 200:
            self.answer(mirror.status, b"", {"X-Error-Code": mirror.error_code} if mirror.error_code else {})
        elif path in (f"{api}/revision/{COMMIT}", f"{api}/revision/main", api):
            self.json(
                {"id": MODEL, "modelId": MODEL, "sha": COMMIT, "siblings": [{"rfilename": n} for n in mirror.files]}
            )
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            self.json([self.entry(name) for name in mirror.files])
        elif path.startswith(files) and path.removeprefix(files) in mirror.files:
            self.file(path.removeprefix(files))
        else:
            code = "RevisionNotFound" if MODEL in path else "RepoNotFound"
            self.answer(404, b"", {"X-Error-Code": code})

    def entry(self, name):
        size, digest = len(self.mirror.files[name]), self.mirror.sha256(name)
        found = {"type": "file", "path": name, "size": size, "oid": digest[:40]}
        return found | (
            {"lfs": {"oid": digest, "size": size, "pointerSize": 1}} if name.endswith("safetensors") else {}
        )

    def file(self, name):
        data, start = self.mirror.served.get(name, self.mirror.files[name]), 0
        if given := self.headers.get("Range"):
            start = int(given.removeprefix("bytes=").split("-")[0])
        etag = self.mirror.sha256(name)
        part = data[start:]
        cut = self.mirror.hang_up.pop(name, None) if self.command == "GET" else None
        more = {
            "ETag": f'"{etag}"',
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(self.mirror.files[name])),
            "Accept-Ranges": "bytes",
        }
        if start:
            more["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.answer(206 if start else 200, part, more, cut)

    def json(self, value):
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, status, body, headers, cut=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True
