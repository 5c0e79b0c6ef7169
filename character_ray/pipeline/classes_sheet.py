"""The page of ``classes.json``: what the classifier over all personas gets right, one head or two beside each other."""

from collections.abc import Mapping
from typing import Any

from character_ray.pipeline.bleed_sheet import bleed_lead, bleed_sections
from character_ray.report.plots import Dot, dot_plot, reliability_diagram
from character_ray.report.sheet import Plot, Section, Sheet, figure, percent

__all__ = ["classes_sheet"]

RATES = [0.0, 0.25, 0.5, 0.75, 1.0]
FIGURES = ("precision", "recall", "f1")


def classes_sheet(found: Mapping[str, Any]) -> Sheet:
    """The page of a ``classes.json``."""
    heads = {"linear head": found}
    if found.get("fine_tuned"):
        heads["fine-tuned"] = found["fine_tuned"]
    sections = [_heads(heads)] if len(heads) > 1 else []
    for name, head in heads.items():
        after = f", {name}" if len(heads) > 1 else ""
        sections += [
            _by_class(head, after),
            _confusion(head, after),
            _reliability(head, after),
            _undecided(head, after),
        ]
        if head.get("bleed"):
            sections += bleed_sections(head, found["served"], after)
    return Sheet(
        "Which persona, or none",
        ", ".join(found["runs"]),
        _lead(found),
        [*sections, _generators(heads), _how(found)],
    )


def _lead(found: Mapping[str, Any]) -> list[str]:
    error, tuned = found["calibration_error"], found.get("fine_tuned")
    lead = [
        f"On prompts it never saw, the classifier names the right one of {len(found['classes'])} classes for "
        f"{percent(found['accuracy'])} of {found['num_test']} texts.",
        f"One temperature, {found['temperature']:.2f}, takes its expected calibration error from {figure(error['before'], 3)} to "
        f"{figure(error['after'], 3)}.",
    ]
    if tuned:
        gain = tuned["gain"]
        lead.append(
            f"Fine-tuned, {tuned['settings']['model']['name']} names the right one for {percent(tuned['accuracy'])} of the same texts: "
            f"{100 * gain['value']:+.0f} points [{100 * gain['low']:+.0f}, {100 * gain['high']:+.0f}] by prompt."
        )
    if found.get("bleed"):
        lead.append(bleed_lead(found))
    return lead


def _heads(heads: Mapping[str, Mapping[str, Any]]) -> Section:
    def row(name: str, head: Mapping[str, Any]) -> list[str]:
        error, f1 = head["calibration_error"], [own["f1"]["value"] or 0.0 for own in head["per_class"].values()]
        half = head["abstention"][-1]
        return [
            name,
            percent(head["accuracy"]),
            f"{sum(f1) / len(f1):.2f}",
            figure(error["before"], 3),
            figure(error["after"], 3),
            f"{head['temperature']:.2f}",
            percent(half["accuracy"]),
        ]

    return Section(
        "Both heads",
        [
            "Trained, calibrated and tested on the same texts: a logistic regression on a frozen encoder, and an encoder trained with it."
        ],
        (),
        [
            "head",
            "accuracy",
            "mean F1",
            "calibration error",
            "after",
            "temperature",
            "accuracy, surest half",
        ],
        [row(name, head) for name, head in heads.items()],
    )


def _by_class(head: Mapping[str, Any], after: str) -> Section:
    return Section(
        f"By class{after}",
        (),
        (),
        ["class", *FIGURES, "texts"],
        [
            [name, *(figure(own[key]) for key in FIGURES), str(own["support"])]
            for name, own in head["per_class"].items()
        ],
    )


def _confusion(head: Mapping[str, Any], after: str) -> Section:
    names = head["classes"]
    return Section(
        f"Confusion{after}",
        ["Rows are what a text is, columns what it was taken for."],
        (),
        ["class", *names],
        [[name, *map(str, row)] for name, row in zip(names, head["confusion"], strict=True)],
    )


def _reliability(head: Mapping[str, Any], after: str) -> Section:
    def plot(title: str, when: str) -> Plot:
        bins, error = head["reliability"][when], figure(head["calibration_error"][when], 3)
        listing = ", ".join(f"{each['confidence']:.2f} predicted, {each['observed']:.2f} right" for each in bins)
        return Plot(
            title, f"Expected calibration error {error}.", reliability_diagram(f"{title}{after}: {listing}", bins)
        )

    return Section(
        f"Reliability{after}",
        [
            "Share of texts named right over the probability of the class they were taken for; a calibrated classifier lies on the line. "
            "Areas show the number of texts."
        ],
        [
            plot("Calibrated", "after"),
            plot(f"Before its logits were divided by {head['temperature']:.2f}", "before"),
        ],
    )


def _undecided(head: Mapping[str, Any], after: str) -> Section:
    dots = [
        Dot(
            f"{100 * each['decided']:.0f} %",
            each["accuracy"]["value"],
            each["accuracy"]["low"],
            each["accuracy"]["high"],
            percent(each["accuracy"]),
            "headline" if each["decided"] == 1 else "weights",
        )
        for each in head["abstention"]
    ]
    plot = dot_plot("Accuracy by share decided", dots, RATES, lambda tick: f"{100 * tick:.0f}")
    return Section(
        f"Left undecided{after}",
        ["Accuracy when only the surest texts are decided."],
        [Plot("Share decided", "", plot)],
    )


def _generators(heads: Mapping[str, Mapping[str, Any]]) -> Section:
    first = next(iter(heads.values()))["generators"]
    many = len(heads) > 1
    return Section(
        "Generators left out",
        ["Accuracy on texts of a generator that training never saw, on prompts it never saw either."],
        (),
        ["generator", *(heads if many else ("accuracy",)), "texts"],
        [
            [name, *(percent(head["generators"][name]) for head in heads.values()), str(own["n"])]
            for name, own in first.items()
        ],
    )


def _how(found: Mapping[str, Any]) -> Section:
    notes = [
        f"{found['num_train']} texts to train on, {found['num_calibrate']} to calibrate, {found['num_test']} to test, no "
        f"prompt on two sides; {found['repeated']} texts left out of training because the same text is tested.",
        f"Encoder {found['encoder']}, seed {found['seed']}. Made by: {found['command']}.",
    ]
    if found.get("fine_tuned"):
        own = found["fine_tuned"]["settings"]
        notes.append(
            f"Fine-tuned on Ray Train: {own['model']['name']}, {own['epochs']} epochs, batches of {own['batch_size']}, peak learning rate "
            f"{own['learning_rate']:g}, the first {own['max_length']} tokens of a text, classes weighted equally."
        )
    return Section("How", notes)
