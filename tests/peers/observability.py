"""Alerts, runbooks and the dashboard: by themselves, against `/metrics`, and in a Prometheus that scrapes sidecars."""

import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from dashboard import Dashboard, filled_in
from monitored import JOB, NAMESPACE, Monitored
from sidecar import ROOT, SKIPPED, check, write

PROMETHEUS = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
ALERTS = ROOT / "charts/vestibule/files/alerts.yaml"
ALERT_TESTS = ROOT / "tests/peers/alerts_test.yaml"
RUNBOOKS = "docs/runbooks.md"
PAGES = ("docs/metrics.md", RUNBOOKS, "docs/troubleshooting.md")
TARGET_LABELS = {"namespace", "job", "pod", "container", "instance"}
"""Those that Prometheus adds."""
LOADED_SECONDS = 30
NOTICED_SECONDS = 20


def main():
    if not (PROMETHEUS and PROMTOOL):
        print("skipped: needs prometheus and promtool, which Debian's package prometheus holds")
        sys.exit(SKIPPED)
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    rules_are_good(rules)
    runbooks_fit(rules)
    dashboard = Dashboard()
    faults, panels = list(dashboard.faults()), len(dashboard.panels)
    check(not faults, f"the dashboard's {panels} panels keep the rules, and Grafana's types know all of it", faults)

    with tempfile.TemporaryDirectory(prefix="vestibule-rules-") as directory:
        rendering = Path(directory) / "rendering.yaml"
        rendering.write_text(yaml.safe_dump(always(rules)))
        # Keys that are rotated while the test runs; a request queue that overflows.
        settings = {"keys": {"rotateEvery": "15s", "propagation": "2s"}, "tokens": {"ttl": "10s", "maxTtl": "10m"}}
        with Monitored(PROMETHEUS, [ALERTS, rendering], settings) as fleet:
            names_are_right(fleet, rules, dashboard)
            time.sleep(LOADED_SECONDS)
            queries_have_data(fleet, dashboard)
            alerts_are_evaluated(fleet, rules)
            trouble_is_noticed(fleet)


def rules_are_good(rules):
    for arguments in (["check", "rules", ALERTS], ["test", "rules", ALERT_TESTS]):
        done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=120)
        check(done.returncode == 0, f"promtool {' '.join(arguments[:2])}", done.stdout + done.stderr)
    for rule in rules:
        told = rule["annotations"]
        good = rule["labels"]["severity"] in ("critical", "warning", "info") and "for" in rule and told["summary"]
        check(good and "First " in told["description"], f"{rule['alert']} says what to do first", rule, quiet=True)
    # What is never seen to fire in a test, or never seen to be silent, is no alert that was tested.
    tests = yaml.safe_load(ALERT_TESTS.read_text())["tests"]
    cases = [case for test in tests for case in test["promql_expr_test"]]
    fired, silent = set(), set()
    for case in cases:
        for sample in case["exp_samples"]:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
            fired.add((labels["alertname"], labels["severity"]))
        if not case["exp_samples"]:
            silent.update(re.findall(r'alertname="(\w+)"', case["expr"]))
    ours = {(rule["alert"], rule["labels"]["severity"]) for rule in rules}
    check(fired == ours, f"each of {len(ours)} alerts fires in a test", ours ^ fired)
    names = {name for name, _ in ours}
    check(silent == names, "and is silent in another", names ^ silent)


def runbooks_fit(rules):
    names = {rule["alert"] for rule in rules}
    headings = re.findall(r"^## (Vestibule\w+)$", (ROOT / RUNBOOKS).read_text(), re.MULTILINE)
    good = sorted(headings) == sorted(names)
    check(good, "each alert has a runbook, and each runbook an alert", (names ^ set(headings), headings))
    for rule in rules:
        link = rule["annotations"]["runbook_url"]
        check(link == f"{RUNBOOKS}#{rule['alert'].lower()}", f"{rule['alert']} leads to its runbook", link, True)


def names_are_right(fleet, rules, dashboard):
    """Every metric that anything names is one of `serve`'s, and so is every value of a label."""
    _, text = fleet.sidecars[0].admin("/metrics")
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text.decode(), re.MULTILINE))
    values = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text.decode(), re.MULTILINE):
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels or ""):
            values.setdefault(family(name, kinds), {}).setdefault(label, set()).add(value)
    named = {f"alert {rule['alert']}": rule["expr"] + " ".join(rule["annotations"].values()) for rule in rules}
    for where, expression in dashboard.queries():
        named[where] = named.get(where, "") + " " + expression
    named.update({f"variable {name}": selector for name, selector, _ in dashboard.variables()})
    pages = {page: (ROOT / page).read_text() for page in PAGES}
    for where, told in {**named, **pages}.items():
        for name in set(re.findall(r"\b(?:vestibule|process)_[a-z_]+[a-z]\b", told)):
            check(family(name, kinds) in kinds, f"{where} names {name}, which is a metric", sorted(kinds), True)
    check(True, f"{len(named)} expressions and {len(pages)} pages name metrics that there are")
    for where, told in named.items():
        for name, matchers in re.findall(r"\b((?:vestibule|process)_\w+)\{([^}]*)\}", told):
            known = values.get(family(name, kinds), {})
            for label, operator, pattern in re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', matchers):
                wanted = set() if label in TARGET_LABELS else set(pattern.split("|"))
                check(wanted <= known.get(label, set()), f"{where}: {name} has {label}{operator}{pattern}", known, True)
        for labels in re.findall(r"\b(?:by|without|on) \(([^)]*)\)", told):
            everywhere = set().union(TARGET_LABELS, {"le"}, *values.values())
            check(set(labels.split(", ")) <= everywhere, f"{where}: there are labels {labels}", everywhere, True)
    check(True, "and labels and values that these have")
    rows = "\n".join(re.findall(r"^\| .*$", pages[PAGES[0]], re.MULTILINE))
    table = set(re.findall(r"`((?:vestibule|process)_\w+)`", rows))
    wrong = table ^ set(kinds)
    check(not wrong, f"the tables of {PAGES[0]} hold all {len(kinds)} metrics, and no other", wrong)


def family(name, kinds):
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if kinds.get(base) == "histogram" else name


def queries_have_data(fleet, dashboard):
    check(len(fleet.failures) < 3, "the load is served", fleet.failures)
    for where, expression in dashboard.queries():
        found = fleet.range(filled_in(expression, 10), LOADED_SECONDS, 1)
        points = [float(value) for series in found for _, value in series["values"]]
        good = any(math.isfinite(point) for point in points)
        check(good, f"{where} shows something", (expression, found[:2]), quiet=True)
    check(True, f"each of {len(list(dashboard.queries()))} queries of the dashboard has data")
    for name, selector, label in dashboard.variables():
        found = {series["metric"].get(label) for series in fleet.query(filled_in(selector, 10))}
        expected = {"namespace": {NAMESPACE}, "job": {JOB}, "pod": {"shop-0", "shop-1", "shop-2"}}[name]
        check(found == expected, f"the variable {name} offers {', '.join(sorted(expected))}", found)


def alerts_are_evaluated(fleet, rules):
    loaded = [rule for group in fleet.api("rules")["groups"] for rule in group["rules"]]
    bad = [(rule["name"], rule["health"], rule.get("lastError")) for rule in loaded if rule["health"] != "ok"]
    check(len(loaded) == 2 * len(rules) and not bad, f"Prometheus evaluates all {len(rules)} alerts", bad)
    rendered = {
        name: [alert for alert in alerts if alert["state"] == "firing"] for name, alerts in fleet.alerts().items()
    }
    for rule in rules:
        found = rendered.get(f"Rendering{rule['alert']}", [])
        texts = [text for alert in found for text in alert["annotations"].values()]
        good = texts and not any(re.search(r"\{\{|<error|<no value>|%!", text) for text in texts)
        check(good, f"what {rule['alert']} tells is rendered", texts, quiet=True)
        if "$labels.pod" in rule["annotations"]["description"]:
            check("shop-0" in " ".join(texts), f"{rule['alert']} names the pod", texts, quiet=True)
    check(True, "what they tell is rendered, with the pod's name where there is one")
    pending = set(fleet.alerts()) & {rule["alert"] for rule in rules}
    # The load has a few guesses and a request in a hundred that the application leaves.
    unexpected = pending - {"VestibuleErrorRatioHigh", "VestibuleLoginDenialsSurging"}
    check(not unexpected, "none is about to fire while all is well", [fleet.alerts()[name] for name in unexpected])


def trouble_is_noticed(fleet):
    first, *_, last = fleet.sidecars
    write(first.directory / "users/users.yaml", "users: [")
    refused = eventually(fleet, "VestibuleReloadFailing", 3)
    kinds = {alert["labels"]["what"] for alert in refused}
    check(kinds == {"users"}, "a users' document that is refused is noticed", refused)
    first.users["odd"] = {"passwords": [{"hash": "$apr1$abc$def"}]}
    first.write_users()
    eventually(fleet, "VestibuleReloadFailing", 0)
    unusable = eventually(fleet, "VestibuleUsersUnusable", 3)
    check("user_unusable" in "\n".join(first.log), "a user who cannot log in is noticed, and in the log", unusable)
    fleet.end(last)
    gone = eventually(fleet, "VestibuleNotScraped", 1)
    check(gone[0]["labels"]["pod"] == "shop-2", "a sidecar that has gone is noticed", gone)


def eventually(fleet, name, count):
    """The alerts of this name, pending or firing, once there are so many."""
    deadline = time.monotonic() + NOTICED_SECONDS
    while len(found := fleet.alerts().get(name, [])) != count:
        check(time.monotonic() < deadline, f"{count} alerts {name} are pending", found, quiet=True)
        time.sleep(0.2)
    return found


def always(rules):
    """Rules that always fire, for each pod, and tell what the alerts do."""
    for_each = "0 * vestibule_build_info + 0.5"
    for label, value in (("store", "keys"), ("what", "users")):
        for_each = f'label_replace({for_each}, "{label}", "{value}", "", "")'
    renamed = []
    for rule in rules:
        alert = f"Rendering{rule['alert']}"
        renamed.append({"alert": alert, "expr": for_each, "labels": rule["labels"], "annotations": rule["annotations"]})
    return {"groups": [{"name": "rendering", "rules": renamed}]}


if __name__ == "__main__":
    main()
