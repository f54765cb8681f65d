"""Stand-ins for what two peers cannot do without: an API server for kube-rbac-proxy, an OIDC issuer for oauth2-proxy."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stage import Stage
from tokens import USER


def api_server(stage: Stage) -> str:
    """Serves TokenReview and SubjectAccessReview; returns the URL.

    It knows one token by its bytes and verifies none: what a real API server spends on that is not in any figure.
    """

    def review(path: str, document: dict) -> dict:
        spec = document.get("spec", {})
        if path.endswith("/tokenreviews"):
            good = spec.get("token") == stage.token("HS512")
            status = {"authenticated": good}
            if good:
                status["user"] = {"username": USER, "groups": ["Administrator"]}
        else:
            status = {"allowed": spec.get("user") == USER}
        return {**document, "status": status}

    return _serve(lambda path, document: review(path, document) if document else {})


def issuer(stage: Stage) -> str:
    """Serves the discovery document (OpenID Connect Discovery 1.0) and the key set; returns the URL."""

    def answer(path: str, _: dict | None) -> dict:
        if path.endswith("/keys"):
            return {"keys": [stage.key("RS256").jwk(private=False)]}
        return {
            "issuer": stage.issuer,
            "authorization_endpoint": f"{stage.issuer}/authorize",
            "token_endpoint": f"{stage.issuer}/token",
            "jwks_uri": f"{stage.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    stage.key("RS256")
    url = _serve(answer)
    stage.issuer_port = int(url.rpartition(":")[2])
    return url


def _serve(answer) -> str:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):  # noqa: N802
            self._send(200, answer(self.path, None))

        def do_POST(self):  # noqa: N802
            length = int(self.headers.get("Content-Length", 0))
            self._send(201, answer(self.path, json.loads(self.rfile.read(length))))

        def _send(self, status: int, document: dict):
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # A client that leaves is no news.
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
