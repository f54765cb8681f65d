"""What goes with the program: completions, each by its shell, and man pages, read by mandoc and groff."""

import os
import re
import subprocess
from pathlib import Path

from sidecar import check

TOOLS = ("man", "mandoc", "groff", "bash", "zsh", "fish")


def completions_work_in_their_shells(unpacked):
    """`unpacked`: an archive's folder."""
    scripts = {each.name for each in (unpacked / "completions").iterdir()}
    expected = {"vestibule.bash", "_vestibule", "vestibule.fish", "kubectl_complete-vestibule"}
    check(scripts == expected, "completions for three shells and kubectl", scripts)
    # What is offered behind `vestibule users dis`.
    bash = "source completions/vestibule.bash; COMP_WORDS=(vestibule users dis); COMP_CWORD=2; "
    bash += '_vestibule vestibule dis users; echo "${COMPREPLY[*]}"'
    check(said("bash", "--norc", "-c", bash, cwd=unpacked) == "disable", "bash completes a command")
    # An interactive shell's functions, without anybody's settings. Its own widgets need a terminal.
    zsh = "autoload -U compinit; compinit -D -u; source completions/_vestibule; echo ${_comps[vestibule]}"
    check(said("zsh", "-f", "-c", zsh, cwd=unpacked) == "_vestibule", "zsh takes its function")
    fish = "source completions/vestibule.fish; complete --do-complete 'vestibule users dis'"
    offered = said("fish", "--no-config", "-c", fish, cwd=unpacked)
    check(offered.split("\t")[0] == "disable", "fish completes a command", offered)


def man_pages_tell_every_command(unpacked, version, date):
    folder, program = unpacked / "man/man1", unpacked / "vestibule"
    commands = list(tree(program))
    found = {each.name for each in folder.iterdir()}
    check(found == {file(command) for command in commands}, f"a man page for each of {len(commands)} commands", found)
    check(len(commands) > 20, "and there are many", commands, quiet=True)
    said("mandoc", "-T", "lint", "-W", "warning", *sorted(folder.iterdir()))
    for command in commands:
        page = folder / file(command)
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", page], capture_output=True, text=True, timeout=60)
        check(done.returncode == 0 and not done.stderr, f"groff has nothing to say of {page.name}", done.stderr, quiet=True)
        text = read(page)
        help_text = said(program, *command, "--help")
        for option in set(re.findall(r"--[a-z][a-z-]+", help_text)):
            check(option in text, f"{page.name} tells of {option}", text, quiet=True)
        usage = re.search(r"Usage: (.*)", help_text)[1]
        check(usage in text, f"{page.name} has the usage", text, quiet=True)
        for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
            check(re.search(rf"(?m)^{heading}$", text), f"{page.name} has {heading}", text, quiet=True)
        check(not re.search("[‘’˜ˆ]", text), f"{page.name}: what is typed stays as it is typed", text, quiet=True)
        last = text.rstrip().splitlines()[-1]
        check(f"vestibule {version}" in last and date in last, f"{page.name} is of the release", last, quiet=True)
        for other in re.findall(r"(vestibule[a-z-]*)\(1\)", text.partition("\nSEE ALSO\n")[2].replace(last, "")):
            check((folder / f"{other}.1").exists(), f"{page.name}: {other} is there", quiet=True)
    print("ok: man pages are sound, tell of every option, and refer to pages that are there", flush=True)


def tree(program, command=()):
    """Every command with all of its subcommands, as lists of words."""
    yield list(command)
    listed = said(program, *command, "--help").partition("\nCommands:\n")[2].partition("\n\n")[0]
    for word in re.findall(r"(?m)^  ([a-z]+)  ", listed):
        if word != "help":
            yield from tree(program, (*command, word))


def file(command):
    return "-".join(["vestibule", *command]) + ".1"


def read(page):
    """As `man -l` shows it, in UTF-8."""
    plain = {"MANPAGER": "cat", "MANWIDTH": "200", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"}
    return said("man", "--local-file", "--nh", "--nj", page, env={**os.environ, **plain})


def said(*command, cwd=None, env=None):
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)
    check(done.returncode == 0, f"{Path(command[0]).name} works", (command, done.stdout[-2000:], done.stderr[-2000:]), quiet=True)
    return done.stdout.strip()
