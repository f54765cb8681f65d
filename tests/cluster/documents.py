"""The documents' own lines: what they say is pasted into one shell, as somebody would who follows them."""

import re
import subprocess
import threading
from queue import Empty, Queue

from cluster import ROOT, CommandFailed
from report import Failure

BLOCK_SECONDS = 240


def blocks(document, heading):
    """The blocks of a section (None: what comes before the first), each with its language: [("sh", "..."), ...]."""
    text = (ROOT / document).read_text()
    start = r"\A" if heading is None else rf"^## {re.escape(heading)}$"
    section = re.search(rf"(?ms){start}(.*?)(?=^## |\Z)", text)[1]
    return re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", section)


class Shell:
    """One bash, in `folder`, which has the repository's charts. `adapt` changes what this run calls otherwise."""

    def __init__(self, cluster, folder, adapt):
        self._cluster, self._folder, self._adapt = cluster, folder, adapt
        folder.mkdir()
        (folder / "charts").symlink_to(ROOT / "charts")

    def __enter__(self):
        command = ["bash", "--noprofile", "--norc"]
        self._context = self._cluster.process(command, stderr=subprocess.STDOUT, cwd=self._folder)
        self._process = self._context.__enter__()
        # With what was put into the background, also where a line fails.
        self._process.stdin.write("trap 'kill $(jobs -p) 2>/dev/null' EXIT\n")
        self._output = Queue()
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._context.__exit__(*error)

    def file(self, name, text):
        (self._folder / name).write_text(self._adapt(text))

    def read(self, name):
        return (self._folder / name).read_text()

    def paste(self, text):
        """All of it; what it prints. The first line that fails is an error."""
        (self._folder / ".pasted").write_text("set -e\n" + self._adapt(text))
        # From a file: commands that read standard input would take the next lines for theirs.
        self._process.stdin.write("source .pasted </dev/null; echo \"pasted: $?\"\n")
        self._process.stdin.flush()
        said = []
        while True:
            try:
                line = self._output.get(timeout=BLOCK_SECONDS)
            except Empty:
                raise CommandFailed(f"not done after {BLOCK_SECONDS} s:\n{text}\n{''.join(said)}") from None
            if line is None:
                raise CommandFailed(f"what was pasted fails:\n{text}\n{''.join(said)[-2000:]}")
            if line.endswith("pasted: 0\n"):
                return "".join(said) + line.removesuffix("pasted: 0\n")
            said.append(line)

    def converse(self, text):
        """A block of commands (`$ ...`), each with what it has to print; `...` stands for any lines."""
        for command, wanted in re.findall(r"(?m)^\$ (.*)\n((?:(?!\$ ).*\n)*)", text):
            said = self.paste(command)
            pattern = "".join(".*" if line == "..." else re.escape(line) + r"\s*" for line in wanted.splitlines())
            # Where anything may stand before, anything may after: headers are in no order.
            pattern += ".*" if "..." in wanted.splitlines() else ""
            if not re.fullmatch(pattern, said, re.DOTALL):
                raise Failure(f"`{command}` prints\n{said}\nwhere the document has\n{wanted}")

    def _read(self):
        for line in self._process.stdout:
            self._output.put(line)
        self._output.put(None)
