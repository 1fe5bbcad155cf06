"""`nlb completion`: the script that a shell runs at Tab. What it offers comes from the commands themselves."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from nlb.cli import nlb

HELP = """Print a script that lets the shell complete commands, options, and the names that the daemon knows.

\b
bash   nlb completion bash > /etc/bash_completion.d/nlb
       or in ~/.bashrc: eval "$(nlb completion bash)"
zsh    nlb completion zsh > /usr/share/zsh/site-functions/_nlb
       or in ~/.zshrc, after compinit: eval "$(nlb completion zsh)"
fish   nlb completion fish > ~/.config/fish/completions/nlb.fish"""


@click.command(help=HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None
    # Of the base class: that of bash runs the bash of this box, to warn of old ones.
    click.echo(ShellComplete.source(kind(nlb, {}, "nlb", "_NLB_COMPLETE")))
