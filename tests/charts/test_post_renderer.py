"""`vestibule inject` as a post-renderer of both versions of Helm, for the chart that `helm create` makes."""

import json
import os
import re
import tempfile
import unittest
from pathlib import Path

import yaml

from cluster import ROOT, VESTIBULE, Cluster, run
from rendered import HELMS, one

CLUSTER = None
IMAGE = "registry.example.org/vestibule:1.2.3"
PLUGIN = ROOT / "deploy/helm-plugin"
ASKS = {"podAnnotations": {"vestibule.dev/inject": "true"}}
MISSPELT = {"podAnnotations": {"vestibule.dev/inject": "true", "vestibule.dev/prot": "h2c"}}


def setUpModule():
    global CLUSTER
    CLUSTER = unittest.enterModuleContext(Cluster(os.environ["VESTIBULE_CONTROL_PLANE"]))


class PostRenderer:
    HELM = POST_RENDERER = OWN_WORDS = None

    def setUp(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.home = Path(home.name)
        # As its users have it: `vestibule` is found on the PATH.
        self.assertEqual(VESTIBULE.name, "vestibule")
        self.environment = {
            "HOME": home.name,
            "KUBECONFIG": str(CLUSTER.kubeconfig),
            "PATH": f"{VESTIBULE.resolve().parent}:{os.environ['PATH']}",
        }
        self.namespace = self.id().rsplit(".", 2)[1].lower() + "-" + re.sub("[^a-z]+", "-", self._testMethodName.lower())[:40].strip("-")
        CLUSTER.kubectl("create", "namespace", self.namespace)
        self.chart = self.home / "shop"
        self.helm("create", self.chart)
        self.prepare()

    def prepare(self):
        pass

    def test_only_the_pod_that_asks_is_changed(self):
        plain, made = self.rendered(ASKS), self.rendered(ASKS, *self.POST_RENDERER)
        piped = run([VESTIBULE, "inject", f"--image={IMAGE}"], stdin=yaml.safe_dump_all(plain))
        self.assertEqual(by_name(made), by_name(d for d in yaml.safe_load_all(piped) if d))
        for name, document in by_name(plain).items():
            if name[0] != "Deployment":
                self.assertEqual(by_name(made)[name], document)
        template = one(made, "Deployment")["spec"]["template"]["spec"]
        self.injected(template)
        for probe in ("livenessProbe", "readinessProbe"):
            self.assertEqual(template["containers"][0][probe]["httpGet"]["port"], 80)
        self.assertEqual(one(made, "Service")["spec"]["ports"][0]["targetPort"], "http")
        # Pods that do not ask stay as they are.
        self.assertEqual(by_name(self.rendered({}, *self.POST_RENDERER)), by_name(self.rendered({})))

    def test_a_release_has_the_sidecar_for_as_long_as_helm_is_told_to(self):
        self.helm("install", "shop", self.chart, *self.POST_RENDERER, values=ASKS)
        self.injected(self.deployed())
        self.helm("upgrade", "shop", self.chart, *self.POST_RENDERER, values=ASKS | {"replicaCount": 2})
        self.injected(self.deployed())
        # Helm does not keep which post-renderer a release had.
        self.helm("upgrade", "shop", self.chart, values=ASKS | {"replicaCount": 3})
        self.assertNotIn("initContainers", self.deployed())
        self.helm("rollback", "shop", "2")
        self.injected(self.deployed())

    def test_a_refusal_stops_the_release_and_is_shown(self):
        said = self.helm("install", "shop", self.chart, *self.POST_RENDERER, values=MISSPELT, fails=True)
        self.assertIn("Deployment shop is refused: annotation vestibule.dev/prot is not known", said)
        self.assertEqual(CLUSTER.kubectl("get", "deployments,services", f"--namespace={self.namespace}", "--output=name"), "")

    def test_the_lines_of_the_documents_work(self):
        blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/injection.md").read_text(), re.MULTILINE | re.DOTALL)
        (lines,) = [block for block in blocks if self.OWN_WORDS in block]
        (self.home / "helm").symlink_to(HELMS[self.HELM])
        (self.home / "deploy").symlink_to(ROOT / "deploy")
        lines = f"cd '{self.home}'\n" + lines.replace("--namespace shop", f"--namespace {self.namespace}")
        self.environment["PATH"] = f"{self.home}:{self.environment['PATH']}"
        run(["sh", "-euc", lines], environment=self.environment)
        self.injected(self.deployed(), "registry.example.org/vestibule:0.1.0")

    def injected(self, pod, image=IMAGE):
        sidecar = pod["initContainers"][0]
        self.assertEqual((sidecar["name"], sidecar["image"], sidecar["restartPolicy"]), ("vestibule", image, "Always"))
        self.assertIn("--upstream=http://127.0.0.1:80", sidecar["args"])
        self.assertEqual(sidecar["ports"][0]["name"], "http")
        self.assertNotIn("name", pod["containers"][0]["ports"][0])
        self.assertFalse(pod["automountServiceAccountToken"])

    def deployed(self):
        found = CLUSTER.kubectl("get", "deployment", "shop", f"--namespace={self.namespace}", "--output=json")
        return json.loads(found)["spec"]["template"]["spec"]

    def rendered(self, values, *flags):
        text = self.helm("template", "shop", self.chart, *flags, values=values)
        return [document for document in yaml.safe_load_all(text) if document]

    def helm(self, *arguments, values=None, fails=False):
        command = [HELMS[self.HELM], *arguments]
        if values is not None:
            command += [f"--namespace={self.namespace}", "--values=-"]
        elif arguments[0] == "rollback":
            command += [f"--namespace={self.namespace}"]
        return run(command, None if values is None else json.dumps(values), fails, self.environment)


class Helm3(PostRenderer, unittest.TestCase):
    HELM, OWN_WORDS = "Helm 3", "--post-renderer-args=inject"
    POST_RENDERER = ("--post-renderer=vestibule", "--post-renderer-args=inject", f"--post-renderer-args=--image={IMAGE}")


class Helm4(PostRenderer, unittest.TestCase):
    HELM, OWN_WORDS = "Helm 4", "helm plugin install"
    POST_RENDERER = ("--post-renderer=vestibule", f"--post-renderer-args=--image={IMAGE}")

    def prepare(self):
        self.helm("plugin", "install", PLUGIN)

    def test_the_plugin_is_of_the_program_s_version(self):
        version = yaml.safe_load((PLUGIN / "plugin.yaml").read_text())["version"]
        self.assertEqual(run([VESTIBULE, "--version"]).split()[1], version)
        self.assertRegex(self.helm("plugin", "list"), rf"vestibule\s+{re.escape(version)}\s+postrenderer/v1")

    def test_the_lines_of_the_documents_work(self):
        # They install it themselves.
        self.helm("plugin", "uninstall", "vestibule")
        super().test_the_lines_of_the_documents_work()

    def test_what_is_said_is_lost_nowhere(self):
        # A template that is somebody else's, with a comment: one warning, on Helm's own standard error.
        rollout = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "others"},
            "spec": {"template": {"metadata": {"annotations": {"vestibule.dev/inject": "true"}}, "spec": {"containers": [{"name": "a"}]}}},
        }
        (self.chart / "templates/rollout.yaml").write_text(yaml.safe_dump(rollout))
        command = ["sh", "-c", '"$@" 2>&1 >/dev/null', "sh", HELMS[self.HELM], "template", "shop", self.chart, *self.POST_RENDERER]
        said = run(command, environment=self.environment)
        self.assertIn("warning: Rollout others is passed over", said)


def by_name(documents):
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


if __name__ == "__main__":
    unittest.main()
