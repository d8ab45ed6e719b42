"""Requests of every kind, each judged: from threads, from an event loop, over HTTP."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx

import stepwell as sw
from stepwell.langchain import CascadeRetriever
from stepwell.llama_index import CascadeRetriever as LlamaRetriever
from tests.soak.judge import Ask, Judge, Seen, seen_of, seen_of_json, seen_of_parts
from tests.soak.world import FILTERS, KS, World

LOST = 60.0
"""Seconds after which a request counts as lost."""
SHARES = {"local": 1, "remote": 4, "guarded": 4, "flaky": 3, "strict": 2}

Door = Callable[[World, Ask], Seen]
AsyncDoor = Callable[[World, Ask], Awaitable[Seen]]


class Draw:
    """Requests from a seed."""

    def __init__(self, world: World, seed: str) -> None:
        self.world, self.chance = world, random.Random(seed)

    def ask(self, setup: str | None = None) -> Ask:
        """A request, of a cascade drawn by its share if none is named."""
        chance = self.chance
        setup = setup or chance.choices(list(SHARES), list(SHARES.values()))[0]
        deadline = chance.uniform(0.02, 0.5) if chance.random() < 0.3 else None
        query = chance.choice(self.world.questions(setup))
        return Ask(setup, query, chance.choice(KS), chance.randrange(len(FILTERS)), deadline)


# -- doors -----------------------------------------------------------------------------------


def searched(world: World, ask: Ask) -> Seen:
    return seen_of(world.setups[ask.setup].cascade.search(ask.query, **ask.options))


async def asearched(world: World, ask: Ask) -> Seen:
    return seen_of(await world.setups[ask.setup].cascade.asearch(ask.query, **ask.options))


def _langchain(world: World, ask: Ask) -> CascadeRetriever:
    return CascadeRetriever(cascade=world.setups[ask.setup].cascade, trace=True, **ask.options)


def _of_langchain(documents: Sequence[Any]) -> Seen:
    details = [each.metadata["stepwell"] for each in documents]
    scores = [each.metadata["relevance_score"] for each in documents]
    return seen_of_parts([each.id for each in documents], scores, details)


def langchain(world: World, ask: Ask) -> Seen:
    return _of_langchain(_langchain(world, ask).invoke(ask.query))


async def alangchain(world: World, ask: Ask) -> Seen:
    return _of_langchain(await _langchain(world, ask).ainvoke(ask.query))


def _llama(world: World, ask: Ask) -> LlamaRetriever:
    options = {"filters": FILTERS[ask.filter], "deadline": ask.deadline, "trace": True}
    return LlamaRetriever(world.setups[ask.setup].cascade, ask.k, **options)


def _of_llama(nodes: Sequence[Any]) -> Seen:
    details = [each.node.metadata["stepwell"] for each in nodes]
    return seen_of_parts([each.node.node_id for each in nodes], [n.score for n in nodes], details)


def llama(world: World, ask: Ask) -> Seen:
    return _of_llama(_llama(world, ask).retrieve(ask.query))


async def allama(world: World, ask: Ask) -> Seen:
    return _of_llama(await _llama(world, ask).aretrieve(ask.query))


DOORS: dict[str, Door] = {"search": searched, "langchain": langchain, "llama": llama}
ASYNC_DOORS: dict[str, AsyncDoor] = {"asearch": asearched, "alc": alangchain, "allama": allama}


# -- who asks ---------------------------------------------------------------------------------


class Caller(threading.Thread):
    """Asks one request after the other until it is told to end."""

    def __init__(self, judge: Judge, seed: str, *, pause: float) -> None:
        super().__init__(name=f"caller {seed}", daemon=True)
        self.judge, self.world, self.pause = judge, judge.world, pause
        self.draw, self.over = Draw(judge.world, seed), threading.Event()
        self.since: float | None = None

    def run(self) -> None:
        while not self.over.wait(self.draw.chance.uniform(0.0, 2.0) * self.pause):
            self.since = time.monotonic()
            try:
                self.step()
            except Exception as error:
                self.judge.fault("soak", f"{type(error).__name__}: {error}")
            self.since = None

    def step(self) -> None:
        raise NotImplementedError

    @property
    def lost(self) -> bool:
        since = self.since
        return since is not None and time.monotonic() - since > LOST


class Threaded(Caller):
    """Calls that wait: one query, or several together."""

    def step(self) -> None:
        name = self.draw.chance.choice([*DOORS, "many"])
        asks = [self.draw.ask()]
        if name == "many":
            first = asks[0]
            queries = self.draw.chance.sample(self.world.questions(first.setup), k=4)
            asks = [replace(first, query=each) for each in queries]
        self.judge.count(*["asked"] * len(asks))
        try:
            made: list[Any] = (
                self._many(asks) if name == "many" else [DOORS[name](self.world, asks[0])]
            )
        except Exception as error:
            made = [error] * len(asks)
        for ask, each in zip(asks, made, strict=True):
            if isinstance(each, Exception):
                self.judge.raised(name, ask, each)
            else:
                self.judge.answered(name, ask, each)

    def _many(self, asks: list[Ask]) -> list[Any]:
        cascade = self.world.setups[asks[0].setup].cascade
        made = cascade.search_each([ask.query for ask in asks], **asks[0].options)
        return [seen_of(each) if isinstance(each, sw.Result) else each for each in made]


class Awaiting(Caller):
    """An event loop with several requests at a time, some of which are cancelled."""

    def step(self) -> None:
        asyncio.run(self._loop())

    async def _loop(self) -> None:
        async with asyncio.TaskGroup() as group:
            for at in range(4):
                group.create_task(self._ask_on(Draw(self.world, f"{self.name} {at}")))

    async def _ask_on(self, draw: Draw) -> None:
        while not self.over.is_set():
            await asyncio.sleep(draw.chance.uniform(0.0, 2.0) * self.pause)
            self.since = time.monotonic()
            name, ask = draw.chance.choice(list(ASYNC_DOORS)), draw.ask()
            patience = draw.chance.uniform(0.0, 0.1) if draw.chance.random() < 0.1 else None
            self.judge.count("asked")
            try:
                seen = await asyncio.wait_for(ASYNC_DOORS[name](self.world, ask), patience)
                self.judge.answered(name, ask, seen)
            except TimeoutError as error:
                if patience is None:
                    self.judge.raised(name, ask, error)
                else:
                    self.judge.count("cancelled")
            except Exception as error:
                self.judge.raised(name, ask, error)


class OverHttp(Caller):
    """Searches of `stepwell serve`, and its rerank API."""

    def __init__(self, judge: Judge, seed: str, url: str, *, pause: float) -> None:
        super().__init__(judge, seed, pause=pause)
        self.client = httpx.Client(base_url=url, timeout=LOST)

    def run(self) -> None:
        with self.client:
            super().run()

    def step(self) -> None:
        ask = self.draw.ask("served")
        self.judge.count("asked")
        if self.draw.chance.random() < 0.3:
            body = {"model": "any", "query": ask.query, "documents": self.judge.brought}
            answer = self.client.post("/v2/rerank", json=body)
        else:
            deadline = {} if ask.deadline is None else {"deadline": ask.deadline}
            body = {"query": ask.query, "k": ask.k, "filter": FILTERS[ask.filter], **deadline}
            answer = self.client.post("/search", json=body)
        if answer.status_code in (429, 503):
            self.judge.count("raised", "overloaded")
        elif answer.status_code != 200:
            self.judge.raised("http", ask, RuntimeError(f"status {answer.status_code}"))
        elif "results" in answer.json():
            self.judge.reranked(ask.query, answer.json())
        else:
            self.judge.answered("http", ask, seen_of_json(answer.json()))
