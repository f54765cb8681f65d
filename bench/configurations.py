"""The configuration of each peer, written for the same work: TLS 1.3, one core, a token verified, its subject passed on."""

import json
from pathlib import Path

from tokens import ISSUER, USER

# A stored hash as Vestibule reads it, of a password that nobody knows: only its form counts.
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$5s2tq0Jm6Y4rB0rO2kqvQd3Wm6b0yqQn9S2b3Qe7f3E"


def vestibule_configuration(stage, work, port: int, directory: Path) -> Path:
    users, keys = directory / "users", directory / "keys"
    users.mkdir()
    keys.mkdir()
    groups = ["Administrator", *(f"group-{n}" for n in range(1, work.groups))]
    # JSON is YAML.
    (users / "users.yaml").write_text(json.dumps({"users": {USER: {"groups": groups}}}))
    if work.users > 1:
        (users / "others.htpasswd").write_text("".join(f"user-{n:06}:{HASH}\n" for n in range(1, work.users)))
    (keys / "keys.jwks").write_text(json.dumps(stage.key(work.algorithm).ring(others=work.keys - 1)))
    (keys / "keys.jwks").chmod(0o600)
    rules = [{"prefix": f"/area-{n}", "groups": [f"group-{n % 10}"]} for n in range(work.rules)]
    upstream = f"h2c://127.0.0.1:{stage.h2c_port}" if work.upstream == "h2c" else f"http://127.0.0.1:{stage.http_port}"
    configuration = directory / "vestibule.yaml"
    configuration.write_text(
        json.dumps(
            {
                "listen": f"127.0.0.1:{port}",
                "upstream": upstream,
                "workers": work.workers,
                "tls": {"certificate": str(stage.certificate), "key": str(stage.private_key), "minVersion": "1.3"},
                "store": {"directory": {"users": str(users), "keys": str(keys)}},
                "tokens": {"issuer": ISSUER, "algorithm": work.algorithm},
                "access": {"rules": rules},
                "limits": {"connections": work.connections},
                "shutdown": {"delay": "0s", "grace": "0s"},
                "log": {"access": work.log},
            }
        )
    )
    return configuration


def haproxy_configuration(stage, work, port: int, directory: Path, verify: bool) -> Path:
    upstream = f"127.0.0.1:{stage.h2c_port} proto h2" if work.upstream == "h2c" else f"127.0.0.1:{stage.http_port}"
    log = "log stdout format raw daemon\n  option httplog" if work.log else ""
    checks = ""
    if verify:
        key = stage.key(work.algorithm)
        if work.algorithm == "HS512":
            secret = key.secret
        else:
            secret = str(directory / "key.pem")
            Path(secret).write_bytes(key.public_pem())
        checks = f"""
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str {work.algorithm} }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,"{secret}") 1 }}
  http-request deny deny_status 401 unless {{ var(txn.iss) -m str {ISSUER} }}
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int le 0 }}
  http-request del-header X-Forwarded-User
  http-request set-header X-Forwarded-User %[var(txn.bearer),jwt_payload_query('$.sub')]
  http-request del-header Authorization"""
    configuration = directory / "haproxy.cfg"
    configuration.write_text(f"""
global
  nbthread {work.workers}
  maxconn 4000
  {"log stdout format raw daemon" if work.log else ""}
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  timeout http-keep-alive 120s
frontend clients
  bind 127.0.0.1:{port} ssl crt {stage.combined} alpn h2,http/1.1 ssl-min-ver TLSv1.3
  {log}{checks}
  default_backend application
backend application
  http-reuse always
  server application {upstream}
""")
    return configuration


def nginx_configuration(stage, work, port: int, directory: Path) -> Path:
    if work.upstream == "h2c":
        address, pass_to = stage.h2c_port, "grpc_pass grpc://application"
    else:
        address, pass_to = stage.http_port, "proxy_pass http://application"
    configuration = directory / "nginx.conf"
    configuration.write_text(f"""
worker_processes {work.workers}; daemon off; pid {directory}/nginx.pid; error_log stderr;
events {{ worker_connections 16384; }}
http {{
  access_log {f"{directory}/log" if work.log else "off"};
  keepalive_requests 1000000000; keepalive_timeout 120; client_max_body_size 0;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; proxy_max_temp_file_size 0;
  upstream application {{ server 127.0.0.1:{address}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} ssl http2 backlog=4096;
    ssl_certificate {stage.certificate}; ssl_certificate_key {stage.private_key}; ssl_protocols TLSv1.3;
    location / {{
      {pass_to};
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off;
    }}
  }}
}}
""")
    return configuration


def envoy_bootstrap(stage, work, port: int, cache: bool) -> dict:
    def typed(name: str, **fields) -> dict:
        return {"@type": f"type.googleapis.com/envoy.{name}", **fields}

    key = stage.key(work.algorithm)
    provider = {
        "issuer": ISSUER,
        "local_jwks": {"inline_string": json.dumps({"keys": [key.jwk(private=False)]})},
        "claim_to_headers": [{"header_name": "x-forwarded-user", "claim_name": "sub"}],
    }
    if cache:
        # A token that was found good is not verified again.
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}
    verify = typed(
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={"bench": provider},
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
    )
    manager = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="clients",
        codec_type="AUTO",
        route_config={
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "application", "timeout": "0s"}}],
                }
            ]
        },
        http_filters=[
            {"name": "jwt", "typed_config": verify},
            {"name": "router", "typed_config": typed("extensions.filters.http.router.v3.Router")},
        ],
    )
    if work.log:
        stdout = typed("extensions.access_loggers.stream.v3.StdoutAccessLog")
        manager["access_log"] = [{"name": "stdout", "typed_config": stdout}]
    files = {"certificate_chain": {"filename": str(stage.certificate)}, "private_key": {"filename": str(stage.private_key)}}
    tls = typed(
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [files],
            "alpn_protocols": ["h2", "http/1.1"],
        },
    )
    protocol = "http2_protocol_options" if work.upstream == "h2c" else "http_protocol_options"
    options = typed("extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={protocol: {}})
    upstream = stage.h2c_port if work.upstream == "h2c" else stage.http_port
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "clients",
                    "address": _address(port),
                    "filter_chains": [
                        {
                            "filters": [{"name": "http", "typed_config": manager}],
                            "transport_socket": {"name": "tls", "typed_config": tls},
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "application",
                    "type": "STATIC",
                    "circuit_breakers": {"thresholds": [{"max_connections": 100000, "max_requests": 100000}]},
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
                    },
                    "load_assignment": {
                        "cluster_name": "application",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}],
                    },
                }
            ],
        }
    }


def kubeconfig(stage, directory: Path) -> Path:
    import fakes

    if not getattr(stage, "api_server", None):
        stage.api_server = fakes.api_server(stage)
    path = directory / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "fake", "cluster": {"server": stage.api_server}}],
                "users": [{"name": "fake", "user": {}}],
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "current-context": "fake",
            }
        )
    )
    return path


def _address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
