"""A local server that speaks the protocol of the Hugging Face Hub, as far as its client needs it to share models.

Files are regular, or kept by LFS: uploaded and downloaded at another address, as on the Hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

LARGE = (".safetensors", ".jpg")
TOKEN = "hf_local"
LICENCES = ("mit", "cc-by-4.0", "other")


class Hub(ThreadingHTTPServer):
    """The Hub.

    Attributes:
        models: files of each model, by their names.
        large: contents of LFS by their SHA-256.
        gated: models whose conditions the user has to accept.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}
        self.gated = {"owner/gated"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def storage(self) -> str:
        """Address of LFS: another host, as on the Hub."""
        return f"http://localhost:{self.server_address[1]}"

    def environment(self, home: Any) -> dict[str, str]:
        """Return the variables that make the client talk to this server, and to no other."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def answer(self, code: int, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_HEAD(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts[0] == "cdn":
            self.answer(200, self.server.large[parts[1]], ETag=f'"{parts[1]}"')
            return
        if parts[0] == "api":  # clients before 1.0 look for a .gitignore
            self.answer(200, {"id": "/".join(parts[2:4]), "sha": "0" * 40, "siblings": []})
            return
        owner, name, resolve, _, file = parts  # OWNER/NAME/resolve/REVISION/FILE
        assert resolve == "resolve"
        model = f"{owner}/{name}"
        if model in self.server.gated:
            self.answer(403, X_Error_Code="GatedRepo")
        elif (files := self.server.models.get(model)) is None:
            self.answer(404, X_Error_Code="RepoNotFound")
        else:
            commit = digest(repr(sorted(files.items())).encode())[:40]
            if file not in files:
                self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            elif file.endswith(LARGE):
                oid = digest(files[file])
                self.answer(302, X_Repo_Commit=commit, X_Linked_Etag=f'"{oid}"', X_Linked_Size=str(len(files[file])),
                            Location=f"{self.server.storage}/cdn/{oid}")
            else:
                self.answer(200, files[file], X_Repo_Commit=commit, ETag=f'"{digest(files[file])[:40]}"')

    def do_GET(self) -> None:
        self.do_HEAD()

    def do_POST(self) -> None:
        body = self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid username or password."})
            return
        parts = self.path.strip("/").split("/")
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            model = f"{asked['organization']}/{asked['name']}"
            known = model in self.server.models
            self.server.models.setdefault(model, {})
            self.answer(409 if known else 200, {"url": f"{self.server.url}/{model}"})
        elif self.path == "/api/validate-yaml":
            self.validate(json.loads(body)["content"])
        elif parts[-2] == "preupload":
            self.answer(200, {"files": [
                {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                 "shouldIgnore": False} for file in json.loads(body)["files"]]})
        elif parts[-2:] == ["objects", "batch"]:
            asked = json.loads(body)
            assert "basic" in asked["transfers"]
            self.answer(200, {"transfer": "basic", "objects": [
                {**item, "actions": {"upload": {"href": f"{self.server.storage}/cdn/{item['oid']}"}}}
                for item in asked["objects"]]})
        elif parts[-2] == "commit":
            model = f"{parts[2]}/{parts[3]}"
            files = self.server.models[model]
            for line in body.splitlines():
                of = json.loads(line)
                if of["key"] == "file":
                    files[of["value"]["path"]] = base64.b64decode(of["value"]["content"])
                elif of["key"] == "lfsFile":
                    files[of["value"]["path"]] = self.server.large[of["value"]["oid"]]
            self.answer(200, {"commitUrl": f"{self.server.url}/{model}/commit/{'0' * 40}", "commitOid": "0" * 40})
        else:
            self.answer(501)

    def validate(self, card: str) -> None:
        """Check the front matter of a model card, as the Hub does before a commit."""
        facts = yaml.safe_load(card.split("---\n")[1])
        assert isinstance(facts["tags"], list)
        if facts.get("license", "mit") in LICENCES:
            self.answer(200, {"errors": [], "warnings": []})
        else:
            self.answer(400, {"errors": [{"message": f'"license" must be one of {LICENCES}'}], "warnings": []})

    def do_PUT(self) -> None:
        oid, content = self.path.rsplit("/", maxsplit=1)[1], self.body()
        assert digest(content) == oid
        self.server.large[oid] = content
        self.answer(200)

    def log_message(self, *_: object) -> None:
        """Quietly."""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub until the block ends."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
