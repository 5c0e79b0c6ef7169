"""Verdicts become ratings, and ratings the report of a tournament."""

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from character_ray.config import Tournament
from character_ray.judging.agreement import pair_agreements, panel_kappa
from character_ray.judging.davidson import Rated, rate_with_ties
from character_ray.judging.schedule import Pair
from character_ray.judging.sequential import rate_sequentially
from character_ray.judging.verdict import Seat, to_points
from character_ray.log import console
from character_ray.pipeline.hardware import hardware, nodes_now, versions
from character_ray.pipeline.identities import Basis, Identity, identity_of_judge, players_of, shared
from character_ray.pipeline.judges import Panelist
from character_ray.pipeline.played import Played
from character_ray.report.schema import Metric
from character_ray.report.tournament_schema import (
    ContestantPart,
    JudgePart,
    JudgesAgree,
    PairPart,
    SelfPreference,
    TournamentReport,
)
from character_ray.rows import content_hash
from character_ray.stages.tournament import collect, combined
from character_ray.statistics import Interval, cluster_rate

__all__ = ["build_report", "rate_played", "show_report"]

KNOWN_BY = {
    "hash": "by the hash of the weights",
    "address": "by the name at the same address",
    "name": "by the name alone",
}


def build_report(tournament: Tournament, panel: Sequence[Panelist], played: Played, wall_s: float) -> TournamentReport:
    """The report of a tournament that was played to its end."""
    lineup, rating = played.lineup, tournament.rating
    rated = rate_played(tournament, played, played.panel)
    both_seats = combined(played.meetings, played.panel)
    draws: dict[str, Any] = {"seed": tournament.seed, "resamples": rating.bootstrap}
    elo = rate_sequentially(both_seats, len(lineup.labels), k=rating.elo_k, shuffles=rating.elo_shuffles, **draws)
    pairs = _pairs(tournament, played, rated)
    words = _mean_words(played)
    verdicts = {name: [seats[each.row_id] for each in played.meetings] for name, seats in played.seats.items()}
    asked = [str(each.prompt) for each in played.meetings]
    kappa = panel_kappa(verdicts, asked, **draws)
    players = players_of(lineup, played.found)
    judges = {judge.spec.name: identity_of_judge(judge, lineup) for judge in panel}
    shares = {name: shared(identity, players) for name, identity in judges.items()}
    untrained = {name: set(shared(identity, players, wrote=True)) for name, identity in judges.items()}
    return TournamentReport(
        name=tournament.name,
        seed=tournament.seed,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        recipe=tournament.model_dump(mode="json"),
        constitution=lineup.constitution.meta.name,
        constitution_hash=lineup.constitution.fingerprint,
        num_prompts=played.prompts,
        prompts_hash=content_hash(sorted(lineup.prompts[: played.prompts])),
        contestants={
            label: ContestantPart(
                run=lineup.sources[number],
                arm=lineup.arms[number],
                rating=_metric(rated.ratings[number]),
                elo_sequential=_metric(elo[number]),
                mean_words=words[number],
            )
            for number, label in enumerate(lineup.labels)
        },
        pairs=pairs,
        win_rates=_win_rates(pairs),
        seat=_metric(rated.seat),
        length=_metric(rated.length) if rated.length else _missing("not fitted (rating.length)"),
        tie_share=_metric(rated.tie_share),
        battles=len(both_seats.outcomes_N),
        unscored=both_seats.unscored,
        battles_without_stopping=len(played.comparisons) * len(lineup.prompts),
        judges={
            judge.spec.name: _judge(
                tournament, judge, played, [lineup.labels[each] for each in shares[judge.spec.name]]
            )
            for judge in panel
        },
        agreements=[
            JudgesAgree(
                first=each.first,
                second=each.second,
                agreement=_metric(each.agreement),
                opposite=_metric(each.opposite),
                kappa=_metric(each.kappa) if each.kappa else None,
                n=each.n,
            )
            for each in pair_agreements(verdicts, asked, **draws)
        ],
        fleiss_kappa=_metric(kappa) if kappa else None,
        self_preference=_self_preferences(tournament, played, untrained),
        notes=[
            *(note for name in judges for note in _shared_weights(name, judges[name], shares[name], lineup.labels)),
            *_notes(tournament, played, both_seats.unscored),
        ],
        versions=versions(),
        hardware=hardware(nodes_now()),
        wall_s=wall_s,
    )


def show_report(report: TournamentReport, folder: Path) -> None:
    """Ratings as a table on the terminal."""
    table = Table("contestant", "rating", "95 % interval", "Elo", title=f"{report.name}: who is {report.constitution}?")
    for label, part in ranked(report):
        rating = part.rating
        table.add_row(
            label, f"{rating.value:.0f}", f"[{rating.low:.0f}, {rating.high:.0f}]", f"{part.elo_sequential.value:.0f}"
        )
    console.print(table)
    console.print(f"{report.battles:,} battles, {report.unscored:,} unscored. [green]{folder / 'tournament.html'}[/]")


def ranked(report: TournamentReport) -> list[tuple[str, ContestantPart]]:
    """Contestants by rating, the best first."""
    return sorted(report.contestants.items(), key=lambda item: -(item[1].rating.value or 0.0))


def rate_played(tournament: Tournament, played: Played, verdicts: Mapping[str, Seat | None]) -> Rated:
    """Ratings by the verdicts of the panel, or of one judge."""
    battles = collect(played.meetings, verdicts, played.lineup.entries)
    return rate_with_ties(
        battles,
        len(played.lineup.labels),
        played.prompts,
        seed=tournament.seed,
        resamples=tournament.rating.bootstrap,
        length=tournament.rating.length,
        prior_games=tournament.rating.prior_games,
    )


def _metric(interval: Interval | None) -> Metric:
    if interval is None:
        return _missing("not fitted")
    if math.isnan(interval.value):
        return _missing(interval.method)
    return Metric(**vars(interval))


def _missing(reason: str) -> Metric:
    return Metric(value=None, reason=reason)


def _pairs(tournament: Tournament, played: Played, rated: Rated) -> list[PairPart]:
    labels = played.lineup.labels
    found: dict[Pair, dict[Any, int]] = {pair: {1.0: 0, 0.5: 0, 0.0: 0, None: 0} for pair in played.comparisons}
    both = combined(played.meetings, played.panel)
    for (first, second), outcome in zip(both.seats_N2.tolist(), both.outcomes_N.tolist(), strict=True):
        found[first, second][outcome] += 1
    asked: dict[Pair, int] = dict.fromkeys(played.comparisons, 0)
    for each in played.meetings[::2]:
        asked[each.first, each.second] += 1
    return [
        PairPart(
            first=labels[a],
            second=labels[b],
            wins=found[a, b][1.0],
            ties=found[a, b][0.5],
            losses=found[a, b][0.0],
            unscored=asked[a, b] - sum(found[a, b].values()),
            difference=_metric(rated.difference(a, b)),
            share=comparison.share,
            low=comparison.low,
            high=comparison.high,
            p_value=comparison.p_value,
            state=comparison.state,
            prompts=comparison.prompts,
        )
        for (a, b), comparison in played.comparisons.items()
    ]


def _win_rates(pairs: Sequence[PairPart]) -> dict[str, dict[str, Metric]]:
    method = "valid at every look together, as of the pair"
    rates: dict[str, dict[str, Metric]] = {}
    for pair in pairs:
        if pair.prompts:
            about: dict[str, Any] = {"n": pair.prompts, "method": method}
            own = Metric(value=pair.share, low=pair.low, high=pair.high, **about)
            theirs = Metric(value=1 - pair.share, low=1 - pair.high, high=1 - pair.low, **about)
            rates.setdefault(pair.first, {})[pair.second] = own
            rates.setdefault(pair.second, {})[pair.first] = theirs
    return rates


def _mean_words(played: Played) -> list[float]:
    counts: list[list[int]] = [[] for _ in played.lineup.labels]
    for (prompt, player), entry in played.lineup.entries.items():
        if prompt < played.prompts:
            counts[player].append(len(entry["completion"].split()))
    return [sum(own) / len(own) for own in counts]


def _judge(tournament: Tournament, judge: Panelist, played: Played, shares: list[str]) -> JudgePart:
    spec, labels = judge.spec, played.lineup.labels
    seats = played.seats[spec.name]
    rated = rate_played(tournament, played, seats)
    name = spec.model.name if spec.model else played.lineup.recipes[0].student.name
    if judge.found and judge.found.stands_for:
        name = f"{judge.found.stands_for}, served as {name}"
    return JudgePart(
        kind=spec.kind,
        model=f"{name} at {spec.endpoint.url}" if spec.endpoint else name,
        template=judge.template,
        audit={key: _metric(value) for key, value in played.audits[spec.name].measures.items()},
        seat=_metric(rated.seat),
        ratings={label: _metric(each) for label, each in zip(labels, rated.ratings, strict=True)},
        seatings=len(seats),
        unreadable=sum(verdict is None for verdict in seats.values()),
        wall_s=played.wall_s[spec.name],
        shares_weights_with=shares,
    )


def _shared_weights(name: str, judge: Identity, shares: Mapping[int, Basis], labels: Sequence[str]) -> list[str]:
    """Who is the same weights as a judge, and how that is known; or that it is not."""
    if not shares and judge.url and not judge.hash:
        return [
            f"Whether the judge {name} is the same weights as a contestant is not known: {judge.url} tells no hash of its weights, and "
            f"no contestant is called {judge.name}."
        ]
    by_basis: dict[Basis, list[str]] = {}
    for player, basis in shares.items():
        by_basis.setdefault(basis, []).append(labels[player])
    return [
        f"The judge {name} is the same weights as {', '.join(own)}, before any training of theirs ({KNOWN_BY[basis]})."
        for basis, own in by_basis.items()
    ]


def _self_preferences(
    tournament: Tournament, played: Played, own_players: Mapping[str, set[int]]
) -> list[SelfPreference]:
    """Where a judge's own text meets another's, what it gives its own beyond what the other judges give."""
    found = []
    for name, own in own_players.items():
        others = [seats for judge, seats in played.seats.items() if judge != name]
        gains, prompts = [], []
        for each in played.meetings:
            if (each.first in own) == (each.second in own) or played.seats[name][each.row_id] is None:
                continue
            theirs = [to_points(seats[each.row_id]) for seats in others if seats[each.row_id] is not None]
            if theirs:
                gain = to_points(played.seats[name][each.row_id]) - sum(theirs) / len(theirs)
                gains.append(gain if each.first in own else -gain)
                prompts.append(str(each.prompt))
        if gains:
            points = cluster_rate(
                gains, prompts, seed=tournament.seed, resamples=tournament.rating.bootstrap, bounded=False
            )
            found.append(SelfPreference(judge=name, points=_metric(points)))
    return found


def _notes(tournament: Tournament, played: Played, unscored: int) -> list[str]:
    notes = []
    if unscored:
        notes.append(
            f"{unscored} battles had a seating without a readable verdict; they are counted and moved nothing."
        )
    if played.lineup.left_out:
        notes.append(
            f"{played.lineup.left_out} prompts were left out, because not every contestant has an answer to them."
        )
    if tournament.stop is not None:
        notes.append(
            "What was asked depended on earlier verdicts, which the intervals of the ratings do not know; what is said of pairs holds "
            "however often one looks."
        )
    return notes + _open_pairs(played)


def _open_pairs(played: Played) -> list[str]:
    """Pairs that were not decided, by the number of prompts that they were asked."""
    labels = played.lineup.labels
    by_prompts: dict[int, list[str]] = {}
    for (a, b), each in played.comparisons.items():
        if each.state == "open":
            by_prompts.setdefault(played.asked[a, b], []).append(f"{labels[a]} and {labels[b]}")
    return [f"Not decided on {prompts} prompts: {', '.join(named)}." for prompts, named in sorted(by_prompts.items())]
