"""What the chart refuses, and that what it says of its values is current."""

import json
import re
import subprocess
import unittest

import yaml

from cluster import VESTIBULE
from rendered import APPLICATION, CHART, GIVEN, HELMS, MATRIX, ROOT, configuration, refused, rendered

# Values, and what the refusal must name.
UNKNOWN = [
    ({"imagee": {}}, "imagee"),
    ({"image": {"tagg": "1"}}, "tagg"),
    ({"config": {"lisen": "0.0.0.0:1"}}, "lisen"),
    ({"config": {"store": {"kubernetes": {}}}}, "store"),
    ({"config": {"tls": {"certificate": "/x"}}}, "certificate"),
    ({"config": {"limits": {"conections": 1}}}, "conections"),
    ({"config": {"access": {"rules": [{"path": "/", "allows": "anyone"}]}}}, "allows"),
    ({"application": {"image": {"name": "x"}}}, "name"),
    ({"application": {"extraPorts": [{"containerPort": 9090, "hostPort": 90}]}}, "hostPort"),
    ({"sidecar": {"resources": {"limit": {}}}}, "limit"),
    ({"sidecar": {"livenessProbe": {"periodSecond": 1}}}, "periodSecond"),
    ({"tls": {"certManager": {"issuer": "x"}}}, "issuer"),
    ({"tolerations": [{"keys": "x"}]}, "keys"),
    ({"imagePullSecrets": [{"secret": "x"}]}, "secret"),
    ({"podMonitor": {"intervall": "1s"}}, "intervall"),
    ({"users": {"data": {"users.yaml": "x"}}}, "data"),
]
WRONG = [
    ({"replicas": "two"}, "replicas"),
    ({"replicas": -1}, "replicas"),
    ({"store": "redis"}, "store"),
    ({"fallback": "yes"}, "fallback"),
    ({"tls": {"source": "acme"}}, "source"),
    ({"tls": {"hosts": "api.example.org"}}, "hosts"),
    ({"image": {"digest": "sha256:abc"}}, "digest"),
    # 1.10 would be 1.1.
    ({"image": {"tag": 1.10}}, "tag"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"imagePullSecrets": "registry"}, "imagePullSecrets"),
    ({"config": {"listen": 10443}}, "listen"),
    ({"config": {"upstream": "127.0.0.1:8080"}}, "upstream"),
    ({"config": {"workers": 0}}, "workers"),
    ({"config": {"tls": {"minVersion": 1.2}}}, "minVersion"),
    ({"config": {"tokens": {"ttl": 300}}}, "ttl"),
    ({"config": {"tokens": {"ttl": "5 minutes"}}}, "ttl"),
    ({"config": {"tokens": {"algorithm": "RS256"}}}, "algorithm"),
    ({"config": {"throttle": {"factor": "2"}}}, "factor"),
    ({"config": {"access": {"apiGroups": "Administrator"}}}, "apiGroups"),
    ({"config": {"access": {"mode": "off"}}}, "mode"),
    ({"config": {"limits": {"headerBytes": "32KB"}}}, "headerBytes"),
    ({"config": {"log": {"access": "no"}}}, "access"),
    ({"application": {"port": 70000}}, "port"),
    ({"application": {"portName": "vestibule-admin"}}, "portName"),
    ({"application": {"extraPorts": [{"name": "metrics"}]}}, "containerPort"),
    ({"application": {"extraPorts": [{"name": "vestibule-admin", "containerPort": 9090}]}}, "name"),
    ({"application": {"initContainers": [{"name": "vestibule"}]}}, "name"),
    ({"extraVolumes": [{"name": "vestibule-keys", "emptyDir": {}}]}, "extraVolumes"),
    ({"podAnnotations": {"a": 1}}, "podAnnotations"),
    ({"selector": ["app"]}, "selector"),
    ({"service": {"port": "https"}}, "port"),
    ({"networkPolicy": {"from": {"podSelector": {}}}}, "from"),
]
# Values that are right one by one and not together; what the refusal must name, and its mend.
CLASHING = [
    ({"application": {"enabled": True}}, "application.image.repository is empty: name"),
    ({"application": {"enabled": True, "image": {"repository": "x"}}}, "application.image.tag is empty: name"),
    ({"tls": {"source": "secret"}}, "tls.secret is empty: with tls.source: secret, name"),
    ({"tls": {"source": "certManager"}}, "tls.certManager.issuerRef.name is empty: name"),
    ({"store": "mounted"}, "set tls.source to secret or certManager"),
    ({"store": "mounted", "tls": GIVEN, "users": {"extraSecrets": ["a"]}}, "users.extraSecrets is for store: kubernetes"),
    ({"users": {"secret": "a"}, "keys": {"secret": "a"}}, "name the same Secret"),
    ({"users": {"secret": "a", "create": False}, "keys": {"secret": "a", "create": False}}, "name the same Secret"),
    ({"users": {"extraSecrets": ["api-vestibule-keys"]}}, "name the same Secret"),
    ({"serviceAccount": {"create": False}}, "serviceAccount.name is empty"),
    ({"serviceAccount": {"create": False, "name": "default"}}, "serviceAccount.name is default"),
    ({"podMonitor": {"enabled": True}}, "podMonitor.enabled needs"),
    ({"podDisruptionBudget": {"enabled": True}}, "podDisruptionBudget.enabled needs"),
    ({"autoscaling": {"enabled": True}}, "autoscaling.enabled needs application.enabled"),
    ({"ingress": {"enabled": True, "hosts": ["a"]}}, "ingress.enabled needs"),
    ({"ingress": {"enabled": True}, "selector": {"a": "b"}}, "ingress.hosts is empty"),
    ({"application": APPLICATION, "terminationGracePeriodSeconds": 32}, "terminationGracePeriodSeconds is too short"),
    ({"application": APPLICATION, "config": {"shutdown": {"grace": "1m30s"}}}, "take 98 s"),
    ({"application": APPLICATION | {"port": 10443}}, "application.port is also"),
    ({"application": APPLICATION, "config": {"admin": "0.0.0.0:10443"}}, "config.listen and config.admin"),
    ({"application": APPLICATION | {"extraPorts": [{"containerPort": 10444}]}}, "application.extraPorts has 10444"),
    ({"application": APPLICATION | {"extraPorts": [{"name": "http", "containerPort": 9090}]}}, "application.extraPorts calls a port http"),
    (
        {"selector": {"a": "b"}, "podDisruptionBudget": {"enabled": True, "minAvailable": 1, "maxUnavailable": 1}},
        "exclude each other",
    ),
]


class Values(unittest.TestCase):
    def test_unknown_values_are_refused_by_name(self):
        for helm in HELMS:
            for values, name in UNKNOWN:
                with self.subTest(helm=helm, values=values):
                    said = refused(values, helm)
                    self.assertRegex(said, rf"additional properties.*'{name}'|{name}.*not allowed")

    def test_values_of_another_shape_are_refused_by_name(self):
        for helm in HELMS:
            for values, name in WRONG:
                with self.subTest(helm=helm, values=values):
                    said = refused(values, helm)
                    self.assertIn("schema", said)
                    self.assertIn(name, said)

    def test_values_that_do_not_go_together_are_refused_with_the_mend(self):
        for values, said in CLASHING:
            with self.subTest(values=values):
                self.assertIn(said, refused(values))

    def test_a_parent_chart_may_pass_global_values(self):
        rendered({"global": {"imageRegistry": "x"}})

    def test_each_section_of_the_schema_is_closed(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        # What Kubernetes or a parent chart defines.
        open_ones = {"global"}

        def walk(node, path):
            if isinstance(node, dict):
                if "properties" in node and node.get("type") in ("object", ["object", "null"]):
                    closed = node.get("additionalProperties") is False or "items" in path
                    self.assertTrue(closed, path)
                for key, value in node.items():
                    if key not in open_ones:
                        walk(value, [*path, key])

        walk(schema, [])

    def test_the_schema_knows_each_value_and_nothing_else(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())

        def walk(section, properties, path):
            known = set(properties) - {"global"}
            # What is in `config` is the product's: most of it is not in the values.
            if path != ["config"]:
                self.assertEqual(known, set(section), path)
            for key, value in section.items():
                nested = properties[key].get("properties")
                if isinstance(value, dict) and value and nested and path[:1] != ["config"]:
                    walk(value, nested, [*path, key])

        walk(values, schema["properties"], [])

    def test_reference_and_schema_are_current(self):
        done = subprocess.run([ROOT / "deploy/chart-reference", "--check"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_setting_that_is_taken_over_restarts_nothing(self):
        def checksum(config):
            documents = rendered({"application": APPLICATION, "config": config})
            deployment = [d for d in documents if d["kind"] == "Deployment"][0]
            return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"], configuration(documents)

        settings = re.findall(
            r"^\| `([a-zA-Z.]+)` \| `--.*?` \| `VESTIBULE_.*?` \| .+? \| `(.+?)` \| (yes)? \|",
            (ROOT / "docs/configuration.md").read_text(),
            re.MULTILINE,
        )
        self.assertGreater(len(settings), 50)
        before, text = checksum({})
        for key, default, reloads in settings:
            if re.match(r"store\.|tls\.(certificate|key|managed)|listen|admin|upstream$|shutdown", key):
                continue
            value = yaml.safe_load(default)
            for name in reversed(key.split(".")):
                value = {name: value}
            with self.subTest(setting=key):
                after, changed = checksum(value)
                self.assertNotEqual(text, changed)
                self.assertEqual(after == before, reloads == "yes")

    def test_the_product_takes_each_configuration(self):
        for name, values in MATRIX.items():
            with self.subTest(values=name):
                self.accept(configuration(rendered(values)))

    def test_the_product_refuses_what_the_chart_cannot_judge(self):
        # That the test above would see it: 64 is a configuration that does not load.
        text = configuration(rendered({"config": {"tokens": {"ttl": "1h", "maxTtl": "1m"}}}))
        with self.assertRaises(AssertionError):
            self.accept(text)

    def accept(self, text):
        command = [VESTIBULE, "check", "--config", "/dev/stdin"]
        # Without a kubeconfig only the configuration itself counts here, and nothing of what it names is there.
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=60, env={"HOME": "/nonexistent"}
        )
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertIn("configuration: it loads", done.stdout)


if __name__ == "__main__":
    unittest.main()
