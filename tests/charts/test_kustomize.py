"""The kustomize component makes the pod that the chart makes."""

import os
import re
import shutil
import tempfile
import unittest
from pathlib import Path

import yaml

from cluster import run
from rendered import MATRIX, ROOT, one, rendered

KUBECTL = f"{os.environ['VESTIBULE_CONTROL_PLANE']}/kubectl"


class Component(unittest.TestCase):
    def test_the_sidecar_is_the_chart_s(self):
        ours = spec(list(yaml.safe_load_all(run([KUBECTL, "kustomize", ROOT / "deploy/kustomize/example"]))))
        charts = spec(rendered(MATRIX["application"] | {"fullnameOverride": "vestibule"}))
        sidecar, *others = ours["initContainers"]
        theirs = charts["initContainers"][0]
        self.assertEqual(sidecar | {"image": ""}, theirs | {"image": ""})
        self.assertEqual([container["name"] for container in others], ["migrate"])
        self.assertEqual(ours["volumes"], charts["volumes"])
        for field in ("automountServiceAccountToken", "serviceAccountName", "terminationGracePeriodSeconds"):
            self.assertEqual(ours[field], charts[field])

    def test_the_name_of_the_port_goes_to_the_sidecar(self):
        documents = list(yaml.safe_load_all(run([KUBECTL, "kustomize", ROOT / "deploy/kustomize/example"])))
        pod = spec(documents)
        named = [
            (container["name"], port["containerPort"])
            for container in [*pod["containers"], *pod["initContainers"]]
            for port in container.get("ports", [])
            if port.get("name") == one(documents, "Service")["spec"]["ports"][0]["targetPort"]
        ]
        self.assertEqual(named, [("vestibule", 10443)])

    def test_another_pod_than_it_is_for_ends_the_build(self):
        for change, said in ((("name: http", "name: web"), "test"), (('inject: "true"', 'inject: "no"'), None)):
            with tempfile.TemporaryDirectory() as folder:
                shutil.copytree(ROOT / "deploy/kustomize", folder, dirs_exist_ok=True)
                file = Path(folder) / "example/application.yaml"
                file.write_text(file.read_text().replace(*change, 1))
                built = run([KUBECTL, "kustomize", f"{folder}/example"], fails=said is not None)
                if said:
                    self.assertRegex(built, re.compile("test", re.IGNORECASE))
                else:
                    self.assertNotIn("vestibule-admin", built)


def spec(documents):
    return one(documents, "Deployment")["spec"]["template"]["spec"]


if __name__ == "__main__":
    unittest.main()
