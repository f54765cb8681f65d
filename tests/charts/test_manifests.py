"""What is in deploy/, and the chart vestibule-injector: by Helm's linter, the schemas of each Kubernetes, and an API server."""

import copy
import functools
import json
import os
import unittest

import kubernetes_validate
import yaml

from cluster import VESTIBULE, Cluster, run
from rendered import HELMS, KUBERNETES, ROOT, lint, pods

KUBECTL = f"{os.environ['VESTIBULE_CONTROL_PLANE']}/kubectl"
INJECTOR_CHART = ROOT / "charts/vestibule-injector"
NAMESPACE = "shop"
# What the manifests leave open, for `envsubst`.
VARIABLES = {
    "NAMESPACE": NAMESPACE,
    "REGISTRY": "registry.example.org",
    "APPLICATION_IMAGE": "registry.example.org/api",
    "APPLICATION_TAG": "1",
    "NAME": "vestibule",
    "USERS": "vestibule-users",
    "KEYS": "vestibule-keys",
}
FILES = [*sorted((ROOT / "deploy/manifests").glob("*.yaml")), ROOT / "deploy/rbac.yaml"]

# Values of the chart vestibule-injector by what they are about. The first are the defaults.
INJECTOR = {
    "defaults": {},
    "names": {"image": {"repository": "registry.example.org/vestibule", "tag": "1.2.3"}, "fullnameOverride": "front"},
    "some namespaces": {
        "namespaceSelector": {
            "matchLabels": {"team": "blue"},
            "matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["test"]}],
        }
    },
    "everything": {
        "image": {"repository": "registry.example.org:5000/a/vestibule", "digest": "sha256:" + "a" * 64, "pullPolicy": "Always"},
        "imagePullSecrets": ["mine", "registry"],
        "defaults": {
            "port": "web", "protocol": "h2c", "listenPort": 20443, "adminPort": 20444, "store": "mounted",
            "users": "people", "keys": "ring", "certificate": "gate.example.org",
        },
        "listenAddress": "[::]",
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
        "user": 2147483647,
        "preStopSeconds": 20,
        "labels": {"team": "blue"},
    },
}  # fmt: skip

CLUSTER = None


def setUpModule():
    global CLUSTER
    CLUSTER = unittest.enterModuleContext(Cluster(os.environ["VESTIBULE_CONTROL_PLANE"]))
    CLUSTER.kubectl("create", "namespace", NAMESPACE)
    CLUSTER.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")


@functools.cache
def deployed():
    """What is in deploy/, by file, and what the kustomize example builds."""
    found = {}
    for file in FILES:
        text = file.read_text()
        for name, value in VARIABLES.items():
            text = text.replace(f"${{{name}}}", value)
        assert "${" not in text, file
        found[str(file.relative_to(ROOT))] = [document for document in yaml.safe_load_all(text) if document]
    built = run([KUBECTL, "kustomize", ROOT / "deploy/kustomize/example"])
    found["deploy/kustomize/example"] = [document for document in yaml.safe_load_all(built) if document]
    return found


def injector(values, helm="Helm 4", kubernetes="1.36", fails=False):
    command = [HELMS[helm], "template", "vestibule-injector", INJECTOR_CHART, "--kube-version", kubernetes, "--values", "-"]
    text = run(command, stdin=json.dumps(values), fails=fails)
    return text if fails else [document for document in yaml.safe_load_all(text) if document]


class Manifests(unittest.TestCase):
    def test_each_object_fits_each_version_of_kubernetes(self):
        for version in KUBERNETES:
            for name, documents in deployed().items():
                for document in documents:
                    with self.subTest(file=name, version=version, object=(document["kind"], document["metadata"]["name"])):
                        kubernetes_validate.validate(document, version, strict=True)

    def test_what_inject_makes_fits_each_version_of_kubernetes(self):
        workloads = sorted((ROOT / "tests/pods").glob("*/input.yaml"))
        self.assertGreaterEqual(len(workloads), 20)
        for file in workloads:
            made = yaml.safe_load(run([VESTIBULE, "inject", "--file", file]))
            for version in KUBERNETES:
                with self.subTest(file=file.parent.name, version=version):
                    kubernetes_validate.validate(made, version, strict=True)

    def test_a_field_that_no_version_knows_would_be_found(self):
        for version in KUBERNETES:
            deployment = copy.deepcopy(next(d for d in deployed()["deploy/kustomize/example"] if d["kind"] == "Deployment"))
            deployment["spec"]["template"]["spec"]["initContainers"][0]["restartPolicies"] = "Always"
            with self.assertRaises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(deployment, version, strict=True)

    def test_the_api_server_takes_each_object_and_each_pod(self):
        for name, documents in deployed().items():
            documents = copy.deepcopy(documents)
            for document in documents:
                document["metadata"].setdefault("namespace", NAMESPACE)
            accounts = [d for d in documents if d["kind"] == "ServiceAccount"]
            if accounts:
                CLUSTER.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(accounts))
            with self.subTest(file=name):
                text = yaml.safe_dump_all(documents)
                CLUSTER.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", stdin=text)
            # The namespace takes no pod that asks for a privilege.
            for pod in pods(documents):
                with self.subTest(file=name, pod=pod["metadata"]["name"]):
                    CLUSTER.kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=yaml.safe_dump(pod))


class Injector(unittest.TestCase):
    def test_lint_finds_nothing(self):
        for helm, program in HELMS.items():
            for name, values in INJECTOR.items():
                with self.subTest(helm=helm, values=name):
                    lint(program, INJECTOR_CHART, values)

    def test_both_versions_of_helm_render_the_same(self):
        for name, values in INJECTOR.items():
            with self.subTest(values=name):
                self.assertEqual(injector(values, "Helm 3"), injector(values, "Helm 4"))

    def test_each_policy_fits_the_schema_and_the_api_server_takes_it(self):
        for name, values in INJECTOR.items():
            documents = injector(values)
            self.assertEqual(len(documents), 6)
            for document in documents:
                with self.subTest(values=name, object=(document["kind"], document["metadata"]["name"])):
                    kubernetes_validate.validate(document, "1.36", strict=True)
            # It compiles the expressions, and judges their types.
            with self.subTest(values=name):
                text = yaml.safe_dump_all(documents)
                CLUSTER.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", stdin=text)

    def test_an_expression_that_does_not_compile_would_be_refused(self):
        documents = copy.deepcopy(injector({}))
        policy = next(d for d in documents if d["kind"] == "ValidatingAdmissionPolicy")
        policy["spec"]["variables"][0]["expression"] += " +"
        said = CLUSTER.kubectl("apply", "--dry-run=server", "--filename=-", stdin=yaml.safe_dump(policy), fails=True)
        self.assertIn("compilation failed", said)

    def test_an_older_kubernetes_is_refused_and_told_the_other_ways(self):
        for helm in HELMS:
            for kubernetes in KUBERNETES[:-1]:
                with self.subTest(helm=helm, kubernetes=kubernetes):
                    said = injector({}, helm, kubernetes, fails=True)
                    for words in ("needs Kubernetes 1.36 or later", f"this is v{kubernetes}", "`vestibule inject`", "deploy/kustomize"):
                        self.assertIn(words, said)


if __name__ == "__main__":
    unittest.main()
