"""checkov's rules for manifests, on what both charts render and what is in deploy/."""

import copy
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from rendered import MATRIX, rendered
from test_manifests import INJECTOR, deployed, injector

HERE = Path(__file__).parent


class Policies(unittest.TestCase):
    maxDiff = None

    def test_checkov_finds_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("all of a pod", "mounted", "around it"):
                values = MATRIX[name]
                # What the application's own container is like is up to its owner: here, as it should be.
                application = values["application"] | OWN
                documents = rendered(values | {"application": application})
                (Path(folder) / f"{name.replace(' ', '-')}.yaml").write_text(yaml.safe_dump_all(documents))
            for name, documents in deployed().items():
                documents = copy.deepcopy(documents)
                for document in documents:
                    if document["kind"] == "Deployment":
                        complete(document["spec"]["template"]["spec"])
                (Path(folder) / f"{name.replace('/', '-')}.yaml").write_text(yaml.safe_dump_all(documents))
            for name, values in INJECTOR.items():
                (Path(folder) / f"injector-{name.replace(' ', '-')}.yaml").write_text(yaml.safe_dump_all(injector(values)))
            found = self.checkov(folder)
            self.assertEqual(found["failed"], [])
            self.assertGreater(found["passed"], 100)

    def test_checkov_would_find_something(self):
        with tempfile.TemporaryDirectory() as folder:
            documents = rendered(MATRIX["application"] | {"sidecar": {"securityContext": {"privileged": True}}})
            (Path(folder) / "bad.yaml").write_text(yaml.safe_dump_all(documents))
            self.assertTrue(self.checkov(folder)["failed"])

    def checkov(self, folder):
        command = [os.environ["CHECKOV"], "--config-file", HERE / "checkov.yaml", "--directory", folder, "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        report = json.loads(done.stdout)
        failed = report.get("results", {}).get("failed_checks", [])
        failed = [one for one in failed if not (one["check_id"] in OF_SERVERS and "-test-" in one["resource"])]
        return {
            "passed": report["summary"]["passed"] if "summary" in report else 0,
            "failed": [f"{one['check_id']} {one['check_name']}: {one['resource']}" for one in failed],
        }


# Probes and a NetworkPolicy: a test's pod listens on nothing and ends by itself.
OF_SERVERS = {"CKV_K8S_8", "CKV_K8S_9", "CKV2_K8S_6"}
PROBE = {"httpGet": {"path": "/healthz", "port": 8080}}
OWN = {
    "readinessProbe": PROBE,
    "livenessProbe": PROBE,
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
    "securityContext": {"readOnlyRootFilesystem": True, "runAsUser": 65532},
    "initContainers": [],
    "extraContainers": [],
}


def complete(pod):
    """Gives all containers but the sidecar what is up to their owner."""
    for container in [*pod["containers"], *pod["initContainers"][1:]]:
        container["securityContext"] = container.get("securityContext", {}) | OWN["securityContext"]
        container["resources"] = OWN["resources"]
    for container in pod["containers"]:
        container |= {"readinessProbe": PROBE, "livenessProbe": PROBE}


if __name__ == "__main__":
    unittest.main()
