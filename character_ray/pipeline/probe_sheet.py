"""``probes.html``: what the probes found, said in sentences first."""

from typing import Any

from character_ray.report.plots import Dot, Line, dot_plot, lines_plot
from character_ray.report.sheet import Plot, Section, Sheet, percent

__all__ = ["probe_sheet"]

RATES = [0.0, 0.25, 0.5, 0.75, 1.0]


def probe_sheet(found: dict[str, Any]) -> Sheet:
    """The page of a ``probes.json``."""
    return Sheet(
        f"Inside {found['persona']}",
        found["run"],
        [_causal_sentence(found["causal"]), _cluster_sentence(found)],
        [_layers(found), _clusters(found), *_transfer(found), _causal(found["causal"]), _method(found)],
    )


def _cluster_sentence(found: dict[str, Any]) -> str:
    counts = {
        name: sum(layer["clusters"]["distinct"] for layer in contrast["layers"])
        for name, contrast in found["contrasts"].items()
    }
    listed = ", ".join(f"{name} in {count}" for name, count in counts.items())
    return (
        f"The prediction of distinct clusters on the same prompts (silhouette of 0.25 or more, and more than by chance) holds, "
        f"of {found['num_layers']} layers, for {listed}."
    )


def _causal_sentence(causal: dict[str, Any]) -> str:
    rates = {each["name"]: each["persona_rate"] for each in causal["conditions"]}
    added = [each for each in causal["conditions"] if each["kind"] == "added"]
    best = max(added, key=lambda each: each["persona_rate"]["value"], default=None)
    sentence = (
        f"With the persona direction taken out the trained model is in character in {percent(rates['full, direction out'])} of answers "
        f"instead of {percent(rates['full'])}; with a random direction taken out, in {percent(rates['full, random out'])}."
    )
    if best is not None:
        sentence += (
            f" Added to the untrained model, the direction makes {percent(best['persona_rate'])} of answers in character at its "
            f"best ({best['name']}), instead of {percent(rates['base'])}; a random one of equal length "
            f"{percent(rates[best['name'] + ' random'])}. Of the answers so pushed {percent(best['looping_rate'])} repeat themselves."
        )
    return sentence


def _layers(found: dict[str, Any]) -> Section:
    plots = []
    for name, contrast in found["contrasts"].items():
        layers = contrast["layers"]
        lines = [
            Line("probe", [(each["layer"], each["accuracy"]["value"]) for each in layers], "headline"),
            Line("shuffled", [(each["layer"], each["control"]) for each in layers], "control"),
        ]
        best = max(layers, key=lambda each: each["selectivity"])
        caption = (
            f"{contrast['meaning']}. Best at layer {best['layer']}: {percent(best['accuracy'])}, {100 * best['selectivity']:.0f} points "
            "over shuffled labels."
        )
        plots.append(
            Plot(name.capitalize(), caption, lines_plot(f"Accuracy by layer, {name}", lines, "layer", (0.0, 1.0)))
        )
    note = (
        "Accuracy of a linear probe on prompts it was not trained on, by layer, beside the same probe on shuffled labels. Two sets of "
        "weights are easily told apart, so a high line of weights or before says that the adapter acts there, not what it does."
    )
    return Section("Probes by layer", [note], plots)


def _clusters(found: dict[str, Any]) -> Section:
    plots, rows = [], []
    for name, contrast in found["contrasts"].items():
        layers = contrast["layers"]
        lines = [
            Line("classes", [(each["layer"], each["clusters"]["silhouette"]) for each in layers], "headline"),
            Line("shuffled", [(each["layer"], each["clusters"]["control"]) for each in layers], "control"),
            Line("k-means", [(each["layer"], each["clusters"]["rand_index"]) for each in layers], "context"),
        ]
        plots.append(
            Plot(name.capitalize(), "", lines_plot(f"Silhouette by layer, {name}", lines, "layer", (-0.2, 1.0)))
        )
        best = max(layers, key=lambda each: each["clusters"]["silhouette"])
        rows.append(
            [
                name,
                f"{best['clusters']['silhouette']:.2f} at layer {best['layer']}",
                f"{best['clusters']['control']:.2f}",
                f"{best['clusters']['p_value']:.2f}",
                f"{max(each['clusters']['rand_index'] for each in layers):.2f}",
                f"{sum(each['clusters']['distinct'] for each in layers)} of {len(layers)}",
            ]
        )
    note = (
        "Silhouette of the two classes by layer, beside classes swapped at random within prompts; k-means is the agreement of a split that "
        "was told nothing with the classes, adjusted for chance."
    )
    columns = ["contrast", "largest silhouette", "shuffled", "p", "best k-means agreement", "distinct layers"]
    return Section("Distinct clusters?", [note], plots, columns, rows)


def _transfer(found: dict[str, Any]) -> list[Section]:
    if not found["transfer"]:
        return []
    lines = [
        Line("full", [(each["layer"], each["full"]["value"]) for each in found["transfer"]], "headline"),
        Line("base", [(each["layer"], each["base"]["value"]) for each in found["transfer"]], "context"),
    ]
    cosine = [Line("cosine", [(each["layer"], each["cosine"]) for each in found["transfer"]], "headline")]
    note = (
        "A probe that learnt to tell the prompted model from the plain one, where no weight differs, is shown the trained model without a "
        "system prompt, on prompts it did not learn from. Where it calls that in character, training moved the model to where the "
        "constitution in context had moved it."
    )
    plots = [
        Plot(
            "Called in character",
            "By a probe of the prompted model.",
            lines_plot("Share by layer", lines, "layer", (0.0, 1.0)),
        ),
        Plot(
            "Same direction",
            "Cosine between what the constitution in context adds and what training adds.",
            lines_plot("Cosine by layer", cosine, "layer", (-0.2, 1.0)),
        ),
    ]
    return [Section("From context to weights", [note], plots)]


def _causal(causal: dict[str, Any]) -> Section:
    def plot(metric: str, title: str) -> Plot:
        dots = [
            Dot(
                str(number),
                each[metric]["value"],
                each[metric]["low"],
                each[metric]["high"],
                percent(each[metric]),
                "context" if each["kind"].endswith("control") else "headline" if each["kind"] != "none" else "weights",
            )
            for number, each in enumerate(causal["conditions"], 1)
        ]
        return Plot(
            title,
            "Numbers name the rows of the table; open dots are random directions.",
            dot_plot(title, dots, RATES, lambda tick: f"{100 * tick:.0f}"),
        )

    rows = [
        [
            f"{number}. {each['name']}",
            percent(each["persona_rate"]),
            percent(each["looping_rate"]),
            f"{each['mean_words']:.0f}",
            str(each["persona_rate"]["n"]),
            each["example"]["completion"][:300],
        ]
        for number, each in enumerate(causal["conditions"], 1)
    ]
    effects = "; ".join(
        f"{each['condition']} against {each['against']}: {100 * each['value']:+.0f} points "
        f"[{100 * each['low']:+.0f}, {100 * each['high']:+.0f}]"
        for each in causal["effects"]
    )
    notes = [
        f"The direction, mean of full minus mean of base, was found on {causal['fitted_on']} prompts; all answers here are to the other "
        f"{causal['tested_on']}. It is taken out after every layer, or added after layer {causal['layer']} in multiples of its length "
        f"{causal['direction_norm']:.1f} (the stream there is {causal['stream_norm']:.1f} long).",
        f"Paired by prompt: {effects}.",
    ]
    columns = [
        "condition",
        "persona",
        "looping",
        "words",
        "n",
        f"answer to “{causal['conditions'][0]['example']['prompt']}”",
    ]
    return Section(
        "Pushing the direction",
        notes,
        [plot("persona_rate", "Persona"), plot("looping_rate", "Looping")],
        columns,
        rows,
        [5],
    )


def _method(found: dict[str, Any]) -> Section:
    return Section(
        "How",
        [
            f"{found['num_prompts']} held-out prompts, {found['model']}, {found['num_layers']} layers, seed {found['seed']}. Activations "
            "are means over an answer's tokens, except for “before”: the last token before the answer. Intervals are 95 %, by prompt. "
            f"Made by: {found['command']}.",
            "Direction and threshold come from the same judge that selected training pairs; a direction that moves its score need not be "
            "the only one that does.",
        ],
    )
