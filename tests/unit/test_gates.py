import asyncio

import pytest

from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.deciders import Approval, Unanimous
from noodle_upgrade_core.errors import InvalidRequestError, PluginBrokenError, UpgradeRejectedError
from noodle_upgrade_core.gates import People, decide, votes_of
from noodle_upgrade_core.model import Ballot, UpgradeRequest, Vote
from noodle_upgrade_core.phases import Reply
from noodle_upgrade_core.steps import Gate


def vote(ballot, voter="a", **fields):
    return Vote(ballot=ballot, voter=voter, **fields)


def test_one_rejection_rejects_with_every_reason_and_alternative():
    other = UpgradeRequest(component_name="lamp", target_version="1.1")
    decision = Unanimous().combine(
        None,
        [
            vote("approve", confidence=0.9),
            vote("reject", "b", reasons=("too new",), alternatives=(other,), confidence=0.4),
            vote("reject", "c", reasons=("too big",)),
        ],
        (),
    )
    assert decision.ballot is Ballot.REJECT
    assert decision.reasons == ("b: too new", "c: too big")
    assert decision.alternatives == (other,)
    assert decision.confidence == 0.4


def test_silence_approves():
    assert Unanimous().combine(None, [], ()).approved
    assert Unanimous().combine(None, [vote("abstain")], ()).approved


def test_a_person_cannot_approve_what_a_plugin_rejects():
    assert Approval().combine(None, [vote("reject")], ("alice",)).ballot is Ballot.REJECT


def test_what_plugins_approve_waits_for_a_person():
    waiting = Approval().combine(None, [vote("approve")], ())
    assert waiting.ballot is Ballot.ABSTAIN
    assert waiting.awaits
    given = Approval().combine(None, [vote("approve")], ("alice",))
    assert given.approved
    assert "approved by alice" in given.reasons


def test_a_vote_that_failed_is_a_veto_and_the_voter_is_the_runner_s_word():
    votes = votes_of(
        [
            Reply(plugin="broken", error=PluginBrokenError("it raised")),
            Reply(plugin="silent", value=None),
            Reply(plugin="honest", value=vote("approve", "somebody else"), seconds=0.5),
        ]
    )
    assert [(one.voter, one.ballot) for one in votes] == [("broken", Ballot.REJECT), ("honest", Ballot.APPROVE)]
    assert votes[1].processing_time == 0.5


def test_an_abort_ends_the_waiting_for_people():
    async def story():
        controls = Controls()
        people = People(controls=controls)
        asked = []

        async def waiting(decision, given):
            asked.append(decision)
            asyncio.get_running_loop().call_soon(controls.abort, "never mind")
            await people.wait(5)

        decision = await decide(None, [], decider=Approval(), people=people, waiting=waiting)
        assert not decision.approved
        assert len(asked) == 1

    asyncio.run(asyncio.wait_for(story(), 5))


def test_a_rejection_says_why():
    async def story():
        people = People(controls=Controls())
        votes = [vote("reject", reasons=("not now",))]
        with pytest.raises(UpgradeRejectedError, match="not now"):
            await decide(None, votes, decider=Unanimous(), people=people, waiting=lambda *_: None)

    asyncio.run(story())


def test_a_reason_that_is_a_sentence_does_not_give_the_rejection_two_ends():
    async def story():
        with pytest.raises(UpgradeRejectedError) as caught:
            await decide(
                None,
                [vote("reject", reasons=("No upgrades on Fridays.",)), vote("reject", "b", reasons=("Too new",))],
                decider=Unanimous(),
                people=People(controls=Controls()),
                waiting=None,
            )
        assert caught.value.message == "The upgrade was rejected: a: No upgrades on Fridays; b: Too new."

    asyncio.run(story())


def test_a_gate_opens_when_enough_different_people_approved():
    async def story():
        people = People(controls=Controls())
        task = asyncio.create_task(people.open(Gate("go", approvals=2, expires=5)))
        await asyncio.sleep(0)
        people.approve("alice")
        people.approve(" Alice")
        assert people.waiting_at == "the gate 'go'"
        await asyncio.sleep(0.01)
        assert not task.done()
        people.approve("bob")
        assert await task

    asyncio.run(asyncio.wait_for(story(), 5))


def test_a_gate_that_expires_stays_shut():
    async def story():
        people = People(controls=Controls())
        assert not await people.open(Gate("go", expires=0.01))

    asyncio.run(asyncio.wait_for(story(), 5))


def test_one_person_in_two_spellings_is_one_person():
    async def story():
        people = People(controls=Controls())
        task = asyncio.create_task(people.open(Gate("go", approvals=2, expires=5)))
        await asyncio.sleep(0)
        for who in ("alice", "Alice ", "\uff21lice", "ALICE"):
            people.approve(who)
        assert people.approvals == ["alice"]
        assert people._gates == {"go": {"alice"}}
        people.approve("bob")
        assert await task

    asyncio.run(asyncio.wait_for(story(), 5))


def test_people_know_the_gates_that_wait_for_them_and_only_as_long_as_they_do():
    async def story():
        people = People(controls=Controls())
        assert people.waiting_at == ""
        task = asyncio.create_task(people.open(Gate("go", expires=5)))
        await asyncio.sleep(0)
        assert people.waiting_at == "the gate 'go'"
        people.approve("alice")
        assert await task
        assert people.waiting_at == ""

    asyncio.run(asyncio.wait_for(story(), 5))


def test_an_approval_that_comes_while_the_decider_is_still_thinking_is_not_missed():
    async def story():
        people = People(controls=Controls())
        waited = []

        class Slow(Approval):
            async def combine(self, plan, votes, approvals):
                if not waited:
                    people.approve("alice")
                return Approval.combine(self, plan, votes, approvals)

        async def waiting(decision, given):
            waited.append(given)
            if len(people.approvals) == given:
                await people.wait(5)

        decision = await decide(None, [], decider=Slow(), people=people, waiting=waiting)
        assert decision.approved
        assert waited == [0]

    asyncio.run(asyncio.wait_for(story(), 3))


def test_a_gate_of_named_people_counts_only_those_by_whatever_spelling():
    async def story():
        people = People(controls=Controls())
        opening = asyncio.create_task(people.open(Gate("qa", approvals=2, of=("Alice", "bob"))))
        await asyncio.sleep(0)
        for who in ("mallory", "alice", "ALICE "):
            people.approve(who)
        await asyncio.sleep(0.01)
        assert not opening.done()
        people.approve("Bob")
        return await asyncio.wait_for(opening, 5)

    assert asyncio.run(story())


def test_a_gate_that_nobody_could_open_cannot_be_made():
    with pytest.raises(InvalidRequestError, match="nobody could open it"):
        Gate("qa", approvals=2, of=("alice", "alice"))
