"""Queues that lack members on a cluster, and the report on them."""

from __future__ import annotations

from bridge.domain.queue_members import QueueMembers, shortages, unseen

NODES = ("r@n1", "r@n2", "r@n3")


def queue(name: str, *members: str, online: tuple[str, ...] | None = None) -> QueueMembers:
    return QueueMembers(
        queue=name, members=frozenset(members), online=frozenset(members if online is None else online)
    )


def test_queues_with_a_member_on_each_node_or_on_a_single_node_are_complete() -> None:
    assert list(shortages(NODES, [queue("a", *NODES), queue("b", *NODES)])) == []
    assert list(shortages(["r@n1"], [queue("a", "r@n1")])) == []


def test_queues_without_visible_members_are_named() -> None:
    assert unseen(["a", "b"], [queue("a", *NODES), queue("b", *NODES)]) is None
    assert unseen(["a", "b"], [queue("b", *NODES)]) == "a: the management API shows no members"
    assert unseen(["a", "b"], []) == "a, b: the management API shows no members"


def test_three_members_are_enough_on_a_cluster_of_five() -> None:
    assert list(shortages([*NODES, "r@n4", "r@n5"], [queue("a", *NODES)])) == []


def test_queues_with_too_few_members_are_named_with_the_command_to_grow_them() -> None:
    names = ["sms.send", "sms.dead", "sms_celery_delayed_1", "sms_celery_delayed_10", "sms_celery_delayed_11"]
    (found,) = shortages(NODES, [*(queue(name, "r@n1") for name in names), queue("whole", *NODES)])

    assert found.seen == (
        "sms.dead, sms.send, sms_celery_delayed_1 and 2 more queues: 1 member on a cluster of 3 nodes"
    )
    assert found.advice == (
        "run on a node: rabbitmq-queues grow r@n2 all; rabbitmq-queues grow r@n3 all; "
        "rabbitmq-queues rebalance quorum"
    )
    assert not found.is_down


def test_member_that_is_not_online_is_named_with_its_node() -> None:
    (found,) = shortages(NODES, [queue("a", *NODES, online=NODES[:2])])

    assert (found.seen, found.advice) == ("a: the member on r@n3 is not online", "start RabbitMQ on r@n3")
    assert not found.is_down


def test_queues_without_a_majority_are_down() -> None:
    two_offline = queue("a", *NODES, online=NODES[:1])
    half_offline = queue("b", *NODES[:2], online=NODES[:1])
    found = list(shortages(NODES, [two_offline, half_offline]))

    assert [(one.seen.partition(":")[0], one.is_down) for one in found] == [
        ("a", True), ("b", True), ("b", False)
    ]  # fmt: skip
    assert "the members on r@n2, r@n3 are not online, so there is no majority" in found[0].seen
    assert found[2].seen == "b: 2 members on a cluster of 3 nodes"
