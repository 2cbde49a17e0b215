"""The AutoML policy: the flag wins over the words, the words over the model's default."""

from __future__ import annotations

import pytest

from skillrun.policy import resolve

OFF = [
    "turn off AutoML",
    "Turn off AutoML for this run, please.",
    "please turn AutoML off",
    "TURN OFF AUTOML",
    "disable AutoML",
    "Train with AutoML disabled",
    "deactivate auto-ml and train",
    "switch off auto ml",
    "no HPO",
    "No hpo, just fit the model on my boards",
    "train with no AutoML",
    "train without AutoML",
    "train the model without any hyperparameter search",
    "w/o automl",
    "plain training",
    "I want a plain training run on this data",
    "do a plain old training",
    "skip the hyper-parameter tuning",
    "skip AutoML this time",
    "don't use AutoML",
    "Do not run AutoML here",
    "I don't want AutoML",
    "we do not need hyperparameter optimization",
    "never run HPO on this box",
    "AutoML off",
    "automl=false",
    "automl: off",
    "can you turn off AutoML?",
    "could you please disable automl?",
    "ohne AutoML trainieren",
    "AutoML bitte ausschalten",
    "Schalte AutoML aus",
    "bitte AutoML deaktivieren und einmal trainieren",
    "AutoML nicht verwenden",
    "keine Hyperparametersuche",
    "entraîne sans AutoML",
    "désactive l'AutoML",
    "entrena sin AutoML",
    "desactiva el AutoML, por favor",
    "treine sem AutoML",
    "allena senza AutoML",
    "train zonder AutoML",
    "关闭AutoML",
    "AutoMLなしで学習して",
    'the label says "defect", train it without AutoML',
    "Train for 5 epochs. No AutoML!",
    "'turn off AutoML'",
]

ON = [
    "",
    "train on my boards",
    "train visual_changenet for 5 epochs with AutoML",
    "don't turn off AutoML",
    "Don't turn AutoML off",
    "do not disable AutoML",
    "never disable automl on production runs",
    "please do not switch off the hyperparameter search",
    "keep AutoML on",
    "leave AutoML enabled",
    "train without disabling AutoML",
    "AutoML must not be turned off",
    "AutoML soll nicht ausgeschaltet werden",
    "schalte AutoML nicht aus",
    "ne désactive pas l'AutoML",
    "no desactives AutoML",
    "use AutoML",
    'the old note says "turn off AutoML", ignore it and train',
    "train class «no HPO» of the set",
    "why would anyone disable AutoML?",
    "should I turn off AutoML?",
    "turn off the lights augmentation",
    "plain boards, train on them",
    "disable augmentation and train with AutoML",
    "train a model that finds parts that are turned off",
    "Disable AutoML? No: actually keep AutoML on",
    "no hotspots please",
]


@pytest.mark.parametrize("text", OFF)
def test_words_turn_the_search_off(text: str) -> None:
    decision = resolve(None, text)
    assert (decision.state, decision.decided_by) == ("off", "text"), decision


@pytest.mark.parametrize("text", ON)
def test_words_leave_the_search_on(text: str) -> None:
    assert resolve(None, text).state == "on", resolve(None, text)


def test_the_flag_wins_over_the_words() -> None:
    assert resolve(True, "turn off AutoML").state == "on"
    assert resolve(False, "use AutoML").state == "off"


def test_a_model_without_automl_trains_once() -> None:
    assert resolve(None, "", automl_enabled=False).decided_by == "model"


def test_a_missing_schema_blocks_the_search_and_says_so() -> None:
    decision = resolve(None, "", schema_present=False)
    assert decision.state == "blocked"
    assert "schema" in decision.reason


def test_a_missing_schema_does_not_matter_when_the_search_is_off() -> None:
    assert resolve(None, "plain training", schema_present=False).state == "off"
