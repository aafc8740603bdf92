"""Whatever history there is: no backup that stays ever loses a part."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.backup.manifest import Manifest, Part
from penstock.backup.retention import (
    Rules,
    decide,
    leftovers,
    parts_to_remove,
)
from tests.backup_history import NIGHT, backup_id, manifest, part

rules = st.builds(
    Rules,
    *(st.integers(0, most) for most in (10, 6, 4)),  # some of each, or none
)


@st.composite
def histories(draw: st.DrawFn) -> list[Manifest]:
    """Return backups, each of which dumps some days and refers to earlier dumps."""
    made: list[Manifest] = []
    at = NIGHT
    for number in range(draw(st.integers(1, 14))):
        at += timedelta(minutes=draw(st.integers(0, 4 * 24 * 60)))
        own = backup_id(at, number)
        system = draw(st.sampled_from(["a", "a", "a", "b"]))
        earlier: dict[str, Part] = {
            each.key: each
            for one in made
            if one.system_identifier == system
            for each in one.parts
        }
        keys = sorted(earlier)
        chosen = st.lists(st.sampled_from(keys), max_size=4, unique=True)
        referred = draw(chosen) if keys else []
        days = draw(st.lists(st.integers(1, 9), max_size=3, unique=True))
        own_parts = [part(f"logs_2026010{day}", own) for day in days]
        parts = [*(earlier[key] for key in referred), *own_parts]
        made.append(manifest(at, parts, number, system, own))
    return draw(st.permutations(made))


@settings(deadline=None, max_examples=50)
@given(history=histories(), rules=rules)
def test_no_backup_that_stays_loses_a_part(
    history: list[Manifest], rules: Rules
) -> None:
    decisions = decide(history, rules)
    staying = [each.manifest for each in decisions if each.reasons]
    going = [each.manifest for each in decisions if not each.reasons]
    store = {part.key for each in history for part in each.parts}
    removed = parts_to_remove(going, staying)
    needed = {part.key for each in staying for part in each.parts}
    assert needed <= store - removed
    # And nothing is left that nobody needs: all the room comes back.
    assert store - removed == needed
    assert leftovers(store, staying) == removed
    assert leftovers(store, history) == set()


@settings(deadline=None, max_examples=50)
@given(history=histories(), rules=rules)
def test_the_newest_stays_and_the_rules_keep_what_they_say(
    history: list[Manifest], rules: Rules
) -> None:
    decisions = decide(history, rules)
    assert sorted(each.manifest.id for each in decisions) == sorted(
        each.id for each in history
    )
    for system in {each.system_identifier for each in history}:
        ours = [each for each in decisions if each.manifest.system_identifier == system]
        assert ours[0].reasons, "the newest"
        times = [each.manifest.created_at for each in ours]
        assert times == sorted(times, reverse=True)
        # The last of each of so many days, told apart in the plainest way.
        days: list[str] = []
        for each in ours:
            day = each.manifest.created_at.date().isoformat()
            if day not in days:
                days.append(day)
                reason = f"last of {day}"
                assert (reason in each.reasons) == (len(days) <= rules.daily)


@settings(deadline=None, max_examples=50)
@given(history=histories(), rules=rules)
def test_to_prune_twice_is_to_prune_once(history: list[Manifest], rules: Rules) -> None:
    staying = [each.manifest for each in decide(history, rules) if each.reasons]
    assert all(each.reasons for each in decide(staying, rules))


@settings(deadline=None, max_examples=50)
@given(history=histories(), less=rules, more=rules)
def test_who_keeps_more_keeps_no_backup_less(
    history: list[Manifest], less: Rules, more: Rules
) -> None:
    both = Rules(*map(max, less, more))
    kept = {each.manifest.id for each in decide(history, both) if each.reasons}
    assert {each.manifest.id for each in decide(history, less) if each.reasons} <= kept
