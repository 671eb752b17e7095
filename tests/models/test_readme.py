from models.artifact import Evaluation, Figure
from models.readme import readme
from tests.models.cards import card

EVALUATION = Evaluation(
    name="hospital",
    stratum="DX/CHEST/adult",
    healthy=90,
    abnormal=232,
    confidence=0.95,
    auroc=Figure(value=0.6789, low=0.61, high=0.74),
    sensitivity={"0.02": Figure(value=0.1, low=0.05, high=0.15)},
    false_flags={"0.02": Figure(value=0.011, low=0.0, high=0.06)},
    baselines={"mean grey": 0.699},
)


def test_people_read_the_same_numbers_as_machines() -> None:
    text = readme(card().model_copy(update={"evaluations": (EVALUATION,)}))
    assert text.startswith("# generated 1.0.0\n")
    assert "| AUROC | 0.679 (0.610 to 0.740) |" in text
    assert "| sensitivity at p <= 0.02 | 0.100 (0.050 to 0.150) |" in text
    assert "| false flags at p <= 0.02 | 0.011 (0.000 to 0.060) |" in text
    assert "| AUROC of mean grey | 0.699 |" in text
    assert "| training | generated | 96 | 96 |" in text
    assert "- Generated pictures only." in text
