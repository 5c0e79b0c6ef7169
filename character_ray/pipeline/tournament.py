"""A tournament as one job: contestants meet on the same prompts in both seats, and audited judges decide.

    answers of runs, and of models that are served -> audit of every judge -> rounds of verdicts, until the pairs are decided
      -> ratings -> tournament.json, .html

Verdicts lie in the store by content hash, so a stopped tournament goes on where it was, and one with another rating section judges
nothing anew.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from character_ray.chat_safety import control_tokens
from character_ray.config import EndpointConfig, JudgeSpec, ModelConfig, StopConfig, Tournament
from character_ray.constitution import system_prompt
from character_ray.errors import ReportError
from character_ray.inference.engine_room import needed_by_engine, needed_by_judges
from character_ray.inference.find_model import FoundModel, find_model
from character_ray.inference.remote import Sections
from character_ray.judging.audit import SeatedPair, audit, seat
from character_ray.judging.davidson import count_cells, fit_davidson
from character_ray.judging.schedule import Pair, all_pairs, next_pairs
from character_ray.judging.stopping import Comparison
from character_ray.judging.verdict import Seat, from_probability, majority, mean_verdict, to_points
from character_ray.log import console
from character_ray.models import resolve_model
from character_ray.parts import write_rows
from character_ray.pipeline.contestants import Lineup, load_lineup, recipe_of, with_answers
from character_ray.pipeline.context import Model
from character_ray.pipeline.identities import identity_of_judge, known_writer
from character_ray.pipeline.judge_audit import known_pairs
from character_ray.pipeline.judges import Judged, Panelist, ask_judge
from character_ray.pipeline.played import Played
from character_ray.pipeline.ray_session import ray_for
from character_ray.pipeline.run import full_disk_named
from character_ray.pipeline.served import ask_served, sections_of
from character_ray.pipeline.stage_room import Booking
from character_ray.pipeline.tournament_report import build_report, rate_played, show_report
from character_ray.report.tournament_page import write_tournament_page
from character_ray.rows import content_hash
from character_ray.runs import Artefact, Run, Store
from character_ray.stages.tournament import (
    VERDICT_ROW,
    Meeting,
    VerdictRow,
    collect,
    meetings,
    next_prompts,
    points,
    round_prompts,
    seated,
)
from character_ray.whole_files import write_text

__all__ = ["Ask", "Find", "hold_tournament", "panel_verdict"]

Ask = Callable[[str, Artefact, Sequence[SeatedPair], Panelist], dict[str, Judged]]


class Find(Protocol):
    """Finds a model at an endpoint, or raises what keeps it from being asked."""

    def __call__(self, model: str, endpoint: EndpointConfig, sections: Sections, *, scores: bool = False) -> FoundModel:
        """What the endpoint says of it."""
        ...


def hold_tournament(tournament: Tournament, ask: Ask = ask_judge, find: Find = find_model) -> Path:
    """Audit the judges, let everybody meet, and write the results; returns their folder.

    Args:
        tournament: Contestants, judges and rules.
        ask: Puts pairs in their seats before a judge.
        find: Makes sure of every endpoint before anything is asked.

    Raises:
        GenerationError: An endpoint does not answer, does not know the model, or does not score for a likelihood judge.
        ReportError: Contestants do not fit together, or a judge is below the floor of the audit.
        CharacterRayError: A model, constitution or endpoint is wrong; what was judged stays.
    """
    started = monotonic()
    lineup = load_lineup(tournament)
    panel = [_panelist(number, spec, lineup, tournament) for number, spec in enumerate(tournament.judges)]
    panel = [replace(judge, found=_found(judge, find)) for judge in panel]
    served = {each.player: find(each.config.model, each.config, sections_of(each.number)) for each in lineup.served}
    pairs = all_pairs(len(lineup.labels))
    stop = tournament.stop or StopConfig()
    with full_disk_named(tournament):
        store = Store(tournament.output / "store")
        run = Run(tournament.folder, tournament.model_dump(mode="json"))
        if served:
            lineup = _asked(lineup, served, store, run)
        played = Played(lineup, {pair: Comparison(stop.alpha / len(pairs), stop.close) for pair in pairs}, served)
        here = any(judge.folder is not None for judge in panel)
        with _ray_for(tournament) if here else nullcontext():
            bench = _Bench(panel, store, run, played, ask)
            _check_judges(tournament, bench)
            _play(tournament, bench)
        folder = tournament.folder
        write_rows(folder / "verdicts.parquet", _verdict_rows(played), VERDICT_ROW)
        report = build_report(tournament, panel, played, monotonic() - started)
        write_text(folder / "tournament.json", report.model_dump_json(indent=1) + "\n")
        write_tournament_page(report, folder / "tournament.html")
    show_report(report, folder)
    return folder


def panel_verdict(tournament: Tournament, said: Sequence[Judged], seats: Sequence[Seat | None]) -> Seat | None:
    """What all judges together say of one seating."""
    if tournament.panel == "majority":
        return majority(seats)
    # Verdicts have had their own margin, if they have one: of them only an even mean ties.
    margin = min((judge.tie_margin for judge in tournament.judges_of_probabilities), default=0.0)
    return mean_verdict([each.first_wins for each in said], margin)


def _panelist(number: int, spec: JudgeSpec, lineup: Lineup, tournament: Tournament) -> Panelist:
    folder = None if spec.endpoint else resolve_model(_weights_of(spec, lineup))
    return Panelist(
        spec,
        system_prompt(lineup.constitution),
        folder,
        control_tokens(folder) if folder else (),
        tournament.folder / f"spending-{spec.name}.jsonl",
        number,
    )


def _found(judge: Panelist, find: Find) -> FoundModel | None:
    spec = judge.spec
    if spec.endpoint is None:
        return None
    return find(judge.remote_name, spec.endpoint, judge.sections, scores=spec.kind == "likelihood")


def _asked(lineup: Lineup, found: Mapping[int, FoundModel], store: Store, run: Run) -> Lineup:
    """The lineup with the answers of those that are served."""
    asked = {prompt: lineup.texts[prompt] for prompt in lineup.prompts}
    answers = {
        each.player: ask_served(
            store, run, each.number, each.config, found[each.player], asked, lineup.recipes[each.player]
        )
        for each in lineup.served
    }
    return with_answers(lineup, answers, {player: model.name for player, model in found.items()})


def _weights_of(spec: JudgeSpec, lineup: Lineup) -> ModelConfig:
    return spec.model or lineup.recipes[0].student


def _ray_for(tournament: Tournament) -> AbstractContextManager[None]:
    """Ray with room for the judges that run here, one after the other."""
    gpus: dict[str, float] = {}
    bookings = []
    for number, spec in enumerate(tournament.judges):
        if spec.engine is not None:
            section = f"judges.{number}.engine"
            gpus[section] = spec.engine.gpus
            bookings.append(Booking(needed_by_engine(section, spec.engine)))
        elif spec.endpoint is None:
            section = f"judges.{number}.forward"
            gpus[section] = spec.forward.replicas if spec.forward.device == "gpu" else 0
            bookings.append(Booking(replace(needed_by_judges(section, spec.forward), remedy=f"lower {section}.cpus")))
    return ray_for(gpus, folder=tournament.output, bookings=bookings)


@dataclass(frozen=True)
class _Bench:
    """The judges, and where what they say goes."""

    judges: Sequence[Panelist]
    store: Store
    run: Run
    played: Played
    ask_one: Ask

    def ask(self, stage: str, rows: Sequence[SeatedPair], judge: Panelist) -> dict[str, Judged]:
        """One pass of one judge, recorded in the tournament's folder."""
        spec = judge.spec
        inputs = {
            "kind": spec.kind,
            "model": _identity(judge),
            "template": judge.template,
            "character": content_hash(judge.character),
            "number_format": [spec.forward.dtype, spec.engine.numerics if spec.engine else ""],
            "sampling": spec.sampling.model_dump() if spec.kind == "text" else {},
            "rows": content_hash(list(rows)),
        }
        artefact = self.store.artefact(stage, inputs)
        # A pass through an engine or an endpoint claims the folder itself.
        alone = spec.kind in ("likelihood", "letters") and spec.endpoint is None
        with artefact.claim() if alone else nullcontext():
            found = self.ask_one(stage, artefact, rows, judge)
        self.run.link(artefact)
        spent = self.played.wall_s
        spent[spec.name] = spent.get(spec.name, 0.0) + artefact.summary.get("wall_s", 0.0)
        return found


def _identity(judge: Panelist) -> dict[str, Any]:
    if judge.folder is None:
        assert judge.spec.model is not None and judge.spec.endpoint is not None
        weights = {"weights": judge.found.weights_hash} if judge.found and judge.found.weights_hash else {}
        further = {"extra_body": beside} if (beside := judge.spec.endpoint.asked_beside) else {}
        return {"remote": judge.remote_name, "url": judge.spec.endpoint.url, **further, **weights}
    return Model(judge.spec.name, judge.folder).identity


def _seat_of(judge: Panelist, said: Judged) -> Seat | None:
    # A likelihood judge has applied its margin, which is in nats, to the scores.
    return from_probability(said.first_wins, judge.spec.tie_margin if judge.spec.says_probabilities else 0.0)


def _check_judges(tournament: Tournament, bench: _Bench) -> None:
    """Hold every judge to the audit before it sees a battle."""
    panel, played = bench.judges, bench.played
    first = played.lineup.audit_run
    pairs = known_pairs(first, tournament.audit, tournament.seed)
    rows = seat(pairs)
    for judge in panel:
        said = bench.ask(f"audit-{judge.spec.name}", rows, judge)
        wins = {row_id: to_points(_seat_of(judge, each)) for row_id, each in said.items()}
        own = known_writer(identity_of_judge(judge, played.lineup), first, recipe_of(first))
        found = audit(pairs, wins, tournament.audit, seed=tournament.seed, own=own)
        played.audits[judge.spec.name] = found
        shown = ", ".join(f"{name.replace('_', ' ')} {each.value:.2f}" for name, each in found.measures.items())
        mark = "[green]passed[/]" if found.passed else "[red]refused[/]"
        console.print(f"audit of {judge.spec.name} on {len(pairs)} known pairs of {first}: {mark} ({shown})")
    refused = {name: found.failures for name, found in played.audits.items() if not found.passed}
    if refused:
        why = "; ".join(f"{name}: {', '.join(failures)}" for name, failures in refused.items())
        raise ReportError(
            f"the audit on {len(pairs)} known pairs of {first} refuses {len(refused)} of {len(panel)} judges ({why}). Ratings by such a "
            "judge would say more about it than about the contestants. Remove it from judges, give it other weights, or, if you "
            "know why it may be believed, move the bounds of the audit section."
        )


def _play(tournament: Tournament, bench: _Bench) -> None:
    """Round after round, until every pair is decided or was asked every prompt."""
    played, stop = bench.played, tournament.stop
    lineup, players = played.lineup, len(played.lineup.labels)
    rounds = round_prompts(len(lineup.prompts), tournament.round, tournament.round_growth)
    fit = None
    for number in count():
        unasked = _to_ask(tournament, played)
        if not unasked:
            break
        pairs = next_pairs(unasked, fit, tournament.schedule, tournament.pairs_per_round)
        asked = next_prompts(pairs, played.asked, rounds)
        fresh = meetings(asked)
        _judge_round(tournament, bench, number, fresh)
        played.asked |= {pair: prompts.stop for pair, prompts in asked.items()}
        battles = collect(played.meetings, played.panel, lineup.entries)
        cells = count_cells(battles, players, played.prompts)
        fit = fit_davidson(cells, cells.total_KO, prior_games=tournament.rating.prior_games)
        decided = sum(each.state != "open" for each in played.comparisons.values())
        console.print(
            f"round {number + 1}: {len(fresh) // 2:,} battles of {len(pairs)} pairs; "
            f"{decided} of {len(played.comparisons)} pairs decided"
        )
        if stop is not None and stop.points is not None:
            width = rate_played(tournament, played, played.panel).half_width
            console.print(f"the widest rating is known within {width:.0f} points")
            if width <= stop.points:
                break


def _judge_round(tournament: Tournament, bench: _Bench, number: int, fresh: Sequence[Meeting]) -> None:
    """Put the meetings of a round before every judge, and take in what the panel says."""
    panel, played = bench.judges, bench.played
    rows = seated(fresh, played.lineup.entries)
    for judge in panel:
        said = bench.ask(f"verdicts-{judge.spec.name}-{number}", rows, judge)
        played.said.setdefault(judge.spec.name, {}).update(said)
        seats = {row_id: _seat_of(judge, each) for row_id, each in said.items()}
        played.seats.setdefault(judge.spec.name, {}).update(seats)
    for each in fresh:
        played.panel[each.row_id] = panel_verdict(
            tournament,
            [played.said[judge.spec.name][each.row_id] for judge in panel],
            [played.seats[judge.spec.name][each.row_id] for judge in panel],
        )
    played.meetings += fresh
    for pair, scored in points(fresh, played.panel).items():
        for score in scored:
            played.comparisons[pair].add(score)


def _to_ask(tournament: Tournament, played: Played) -> list[Pair]:
    """Pairs that have prompts left and, where each is asked until it is decided, are not."""
    by_pair = tournament.stop is not None and tournament.stop.points is None
    return [
        pair
        for pair, each in played.comparisons.items()
        if played.asked[pair] < len(played.lineup.prompts) and not (by_pair and each.state != "open")
    ]


def _verdict_rows(played: Played) -> list[VerdictRow]:
    labels = played.lineup.labels
    return [
        VerdictRow(
            row_id=each.row_id,
            prompt_id=played.lineup.prompts[each.prompt],
            first=labels[each.first],
            second=labels[each.second],
            judge=judge,
            first_wins=said[each.row_id].first_wins,
            verdict=played.seats[judge][each.row_id] or "",
            reply=said[each.row_id].reply,
        )
        for judge, said in played.said.items()
        for each in played.meetings
    ]
