"""Renders the chart, by either Helm, over a matrix of values."""

import functools
import json
import os
import re
from pathlib import Path

import kubernetes_validate.utils
import yaml

from cluster import run

# Read once, and not for each object.
kubernetes_validate.utils.schema_contents = functools.lru_cache(maxsize=None)(kubernetes_validate.utils.schema_contents)

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/vestibule"
HELMS = {"Helm 3": os.environ["HELM3"], "Helm 4": os.environ["HELM4"]}
RELEASE, NAMESPACE = "api", "shop"
KUBERNETES = [f"1.{minor}" for minor in range(29, 37)]

APPLICATION = {"enabled": True, "image": {"repository": "registry.example.org/legacy", "tag": "1"}}
CONTAINER = {
    "image": "registry.example.org/legacy:1",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
GIVEN = {"source": "secret", "secret": "given-tls"}

# Values by what they are about. The first are the defaults.
MATRIX = {
    "defaults": {},
    "application": {"application": APPLICATION},
    "selector": {"selector": {"app": "legacy"}, "tls": {"hosts": ["api.example.org", "192.0.2.7"]}},
    "mounted": {"application": APPLICATION, "store": "mounted", "tls": GIVEN},
    "given certificate": {"application": APPLICATION, "tls": GIVEN},
    "cert-manager": {
        "application": APPLICATION,
        "tls": {
            "source": "certManager",
            "hosts": ["api.example.org", "192.0.2.7", "2001:db8::7"],
            "certManager": {"issuerRef": {"name": "ca", "kind": "ClusterIssuer"}},
        },
    },
    "several users": {"application": APPLICATION, "users": {"extraSecrets": ["more-users", "others"]}},
    "no fallback": {"application": APPLICATION, "fallback": False},
    "names": {
        "application": APPLICATION | {"portName": "web"},
        "fullnameOverride": "front",
        "users": {"secret": "people", "create": False},
        "keys": {"secret": "ring", "create": False},
        "tls": {"secret": "shown"},
        "serviceAccount": {"name": "door", "annotations": {"a.example.org/b": "c"}},
        "service": {"name": "entrance", "port": 8443, "type": "NodePort", "nodePort": 30443},
        "image": {"repository": "registry.example.org/vestibule", "digest": "sha256:" + "a" * 64},
        "commonLabels": {"team": "blue"},
        "commonAnnotations": {"example.org/owner": "blue"},
    },
    "all of a pod": {
        "application": APPLICATION
        | {
            "port": 9000,
            "extraPorts": [{"name": "metrics", "containerPort": 9090}, {"containerPort": 10444, "protocol": "UDP"}],
            "command": ["/app"],
            "args": ["--port", "9000"],
            "env": [{"name": "A", "value": "b"}],
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m"}},
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 9000}},
            "livenessProbe": {"tcpSocket": {"port": 9000}},
            "startupProbe": {"exec": {"command": ["/app", "ready"]}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "initContainers": [CONTAINER | {"name": "migrate"}],
            "extraContainers": [CONTAINER | {"name": "helper"}],
        },
        "replicas": 3,
        "strategy": {"type": "Recreate", "rollingUpdate": None},
        "podLabels": {"tier": "front"},
        "podAnnotations": {"example.org/note": "x"},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "front", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "system-cluster-critical",
        "runtimeClassName": "",
        "schedulerName": "default-scheduler",
        "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["old"]}],
        "dnsPolicy": "ClusterFirst",
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        "extraVolumes": [{"name": "data", "emptyDir": {}}, {"name": "clients", "secret": {"secretName": "clients"}}],
        "sidecar": {
            "env": [{"name": "VESTIBULE_LOG_LEVEL", "value": "debug"}],
            "extraVolumeMounts": [{"name": "clients", "mountPath": "/etc/vestibule/clients", "readOnly": True}],
        },
        "config": {"tls": {"clientCa": "/etc/vestibule/clients/ca.crt", "minVersion": "1.3"}},
    },
    "around it": {
        "application": APPLICATION,
        "autoscaling": {"enabled": True, "targetMemoryUtilizationPercentage": 70, "behavior": {"scaleDown": {}}},
        "podDisruptionBudget": {"enabled": True, "minAvailable": "50%"},
        "podMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"},
            "hosts": ["api.example.org"],
            "tls": [{"secretName": "front", "hosts": ["api.example.org"]}],
        },
        "networkPolicy": {
            "from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
            "adminFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "extraIngress": [{"ports": [{"port": 9999}]}],
        },
        "service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"], "externalTrafficPolicy": "Local"},
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}, "data": {"a": "b"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\n",
        ],
    },
    "nothing but Secrets": {
        "rbac": {"create": False},
        "serviceAccount": {"create": False, "name": "own"},
        "service": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "test": {"enabled": False},
        "application": APPLICATION,
    },
    "settings": {
        "application": APPLICATION,
        "terminationGracePeriodSeconds": 100,
        "config": {
            "listen": "[::]:8443",
            "admin": "[::]:8444",
            "upstream": "h2c://127.0.0.1:9000",
            "workers": 2,
            "tokens": {"algorithm": "EdDSA", "audience": "api", "ttl": "10m", "maxTtl": "1h", "maxSession": "12h"},
            "keys": {"rotateEvery": "7d", "propagation": "5m"},
            "authorize": {
                "paths": {"densify": ["/authorize", "/api/v2/authorize"], "redis": None, "refresh": None},
                "hashing": {"threads": 2, "queue": 16},
            },
            "throttle": {"first": "500ms", "factor": 1.5, "entries": 10000000},
            "access": {
                "apiGroups": [],
                "rules": [
                    {"path": "/healthz", "methods": ["GET"], "allow": "anyone"},
                    {"prefix": "/admin", "groups": ["Administrator"]},
                ],
                "forwardToken": True,
                "mode": "shadow",
            },
            "limits": {"connections": 500, "requestBody": 10737418240, "headerBytes": "64Ki", "upstreamHeaders": "1m30s"},
            "trustedProxies": ["10.0.0.0/8"],
            "shutdown": {"delay": "2s", "grace": "1m"},
            "log": {"format": "text", "access": False},
        },
    },
    "sections that are null": {
        "application": APPLICATION,
        "config": {"listen": None, "admin": None, "tls": None, "authorize": None, "limits": None},
    },
}

# Both are files of the chart; without them, their switches are refused.
if (CHART / "files/alerts.yaml").exists() and (CHART / "files/dashboard.json").exists():
    MATRIX["alerts and dashboard"] = {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}


def lint(program, chart, values):
    """Ends the test where this Helm finds anything in a chart with such values."""
    run([program, "lint", "--strict", chart, "--kube-version", "1.36", "--values", "-"], stdin=json.dumps(values))


@functools.lru_cache(maxsize=None)
def _rendered(helm, values, kubernetes, flags):
    return run(
        [HELMS[helm], "template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", kubernetes, "--values", "-", *flags],
        stdin=values,
    )


def rendered(values, helm="Helm 4", kubernetes="1.36", flags=()):
    """The objects of the chart with these values."""
    text = _rendered(helm, json.dumps(values), kubernetes, tuple(flags))
    return [document for document in yaml.safe_load_all(text) if document]


def refused(values, helm="Helm 4"):
    """What Helm says when it must not render the chart with these values."""
    command = [HELMS[helm], "template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", "1.36", "--values", "-"]
    return run(command, stdin=json.dumps(values), fails=True)


def one(documents, kind, name=None):
    """The only object of that kind, or of that name."""
    found = [d for d in documents if d["kind"] == kind and name in (None, d["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects are {kind} {name or ''}"
    return found[0]


def pods(documents):
    """The pods that these objects make, as objects of their own."""
    for document in documents:
        if document["kind"] == "Pod":
            template = document
        elif document["kind"] == "Deployment":
            template = document["spec"]["template"]
        elif document["kind"] == "CronJob":
            template = document["spec"]["jobTemplate"]["spec"]["template"]
        else:
            continue
        name = re.sub(r"[^a-z0-9]+", "-", f"{document['kind']}-{document['metadata']['name']}".lower())
        labels = template["metadata"].get("labels", {})
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": document["metadata"]["namespace"], "labels": labels},
            "spec": template["spec"],
        }


def configuration(documents):
    """The text of the sidecar's configuration."""
    found = [d["data"]["vestibule.yaml"] for d in documents if d["kind"] == "ConfigMap" and "vestibule.yaml" in d.get("data", {})]
    assert len(found) == 1
    return found[0]
