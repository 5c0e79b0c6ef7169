"""The part of a report about the run's persona classifier."""

from pydantic import Field

from character_ray.report.base import Figure, Metric, Part

__all__ = ["Abstention", "ClassReport", "Classifier", "FineTuned"]


class ClassReport(Part):
    """Held-out figures of one class; without intervals in reports of before they had one."""

    precision: Figure
    recall: Figure
    f1: Figure
    support: int


class Abstention(Part):
    """Accuracy when only the surest texts are decided."""

    decided: float
    """Share of texts that are decided."""
    threshold: float
    """Calibrated probability of the likelier class from which they are."""
    accuracy: Metric


class FineTuned(Part):
    """How an encoder was fine-tuned."""

    epochs: int
    batch_size: int
    """Texts per optimizer step, over all workers."""
    learning_rate: float
    """Peak."""
    max_length: int
    """Tokens of a text that are read."""
    workers: int


class Classifier(Part):
    """The persona classifier, measured on prompts it was not trained on."""

    encoder: str
    fine_tuned: FineTuned | None = None
    """How the encoder was trained with its head; ``None`` where it stayed frozen under a logistic regression."""
    num_train: int
    num_calibrate: int = 0
    """Texts, to prompts of their own, that the temperature was fitted on; 0 in reports of before there was one."""
    num_test: int
    repeated: int = 0
    """Texts left out of training and calibration because the same text is tested."""
    accuracy: Metric
    classes: dict[str, ClassReport]
    confusion: list[list[int]] = Field(default_factory=list)
    """Tested texts by class (rows) and by what they were taken for (columns), both in the order of ``classes``."""
    temperature: float | None = None
    """What logits are divided by; above 1 the classifier was too sure."""
    uncalibrated_error: Metric | None = None
    """Expected calibration error before the temperature."""
    expected_calibration_error: Figure
    """Of the probabilities that decide, after the temperature."""
    uncalibrated_reliability: list[dict[str, float]] = Field(default_factory=list)
    """As ``reliability``, before the temperature."""
    reliability: list[dict[str, float]]
    """Per bin: ``confidence`` (mean predicted probability), ``observed`` (share in character), ``n``."""
    abstention: list[Abstention] = Field(default_factory=list)
    """From all texts decided to the surest half."""
    generators: dict[str, dict[str, Metric]] = Field(default_factory=dict)
    """By the generator of the persona's texts that a head was trained on, by the generator tested on: share of its texts named right, on
    prompts that training did not see. What an arm wrote counts as what the arm was trained for."""
    sure: float | None = None
    """Calibrated probability of either class from which an arm's answer is decided."""
    arms: dict[str, dict[str, Metric]] = Field(default_factory=dict)
    """By arm ``decided_rate``, the share of its answers that is decided then, and ``persona_rate``, the share in character of those."""
