"""``character-ray chat``: talk to a persona in the terminal."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from character_ray.serving.chat import ChatModel, Conversation

__all__ = ["chat"]

HELP = (
    "/reset forgets the conversation, /compare turns the base model's answers on or off, /quit leaves. "
    "Ctrl-C stops an answer."
)


def chat(
    run: Annotated[Path, typer.Argument(help="A run folder such as runs/demo, or an adapter folder.")],
    compare: Annotated[bool, typer.Option("--compare", help="Let the base model answer beside the persona.")] = False,
    system: Annotated[str, typer.Option(help="System prompt for both; the persona needs none.")] = "",
    ask: Annotated[
        list[str] | None, typer.Option(help="Ask this and leave; may be repeated, each time without memory.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the answers; the recipe's unless given.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length limit of an answer; the recipe's unless given.")
    ] = None,
) -> None:
    """Talk to a persona, on this machine's GPU or CPU."""
    from transformers.utils import logging as transformers_logging

    from character_ray.models import resolve_model
    from character_ray.serving.chat import ChatModel
    from character_ray.serving.personas import load_personas
    from character_ray.serving.runs import open_run

    transformers_logging.disable_progress_bar()
    trained = open_run(run)
    base = resolve_model(trained.base)
    (persona,) = load_personas(trained.base.name, base, [trained.adapter], trained.serve)
    sampling = trained.sampling.model_copy(update={"max_tokens": max_tokens} if max_tokens else {})
    console = Console(highlight=False)
    with console.status(f"loading {trained.base.name} and {trained.manifest.persona}"):
        model = ChatModel(base, persona, sampling)
    talk = Talk(model, console, trained.manifest.persona, system, compare, trained.seed if seed is None else seed)
    if ask:
        for text in ask:
            console.print(f"you> {text}", style="bold", markup=False)
            talk.say(text)
            talk.reset()
    else:
        console.print(f"[bold]{trained.manifest.persona}[/]: {trained.manifest.description or 'ready'}\n[dim]{HELP}[/]")
        talk.listen()


class Talk:
    """One person at a terminal, with the persona and, on request, the base model."""

    def __init__(self, model: "ChatModel", console: Console, name: str, system: str, compare: bool, seed: int) -> None:
        self._model, self._console, self._name = model, console, name
        self._system, self._compare, self._seed = system, compare, seed
        self.reset()

    def reset(self) -> None:
        """Forget what was said."""
        from character_ray.serving.chat import Conversation

        self._persona = Conversation("persona", self._system)
        self._base = Conversation("base", self._system)

    def listen(self) -> None:
        """Answer line by line until the person leaves."""
        # Arrow keys and history for input(); absent from some builds of Python.
        with suppress(ImportError):
            import readline  # noqa: F401
        while True:
            try:
                text = input("\nyou> ").strip()
            except (EOFError, KeyboardInterrupt):
                self._console.print()
                return
            match text:
                case "":
                    continue
                case "/quit":
                    return
                case "/reset":
                    self.reset()
                    self._console.print("[dim]forgotten[/]")
                case "/compare":
                    self._compare = not self._compare
                    self._console.print(f"[dim]base model {'answers too' if self._compare else 'is silent'}[/]")
                case _ if text.startswith("/"):
                    self._console.print(f"[dim]{HELP}[/]")
                case _:
                    self._answer(text)

    def say(self, text: str) -> None:
        """Print the answer or answers to one message."""
        # Each turn draws from a seed of its own, the same whether or not the base answers too.
        seed = self._seed + len(self._persona.turns)
        if self._compare:
            self._beside(text, [self._base, self._persona], seed)
            return
        self._console.print(f"{self._name}> ", end="", style="bold green", markup=False)
        for piece in self._model.reply(self._persona, text, seed):
            self._console.print(piece, end="", markup=False, soft_wrap=True)
        self._console.print()

    def _answer(self, text: str) -> None:
        from character_ray.errors import ServingError

        try:
            self.say(text)
        except KeyboardInterrupt:
            self._console.print("[dim](stopped)[/]")
        except ServingError as error:
            self._console.print(str(error), style="red", markup=False)

    def _beside(self, text: str, conversations: Sequence["Conversation"], seed: int) -> None:
        streams = [self._model.reply(conversation, text, seed) for conversation in conversations]
        answers = ["", ""]
        with Live(self._columns(answers), console=self._console, refresh_per_second=8) as live:
            for pieces in zip_longest(*streams, fillvalue=""):
                answers = [answer + piece for answer, piece in zip(answers, pieces, strict=True)]
                live.update(self._columns(answers))
        if not self._console.is_terminal:
            # There, Live ends without a line break.
            self._console.print()

    def _columns(self, answers: Sequence[str]) -> Table:
        table = Table(expand=True, show_lines=False)
        table.add_column("base model", ratio=1)
        table.add_column(self._name, ratio=1, header_style="bold green")
        table.add_row(*(Text(answer.strip()) for answer in answers))
        return table
