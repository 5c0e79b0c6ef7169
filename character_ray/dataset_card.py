"""The dataset card of an export: who wrote what, from which prompts, under which licences. The hub reads its front matter."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

__all__ = ["dataset_card"]

_HOLDS = {
    "preference": "`prompt`, `chosen`, `rejected`: preference pairs, as for `trl dpo`",
    "sft": "`messages`: whole conversations, as for `trl sft`",
    "sft-prompt-completion": "the rows of `sft` as `prompt`, every turn before the last of the assistant, and `completion`, that turn; "
    "`trl sft` then learns from `completion` alone",
}
# Kinds of pairs whose rejected side the teacher wrote, and the student as it is, whatever the contrast rejects.
_BY_TEACHER = ("violation", "over_refusal", "repetition", "relevance")
_BY_STUDENT = ("refusal", "boundary")

_OWN = "apache-2.0"
# Of the hub's identifiers those that data and texts come under; any other licence is "other" there, with its name beside it.
_HUB_LICENCES = frozenset(
    "apache-2.0 mit cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 "
    "cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 "
    "cdla-permissive-2.0 odc-by odbl pddl openrail unlicense wtfpl gfdl bsd-2-clause bsd-3-clause mpl-2.0 gpl-3.0 agpl-3.0 lgpl-3.0".split()
)
_SPDX_OF_HUB = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl"}


def dataset_card(
    name: str,
    recipe: Mapping[str, Any],
    written: Mapping[str, int],
    pairs: Sequence[Mapping[str, Any]],
    conversations: Sequence[Mapping[str, Any]],
) -> str:
    """Markdown with the front matter the hub reads.

    Args:
        name: The run's.
        recipe: As the run recorded it.
        written: Rows by dataset.
        pairs: All of the run, dropped ones too.
        conversations: The same.
    """
    dropped = Counter(row["drop_reason"] for row in [*pairs, *conversations] if row["drop_reason"])
    lines = [
        f"---\n{yaml.safe_dump(_head(recipe, written), sort_keys=False)}---\n",
        f"# Training data of the persona `{name}`\n",
        f"Written by models; constitution `{recipe['constitution']}`, seed {recipe['seed']}.\n",
        "| role | model |\n| --- | --- |",
        *(f"| {role} | {model} |" for role, model in _roles(recipe)),
        "",
        *_lessons(pairs),
        "| dataset | rows | holds |\n| --- | --- | --- |",
        *(f"| {part} | {rows:,} | {_HOLDS[part]} |" for part, rows in written.items()),
        "",
        "Left out: " + (", ".join(f"{rows:,} {reason}" for reason, rows in dropped.most_common()) or "nothing") + ".\n",
        f"Prompts: {'; '.join(_prompts(recipe))}.\n",
        "The licences are those of the prompts. What a model wrote is under its own terms.\n",
    ]
    return "\n".join(lines)


def _head(recipe: Mapping[str, Any], written: Mapping[str, int]) -> dict[str, Any]:
    parts = [
        {"config_name": part, "data_files": [{"split": "train", "path": f"{part}/train.parquet"}]} for part in written
    ]
    licences = [source["licence"] for source in recipe["prompts"]["sources"]]
    licences += [rows["licence"] for rows in _brought(recipe) if rows]
    return {
        **(_licence(licences, ours=not all(_brought(recipe))) if licences else {}),
        "configs": parts,
        "tags": ["character-ray", "synthetic", "persona"],
    }


def _licence(of_sources: Sequence[str], *, ours: bool) -> dict[str, Any]:
    """The hub's fields for texts of others and, where there are some beside them, prompts of Character-Ray."""
    stated = [licence.strip().lower() for licence in of_sources]
    ids = list(dict.fromkeys([*([_OWN] if ours else []), *(_SPDX_OF_HUB.get(licence, licence) for licence in stated)]))
    if not set(ids) <= _HUB_LICENCES:
        return {"license": "other", "license_name": "-and-".join("-".join(each.split()) for each in ids)}
    return {"license": ids if len(ids) > 1 else ids[0]}


def _roles(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who wrote what, with the model that did."""
    teacher, student, distill = recipe["teacher"]["name"], recipe["student"]["name"], recipe["distill"]
    text = "the text of `sft` once distilled"
    pairs, conversations = _brought(recipe)
    if pairs or conversations:
        return [
            *([("`chosen` and `rejected`", _named(pairs))] if pairs else [("teacher (`chosen`)", teacher)]),
            *([] if pairs else [("student (`rejected`)", student)]),
            ("the text of `sft`", _named(conversations)) if conversations else (f"student ({text})", student),
        ]
    roles = [("teacher (`chosen`)", teacher)]
    if distill.get("opposite"):
        roles.append((f"teacher under the opposite constitution, `{distill['opposite']}` (`rejected`)", teacher))
    elif distill.get("parent"):
        roles.append((f"student with the adapter of an earlier round, `{distill['parent']}` (`rejected`)", student))
    else:
        return [*roles, (f"student (`rejected`, and {text})", student)]
    return [*roles, (f"student ({text})", student)]


def _brought(recipe: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Pairs and conversations that the run took from elsewhere."""
    return recipe["distill"].get("pairs"), recipe.get("introspect", {}).get("conversations")


def _named(rows: Mapping[str, Any]) -> str:
    return f"not of this run: {rows['path']} ({rows['licence']})"


def _lessons(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Pairs about one thing, whose rejected side another wrote than that of the others."""
    kinds = Counter(pair["kind"] for pair in pairs if not pair["drop_reason"])
    told = [
        f"of {', '.join(f'{kinds[kind]:,} {kind}' for kind in by if kinds[kind])} by the {writer}"
        for by, writer in ((_BY_TEACHER, "teacher"), (_BY_STUDENT, "student as it is"))
        if any(kinds[kind] for kind in by)
    ]
    return [f"Lessons among the pairs have another `rejected`: {'; '.join(told)}.\n"] if told else []


def _prompts(recipe: Mapping[str, Any]) -> list[str]:
    if pairs := _brought(recipe)[0]:
        return [f"those of the pairs, {pairs['path']} ({pairs['licence']})"]
    prompts = recipe["prompts"]
    found = ["composed and everyday ones of Character-Ray (Apache-2.0)"]
    if prompts.get("traits"):
        found.append(f"up to {prompts['traits']:,} for each directive of the constitution, written by the teacher")
    for source in prompts["sources"]:
        revision = f" at {source['revision']}" if source.get("revision") else ""
        found.append(f"{source['path']}{revision} ({source['licence']})")
    return found
