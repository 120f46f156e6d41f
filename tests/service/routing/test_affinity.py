"""Where requests go: conversations stay, load is shared, and nothing moves without need."""

from __future__ import annotations

from collections import Counter

import pytest
from engines import FakeEngine
from serving import ask

from diglot.service.routing import Deployment
from diglot.service.routing.affinity import LOAD, LONG, Conversation
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_USER, Message

INSTRUCTIONS = "You help. " * (LONG // 10)


def deployments(*weights: float) -> list[Deployment]:
    return [
        Deployment(f"d{number}", FakeEngine(), weight=weight)
        for number, weight in enumerate(weights)
    ]


def talk(*said: str, system: str = INSTRUCTIONS) -> CreateChatCompletionRequest:
    """A conversation: instructions, then the user and the assistant in turns."""
    request = ask()
    del request.messages[:]
    request.messages.append(Message(role=ROLE_SYSTEM, content=system))
    for place, text in enumerate(said):
        role = ROLE_ASSISTANT if place % 2 else ROLE_USER
        request.messages.append(Message(role=role, content=text))
    return request


def place(among: list[Deployment], request: CreateChatCompletionRequest) -> str:
    return Conversation(request).place(among).name


def keyed(number: int) -> CreateChatCompletionRequest:
    return ask(prompt_cache_key=f"key {number}")


def test_a_conversation_stays_where_it_began() -> None:
    """However long it grows."""
    among = deployments(1, 1, 1, 1)
    for number in range(50):
        said: list[str] = []
        places = set()
        for turn in range(5):
            said.append(f"{number}: turn {turn}")
            places.add(place(among, talk(*said)))
            said.append(f"answer {turn}")
        assert len(places) == 1


def test_conversations_with_the_same_instructions_are_spread() -> None:
    among = deployments(1, 1)
    places = Counter(place(among, talk(f"question {number}")) for number in range(1000))
    assert min(places.values()) > 400


def test_a_cache_key_wins_over_the_messages() -> None:
    among = deployments(1, 1, 1, 1)
    assert len({place(among, ask(str(n), prompt_cache_key="mine")) for n in range(50)}) == 1
    assert len({place(among, keyed(n)) for n in range(50)}) == 4


@pytest.mark.parametrize("kind", ["image_url", "other_json"])
def test_images_count_and_are_told_apart(kind: str) -> None:
    """And whatever else there is to be seen."""

    def seeing(picture: str) -> CreateChatCompletionRequest:
        request = ask()
        request.messages[0].ClearField("content")
        request.messages[0].parts.add().text.text = "What is it?"
        part = request.messages[0].parts.add()
        url = "data:image/png;base64," + picture
        if kind == "image_url":
            part.image_url.url = url
        else:
            part.other_json = f'{{"type": "video_url", "video_url": {{"url": "{url}"}}}}'
        return request

    among = deployments(1, 1, 1, 1)
    heading = "A" * 100_000  # images of one kind begin alike
    pictures = [seeing(f"{heading}{number}") for number in range(50)]
    assert all(Conversation(picture).is_kept for picture in pictures)
    assert len({place(among, picture) for picture in pictures}) == 4
    assert len({place(among, pictures[0]) for _ in range(5)}) == 1


def test_weights_are_kept() -> None:
    among = deployments(3, 1)
    places = Counter(place(among, keyed(number)) for number in range(4000))
    assert 2.7 < places["d0"] / places["d1"] < 3.3


def test_who_comes_or_goes_moves_only_its_own() -> None:
    among = deployments(1, 1, 1, 1)
    before = {number: place(among, keyed(number)) for number in range(1000)}
    after = {number: place(among[:3], keyed(number)) for number in range(1000)}
    moved = {number for number in before if before[number] != after[number]}
    assert moved == {number for number in before if before[number] == "d3"}
    assert set(Counter(after[number] for number in moved)) == {"d0", "d1", "d2"}


def test_no_deployment_takes_much_more_than_its_share() -> None:
    """Though all ask with one key."""
    among = deployments(1, 1, 1, 1)
    for number in range(1, 201):
        chosen = Conversation(keyed(0)).place(among)
        chosen.in_flight += 1
        assert chosen.in_flight <= LOAD * number / 4 + 1
    favourite = place(deployments(1, 1, 1, 1), keyed(0))
    loads = {each.name: each.in_flight for each in among}
    assert loads[favourite] == max(loads.values())
    assert min(loads.values()) > 0


def test_what_is_over_goes_to_the_same_second_choice() -> None:
    among = deployments(1, 1, 1, 1)
    favourite = Conversation(keyed(0)).place(among)
    favourite.in_flight = 10
    second = Conversation(keyed(0)).place(among)
    assert second is not favourite
    left = [each for each in among if each is not favourite]
    assert Conversation(keyed(0)).place(left) is second


def test_short_requests_go_where_the_least_is_going_on() -> None:
    among = deployments(1, 1, 1)
    for number in range(300):
        Conversation(ask(f"short {number}")).place(among).in_flight += 1
    assert [each.in_flight for each in among] == [100, 100, 100]


def test_the_least_is_reckoned_by_weight() -> None:
    among = deployments(3, 1)
    for number in range(400):
        Conversation(ask(f"short {number}")).place(among).in_flight += 1
    assert [each.in_flight for each in among] == [300, 100]


def test_where_nothing_is_going_on_short_conversations_stay_too() -> None:
    among = deployments(1, 1, 1)
    for number in range(50):
        first = talk(f"q {number}", system="Help.")
        second = talk(f"q {number}", "a", "and?", system="Help.")
        assert not Conversation(second).is_kept
        assert place(among, first) == place(among, second)
