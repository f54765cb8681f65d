"""The Grafana dashboard: its queries, and what is wrong with it by Grafana's own types and by rules of ours."""

import json
import re

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard as Model

from sidecar import ROOT

FILE = ROOT / "charts/vestibule/files/dashboard.json"
WIDTH = 24
VARIABLES = {"datasource", "namespace", "job", "pod"}
CHOSEN = 'namespace=~"$namespace", job=~"$job", pod=~"$pod"'


class Dashboard:
    def __init__(self):
        self.document = json.loads(FILE.read_text())
        self.panels = [panel for panel in self.document["panels"] if panel["type"] != "row"]

    def queries(self):
        """(where, expression) of every panel's target, and of annotations and variables."""
        for panel in self.panels:
            for target in panel["targets"]:
                yield f"panel {panel['title']!r}", target["expr"]
        for annotation in self.document["annotations"]["list"]:
            yield f"annotation {annotation['name']!r}", annotation["expr"]

    def variables(self):
        """name -> (metric with its selector, label) of the variables that are label values."""
        for variable in self.document["templating"]["list"]:
            if variable["type"] == "query":
                selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
                yield variable["name"], selector, label

    def faults(self):
        """One line for each fault."""
        yield from self._unknown()
        yield from self._variables()
        yield from self._overlaps()
        ids = [panel["id"] for panel in self.document["panels"]]
        titles = [panel["title"] for panel in self.document["panels"]]
        yield from (f"panel id {one} comes twice" for one in set(ids) if ids.count(one) > 1)
        yield from (f"the title {one!r} comes twice" for one in set(titles) if titles.count(one) > 1)
        known = {unit for name, unit in vars(units).items() if isinstance(unit, str) and not name.startswith("_")}
        for panel in self.panels:
            faults = []
            defaults = panel["fieldConfig"]["defaults"]
            if not panel.get("title") or len(panel.get("description", "")) < 10:
                faults.append("needs a title and a description")
            if defaults.get("unit") not in known:
                faults.append(f"unit {defaults.get('unit')!r} is not one of Grafana's")
            if panel["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
                faults.append("does not use the chosen data source")
            if panel["type"] == "timeseries" and any(not target["legendFormat"] for target in panel["targets"]):
                faults.append("a series without a legend")
            refs = [target["refId"] for target in panel["targets"]]
            if not refs or len(set(refs)) < len(refs):
                faults.append("no target, or two of one refId")
            yield from (f"panel {panel['title']!r}: {fault}" for fault in faults)
        for where, expression in self.queries():
            selectors = re.findall(r"\b(?:vestibule|process)_\w+(\{[^}]*\})?", expression)
            if not selectors or any(not selector.startswith("{" + CHOSEN) for selector in selectors):
                yield f"{where}: a metric without the chosen {CHOSEN}: {expression}"
            if any(span != "$__rate_interval" for span in re.findall(r"\[([^\]]*)\]", expression)):
                yield f"{where}: a span that is not $__rate_interval: {expression}"
            if re.search(r"_total\{", expression) and not re.search(r"\b(rate|increase)\(", expression):
                yield f"{where}: a counter without rate or increase: {expression}"

    def _unknown(self):
        """What Grafana's own types do not know is lost when they read the dashboard and write it again."""
        register_default_plugins()
        again = json.loads(JSONEncoder().encode(Model.from_json(self.document)))
        for where, ours, theirs in lost(self.document, again):
            yield f"{where}: {ours!r} is {theirs!r} by Grafana's types"

    def _variables(self):
        found = {variable["name"]: variable for variable in self.document["templating"]["list"]}
        if set(found) != VARIABLES:
            yield f"variables are {sorted(found)}"
        for name, variable in found.items():
            chooses = all(variable.get(one) for one in ("multi", "includeAll", "allValue"))
            if variable["type"] == "query" and not chooses:
                yield f"variable {name}: needs All, and several"
        used = set(re.findall(r"\$\{?(\w+)", json.dumps([self.document["panels"], self.document["annotations"]])))
        yield from (f"variable {name} is not there" for name in used - VARIABLES - {"__rate_interval"})

    def _overlaps(self):
        taken = {}
        for panel in self.document["panels"]:
            at = panel["gridPos"]
            for x in range(at["x"], at["x"] + at["w"]):
                for y in range(at["y"], at["y"] + at["h"]):
                    if x >= WIDTH or taken.setdefault((x, y), panel["id"]) != panel["id"]:
                        yield f"panel {panel['title']!r} lies over another, or beyond the edge"
                        return


def filled_in(expression, span):
    """The expression with everything chosen, rates over so many seconds."""
    expression = expression.replace("$__rate_interval", f"{span}s").replace("$job", ".+")
    return expression.replace("$namespace", ".*").replace("$pod", ".*")


def lost(ours, theirs, where="dashboard"):
    """(where, ours, theirs) of each value that is not the same, or not there."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from lost(value, theirs.get(key), f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, pair in enumerate(zip(ours, theirs)):
            yield from lost(*pair, f"{where}[{number}]")
    elif ours != theirs:
        yield where, ours, theirs
