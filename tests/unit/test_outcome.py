"""How a run ended, as its item keeps it."""

from gateway.work.outcome import Outcome


def test_whatever_a_model_prints_can_be_kept() -> None:
    """Half a surrogate pair, which JSON can spell out, is in no document."""
    half = Outcome(message="a\ud83d", result="b\ud83d", denied=("c\ud83d",)).to_data()
    assert (half["message"], half["result"], half["denied"]) == ("a?", "b?", ["c?"])
    assert Outcome.from_data(half).to_data() == half
