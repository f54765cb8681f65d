"""The chart on a real API server: what it makes is taken, and nothing ever touches what is in the Secrets."""

import copy
import itertools
import json
import os
import shutil
import tempfile
import unittest
from pathlib import Path

import yaml

from cluster import Cluster
from rendered import APPLICATION, CHART, GIVEN, HELMS, MATRIX, NAMESPACE, RELEASE, configuration, pods, rendered

CLUSTER = None
NUMBERS = itertools.count()
CRDS = [
    f"{os.environ['CERT_MANAGER_CRDS']}/cert-manager.io_certificates.yaml",
    f"{os.environ['PROMETHEUS_CRDS']}/monitoring.coreos.com_podmonitors.yaml",
    f"{os.environ['PROMETHEUS_CRDS']}/monitoring.coreos.com_prometheusrules.yaml",
]
SECRETS = ["api-vestibule-users", "api-vestibule-keys", "api-vestibule-tls"]


def setUpModule():
    global CLUSTER
    CLUSTER = unittest.enterModuleContext(Cluster(os.environ["VESTIBULE_CONTROL_PLANE"]))
    CLUSTER.kubectl("apply", "--server-side", *(f"--filename={crd}" for crd in CRDS))
    for crd in CRDS:
        CLUSTER.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"--filename={crd}")
    restricted_namespace(NAMESPACE)


def restricted_namespace(name):
    CLUSTER.kubectl("create", "namespace", name)
    CLUSTER.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")


class Objects(unittest.TestCase):
    def test_the_api_server_takes_each_object(self):
        for name, values in MATRIX.items():
            documents = rendered(values)
            for document in documents:
                document["metadata"].setdefault("namespace", NAMESPACE)
            # Pods are judged below, as they need their service accounts.
            text = yaml.safe_dump_all(d for d in documents if d["kind"] != "Pod")
            with self.subTest(values=name):
                CLUSTER.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", stdin=text)

    def test_each_pod_is_restricted(self):
        for name, values in MATRIX.items():
            documents = rendered(values)
            accounts = [d for d in documents if d["kind"] == "ServiceAccount"]
            if "own" == values.get("serviceAccount", {}).get("name"):
                accounts.append({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own", "namespace": NAMESPACE}})
            if accounts:
                CLUSTER.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(accounts))
            for pod in pods(documents):
                # The test's own pod has no service account to name.
                pod["spec"].setdefault("serviceAccountName", "api-vestibule")
                with self.subTest(values=name, pod=pod["metadata"]["name"]):
                    self.create(pod)

    def test_a_pod_that_is_not_restricted_is_refused_here(self):
        CLUSTER.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(d for d in rendered({}) if d["kind"] == "ServiceAccount"))
        pod = copy.deepcopy(next(pods(rendered(MATRIX["application"]))))
        pod["spec"]["initContainers"][0]["securityContext"].pop("capabilities")
        with self.assertRaisesRegex(AssertionError, "violates PodSecurity"):
            self.create(pod)

    def create(self, pod):
        CLUSTER.kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=yaml.safe_dump(pod))

    def test_the_rights_are_neither_narrower_nor_wider_than_needed(self):
        namespace = "rights"
        restricted_namespace(namespace)
        values = {"tls": GIVEN}
        CLUSTER.helm(HELMS["Helm 4"], "install", RELEASE, CHART, f"--namespace={namespace}", "--values=-", stdin=json.dumps(values))
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(configuration(rendered(values)))
            file.flush()
            # It fails: the certificate is not here.
            found = CLUSTER.vestibule(
                "check", "--config", file.name, "--namespace", namespace, "--output", "json",
                "--as", f"system:serviceaccount:{namespace}:api-vestibule", fails=True,
            )  # fmt: skip
        found = json.JSONDecoder().raw_decode(found)[0]
        rights = [finding for finding in found if finding["check"] == "rights"]
        self.assertEqual([finding["severity"] for finding in rights], ["ok"], rights)


class Releases:
    """Install, use, upgrade, roll back, apply, uninstall, install again; after each, all is as it was. Once for each Helm."""

    HELM = None

    def setUp(self):
        self.namespace = f"release-{next(NUMBERS)}"
        restricted_namespace(self.namespace)

    def test_nothing_touches_what_is_in_the_secrets(self):
        values = {"application": APPLICATION}
        notes = self.helm("install", RELEASE, CHART, values=values)
        at = f"--namespace {self.namespace}"
        self.assertIn(f"kubectl vestibule users add apiUser --group Administrator --generate {at} --secret {SECRETS[0]}", notes)
        self.assertIn(f"kubectl rollout status {at} deployment/api-vestibule", notes)
        self.assertIn(f"ask https://api-vestibule.{self.namespace}.svc/", notes)
        self.use()
        before = self.secrets()

        changed = values | {"replicas": 2, "commonLabels": {"team": "blue"}, "config": {"limits": {"inFlight": 10}}}
        self.helm("upgrade", RELEASE, CHART, values=changed)
        self.stand(before, "an upgrade")
        self.helm("upgrade", RELEASE, self.newer_chart(), values=changed)
        self.stand(before, "an upgrade to another version of the chart")
        self.helm("rollback", RELEASE, "2")
        self.stand(before, "a rollback")
        self.helm("rollback", RELEASE, "1")
        self.stand(before, "a rollback to the first revision")
        self.helm("upgrade", RELEASE, CHART, values=changed)
        self.stand(before, "an upgrade after it")

        self.helm("uninstall", RELEASE)
        self.assertEqual(self.kubectl("get", "deployments,services,roles", "--output=name"), "")
        self.stand(before, "uninstalling")
        self.helm("install", RELEASE, CHART, values=values)
        self.stand(before, "installing again")
        self.helm("upgrade", RELEASE, CHART, values=changed)
        self.stand(before, "an upgrade of what was installed again")
        own = {"users": {"create": False}, "keys": {"create": False}}
        self.helm("upgrade", RELEASE, CHART, values=changed | own)
        self.stand(before, "an upgrade that no longer makes them")

    def test_no_apply_touches_what_is_in_the_secrets(self):
        def manifests(more):
            documents = rendered({"application": APPLICATION} | more, self.HELM)
            for document in documents:
                document["metadata"]["namespace"] = self.namespace
            return yaml.safe_dump_all(d for d in documents if d["kind"] != "Pod")

        for how in ((), ("--server-side", "--force-conflicts", "--field-manager=argocd-controller")):
            self.kubectl("apply", *how, "--filename=-", stdin=manifests({}))
            if not self.secrets()[SECRETS[0]]["data"]:
                self.use()
            before = self.secrets()
            for _ in range(2):
                self.kubectl("apply", *how, "--filename=-", stdin=manifests({"replicas": 2}))
                self.stand(before, f"kubectl apply {' '.join(how)}")
            # Of what it has applied before, nothing is missing now but the objects.
            self.kubectl("delete", "deployment,service,role", "--all")
            self.kubectl("apply", *how, "--filename=-", stdin=manifests({}))
            self.stand(before, f"kubectl apply {' '.join(how)} of what was deleted")

    def use(self):
        """Puts a user, a key and a certificate there, the first two as their owners do."""
        at = ("--namespace", self.namespace, "--secret")
        CLUSTER.vestibule("users", "add", "apiUser", "--group", "Administrator", "--generate", *at, SECRETS[0])
        CLUSTER.vestibule("keys", "rotate", *at, SECRETS[1])
        self.kubectl("patch", "secret", SECRETS[2], "--type=merge", '--patch={"data": {"tls.crt": "eA==", "tls.key": "eQ=="}}')

    def secrets(self):
        found = json.loads(self.kubectl("get", "secret", *SECRETS, "--output=json"))["items"]
        return {
            secret["metadata"]["name"]: {
                "data": secret.get("data"),
                "uid": secret["metadata"]["uid"],
                "resourceVersion": secret["metadata"]["resourceVersion"],
            }
            for secret in found
        }

    def stand(self, before, what):
        for name, secret in self.secrets().items():
            with self.subTest(after=what, secret=name):
                self.assertEqual(secret["data"], before[name]["data"])
                self.assertEqual(secret["uid"], before[name]["uid"])
                self.assertEqual(secret["resourceVersion"], before[name]["resourceVersion"])

    def newer_chart(self):
        """The same chart, of another version, as an archive."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        CLUSTER.helm(HELMS[self.HELM], "package", CHART, "--version=99.0.0", "--app-version=99.0.0", f"--destination={folder}")
        return next(Path(folder).glob("*.tgz"))

    def helm(self, *arguments, values=None):
        given = [] if values is None else ["--values=-"]
        stdin = None if values is None else json.dumps(values)
        return CLUSTER.helm(HELMS[self.HELM], *arguments, *given, f"--namespace={self.namespace}", stdin=stdin)

    def kubectl(self, *arguments, stdin=None):
        return CLUSTER.kubectl(f"--namespace={self.namespace}", *arguments, stdin=stdin)


class Helm3(Releases, unittest.TestCase):
    HELM = "Helm 3"


class Helm4(Releases, unittest.TestCase):
    HELM = "Helm 4"


if __name__ == "__main__":
    unittest.main()
