"""The counts that are held against: bench/baseline.json, and whether its history gives reasons."""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tools import ROOT, tell

PATH = Path("bench/baseline.json")
# What counts move by themselves; renewing leaves what is within it alone, so that small steps add up.
NOISE = 0.01
REASON = re.compile(r"^Instructions: *\S", re.MULTILINE)


@dataclass
class Baseline:
    surroundings: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def parse(text: str) -> Baseline:
    document = json.loads(text)
    return Baseline(document["surroundings"], document["counts"])


def read() -> Baseline:
    """The baseline as it stands; an empty one where there is none."""
    try:
        return parse((ROOT / PATH).read_text())
    except FileNotFoundError:
        return Baseline()


def differences(known: Baseline, here: dict[str, str]) -> str:
    """What the baseline was made with and is otherwise here; empty where nothing is, or where there is no baseline."""
    if not known.counts:
        return ""
    names = [name for name in here if known.surroundings.get(name) != here[name]]
    return "; ".join(f"{name} {known.surroundings.get(name, 'unknown')}, here {here[name]}" for name in names)


def renew(known: Baseline, here: dict[str, str], present: dict[str, int]) -> None:
    """Writes what has changed by more than noise; everything, where it was counted in another surrounding."""

    def still_good(name: str) -> bool:
        same = known.surroundings == here and name in known.counts
        return same and abs(present[name] / known.counts[name] - 1) <= NOISE

    counts = {name: known.counts[name] if still_good(name) else now for name, now in present.items()}
    (ROOT / PATH).write_text(json.dumps({"surroundings": here, "counts": counts}, indent=2, ensure_ascii=False) + "\n")


def unexplained() -> list[str]:
    """The commits that have made the baseline worse and do not say why, a line each."""
    if _git("rev-parse", "--is-inside-work-tree") is None:
        tell("there is no git history here: whether renewed baselines have their reasons is not checked")
        return []
    if (_git("rev-parse", "--is-shallow-repository") or "").strip() != "false":
        tell("the git history is shallow: whether renewed baselines have their reasons is not checked")
        return []
    complaints, messages = [], _git("log", "--format=%B") or ""
    for commit in (_git("log", "--no-merges", "--format=%H", "--", str(PATH)) or "").split():
        worse = _worse(_at(f"{commit}^"), _at(commit))
        explained = REASON.search(_git("log", "-1", "--format=%B", commit) or "")
        # What is public already can still be explained by a later commit.
        if worse and not explained and not re.search(rf"^Instructions:.*\b{commit[:12]}", messages, re.MULTILINE):
            complaints.append(
                f"commit {commit[:12]} renews the baseline for the worse ({', '.join(worse)}) without saying why: its "
                f"message needs a line `Instructions: <reason>`, or a later one's `Instructions: {commit[:12]}: <reason>`"
            )
    return complaints


def _worse(before: Baseline, after: Baseline) -> list[str]:
    """What has grown; nothing can be said where the counts were made in another surrounding."""
    if before.surroundings != after.surroundings:
        return []
    changes = ((name, after.counts[name] / was - 1) for name, was in before.counts.items() if name in after.counts)
    return [f"{name} by {change:.1%}" for name, change in changes if change > NOISE]


def _at(commit: str) -> Baseline:
    text = _git("show", f"{commit}:{PATH}")
    try:
        return parse(text or "")
    except (ValueError, KeyError, TypeError):
        return Baseline()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
