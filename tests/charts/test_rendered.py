"""What the chart renders, without a cluster."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from string import Template

import kubernetes_validate
import yaml

from cluster import run
from rendered import (
    APPLICATION, CHART, GIVEN, HELMS, KUBERNETES, MATRIX, NAMESPACE, ROOT, configuration, lint, one, pods, rendered,
)  # fmt: skip

FOREIGN = ("cert-manager.io/", "monitoring.coreos.com/")
WITH_PODS = [name for name, values in MATRIX.items() if "application" in values]


class Rendered(unittest.TestCase):
    def test_lint_finds_nothing(self):
        for helm, program in HELMS.items():
            for name, values in MATRIX.items():
                with self.subTest(helm=helm, values=name):
                    lint(program, CHART, values)

    def test_both_versions_of_helm_render_the_same(self):
        for name, values in MATRIX.items():
            with self.subTest(values=name):
                self.assertEqual(rendered(values, "Helm 3"), rendered(values, "Helm 4"))

    def test_each_object_fits_each_version_of_kubernetes(self):
        seen = set()
        for version in KUBERNETES:
            for name, values in MATRIX.items():
                for document in rendered(values, kubernetes=version):
                    written = version + json.dumps(document, sort_keys=True)
                    if written in seen or document["apiVersion"].startswith(FOREIGN):
                        continue
                    seen.add(written)
                    with self.subTest(values=name, version=version, object=(document["kind"], document["metadata"]["name"])):
                        kubernetes_validate.validate(document, version, strict=True)

    def test_secrets_have_no_data_and_are_kept(self):
        for name, values in MATRIX.items():
            secrets = [document for document in rendered(values) if document["kind"] == "Secret"]
            wanted = 0 if name == "names" else 2
            managed = values.get("tls", {}).get("source", "managed") == "managed"
            with self.subTest(values=name):
                self.assertEqual(len(secrets), wanted + managed)
                for secret in secrets:
                    self.assertEqual(set(secret), {"apiVersion", "kind", "metadata", "type"})
                    annotations = secret["metadata"]["annotations"]
                    self.assertEqual(annotations["helm.sh/resource-policy"], "keep")
                    self.assertEqual(annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false")
                    # A label that changes with the version would be a write with each upgrade.
                    self.assertNotIn("helm.sh/chart", secret["metadata"]["labels"])

    def test_the_rights_are_those_that_are_documented(self):
        names = {"NAMESPACE": NAMESPACE, "NAME": "api-vestibule", "USERS": "api-vestibule-users", "KEYS": "api-vestibule-keys"}
        text = (ROOT / "deploy/rbac.yaml").read_text()
        documented = list(yaml.safe_load_all(Template(text).substitute(names)))
        documents = rendered({"application": APPLICATION, "tls": GIVEN})
        self.assertEqual(one(documents, "Role")["rules"], one(documented, "Role")["rules"])
        for field in ("roleRef", "subjects"):
            self.assertEqual(one(documents, "RoleBinding")[field], one(documented, "RoleBinding")[field])
        self.assertEqual(one(documents, "ServiceAccount")["metadata"]["name"], names["NAME"])

    def test_a_managed_certificate_adds_its_own_secret_and_nothing_else(self):
        read, patch = one(rendered({"application": APPLICATION}), "Role")["rules"]
        secrets = ["api-vestibule-users", "api-vestibule-keys", "api-vestibule-tls"]
        self.assertEqual((read["resourceNames"], read["verbs"]), (secrets, ["get", "list", "watch"]))
        self.assertEqual((patch["resourceNames"], patch["verbs"]), (secrets[1:], ["patch"]))

    def test_a_mounted_store_takes_all_rights_from_the_sidecar(self):
        documents = rendered(MATRIX["mounted"])
        deployment = one(documents, "Deployment")["spec"]["template"]["spec"]
        bound = [subject["name"] for d in documents if d["kind"] == "RoleBinding" for subject in d["subjects"]]
        self.assertEqual(bound, ["api-vestibule-rotation"])
        self.assertNotEqual(deployment["serviceAccountName"], "api-vestibule-rotation")
        self.assertFalse(deployment["automountServiceAccountToken"])
        self.assertFalse([volume for volume in deployment["volumes"] if "projected" in volume])
        self.assertEqual(
            one(documents, "Role")["rules"],
            [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["api-vestibule-keys"], "verbs": ["get", "patch"]}],
        )
        rotation = one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        self.assertEqual(rotation["serviceAccountName"], "api-vestibule-rotation")
        self.assertIn("directory", yaml.safe_load(configuration(documents))["store"])
        # Only as a fallback may they be missing: an empty table of users would be obeyed.
        for volume in deployment["volumes"]:
            self.assertFalse(volume.get("secret", {}).get("optional"))

    def test_only_the_sidecar_has_the_token_and_the_secrets(self):
        for name in WITH_PODS:
            pod = next(pod for pod in pods(rendered(MATRIX[name])) if pod["metadata"]["name"].startswith("deployment"))
            spec = pod["spec"]
            sidecar, *others = spec["initContainers"]
            own = {volume["name"] for volume in spec["volumes"] if volume["name"].startswith("vestibule-")}
            with self.subTest(values=name):
                self.assertEqual((sidecar["name"], sidecar["restartPolicy"]), ("vestibule", "Always"))
                self.assertFalse(spec["automountServiceAccountToken"])
                self.assertLessEqual(own, {mount["name"] for mount in sidecar["volumeMounts"]})
                for container in [*spec["containers"], *others]:
                    self.assertFalse(own & {mount["name"] for mount in container.get("volumeMounts", [])})

    def test_the_service_and_the_network_policy_lead_to_the_sidecar_alone(self):
        for values, listen, admin in ((MATRIX["application"], 10443, 10444), (MATRIX["settings"], 8443, 8444)):
            documents = rendered(values)
            labels = one(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
            service, policy = one(documents, "Service")["spec"], one(documents, "NetworkPolicy")["spec"]
            self.assertEqual([port["targetPort"] for port in service["ports"]], [listen])
            self.assertEqual([rule["ports"] for rule in policy["ingress"]], [[{"port": p, "protocol": "TCP"}] for p in (listen, admin)])
            for selector in (service["selector"], policy["podSelector"]["matchLabels"]):
                self.assertLessEqual(selector.items(), labels.items())
            for pod in pods(documents):
                if not pod["metadata"]["name"].startswith("deployment"):
                    self.assertFalse(service["selector"].items() <= pod["metadata"]["labels"].items())

    def test_the_application_goes_on_while_endpoints_spread(self):
        def lifecycle(kubernetes, **values):
            documents = rendered({"application": APPLICATION | values}, kubernetes=kubernetes)
            return one(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0].get("lifecycle")

        self.assertEqual(lifecycle("1.36"), {"preStop": {"sleep": {"seconds": 5}}})
        self.assertIsNone(lifecycle("1.29"))
        self.assertIsNone(lifecycle("1.36", preStopSeconds=0))
        own = {"preStop": {"exec": {"command": ["/drain"]}}}
        self.assertEqual(lifecycle("1.36", lifecycle=own), own)
        hook = {"postStart": {"exec": {"command": ["/warm"]}}}
        beside = [{"name": "a"}, {"name": "b", "lifecycle": hook}, {"name": "c", "lifecycle": own}]
        documents = rendered({"application": APPLICATION | {"extraContainers": beside}})
        _, *containers = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
        sleep = {"preStop": {"sleep": {"seconds": 5}}}
        self.assertEqual([container["lifecycle"] for container in containers], [sleep, hook | sleep, own])
        self.assertEqual(yaml.safe_load(configuration(rendered({})))["shutdown"]["delay"], "0s")

    def test_annotations_that_are_given_stand_beside_the_chart_s_own_and_none_twice(self):
        def annotations(**given):
            documents = rendered({"application": APPLICATION, "podAnnotations": given})
            return one(documents, "Deployment")["spec"]["template"]["metadata"]["annotations"]

        checksum, container = "checksum/config", "kubectl.kubernetes.io/default-container"
        own = annotations()
        self.assertEqual(set(own), {checksum, container})
        self.assertEqual(annotations(note="x"), own | {"note": "x"})
        self.assertEqual(annotations(**{container: "helper"}), own | {container: "helper"})
        # Either one's change replaces the pods.
        made = {annotations(**{checksum: text})[checksum] for text in ("a", "b")}
        self.assertEqual(len(made | {own[checksum], "a", "b"}), 5)
        # Once in the text, too: readers of YAML disagree about a key that is there twice.
        values = {"application": APPLICATION, "podAnnotations": {checksum: "a", container: "helper"}}
        command = [HELMS["Helm 4"], "template", "api", CHART, "--kube-version", "1.36", "--values", "-"]
        text = run(command, stdin=json.dumps(values))
        for name in (checksum, container):
            self.assertEqual(text.count(f"{name}:"), 1)

    def test_pods_are_spread_by_the_selector_that_is_given(self):
        constraint = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
        given = [{"matchLabels": {"app": "x"}}, {"matchExpressions": [{"key": "app", "operator": "Exists"}]}]
        constraints = [constraint, *(constraint | {"labelSelector": selector} for selector in given)]
        documents = rendered({"application": APPLICATION, "topologySpreadConstraints": constraints})
        deployment = one(documents, "Deployment")["spec"]
        made = [each["labelSelector"] for each in deployment["template"]["spec"]["topologySpreadConstraints"]]
        self.assertEqual(made, [deployment["selector"], *given])

    def test_the_alerts_and_the_dashboard_are_the_files(self):
        with tempfile.TemporaryDirectory() as folder:
            chart = Path(folder) / "vestibule"
            shutil.copytree(CHART, chart)
            files = chart / "files"
            files.mkdir(exist_ok=True)
            alerts, dashboard = files / "alerts.yaml", files / "dashboard.json"
            rules = {"groups": [{"name": "x", "rules": [{"alert": "X", "expr": "up", "annotations": {"a": "{{ $labels.b }}"}}]}]}
            alerts.write_text(yaml.safe_dump(rules))
            dashboard.write_text(json.dumps({"title": "Vestibule", "legend": "{{pod}}"}))
            values = {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}
            for helm, program in HELMS.items():
                command = [program, "template", "api", chart, "--kube-version", "1.36", "--values", "-"]
                documents = [d for d in yaml.safe_load_all(run(command, stdin=json.dumps(values))) if d]
                self.assertEqual(one(documents, "PrometheusRule")["spec"], rules)
                text = one(documents, "ConfigMap", "api-vestibule-dashboard")["data"]["api-vestibule.json"]
                self.assertEqual(json.loads(text)["legend"], "{{pod}}")
                for file, said in ((alerts, "prometheusRule.enabled"), (dashboard, "dashboard.enabled")):
                    kept = file.read_text()
                    file.unlink()
                    self.assertIn(said, run(command, stdin=json.dumps(values), fails=True))
                    file.write_text(kept)

    def test_the_plain_manifests_are_current(self):
        for helm, program in HELMS.items():
            environment = os.environ | {"HELM": program}
            command = [ROOT / "deploy/render", "--check"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
            self.assertEqual(done.returncode, 0, helm + done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
