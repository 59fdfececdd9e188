"""The course of a driver: the order, the load, the end."""

import asyncio
import json
import os
import sys
import traceback

from .loads import Loads
from .protocol import Order, Target, Witness
from .tally import Tally

# How long calls are waited for after the order to stop: those that have not ended then are counted as never returned. Ten
# seconds more than the longest limit that any client sets a call by default (Lettuce: 60 s).
CALLS_END_WITHIN = 70


async def main() -> None:
    witness = Witness()
    try:
        await _drive(witness)
    except Exception as error:
        traceback.print_exc()
        witness.tell({"trouble": repr(error)})
    witness.tell("finished")
    sys.stdout.flush()
    # The client's tasks may be waiting for what never comes.
    os._exit(0)


async def _drive(witness: Witness) -> None:
    lines = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    order = Order.read((await lines.readline()).decode())
    target = Target.parse(order.url)
    tally = Tally()
    witnesses = [witness] + [witness.for_another() for _ in range(order.clients - 1)]
    clients = [Loads(order, target, each, tally) for each in witnesses]
    callers: list[asyncio.Task] = []
    others: list[asyncio.Task] = []
    for each in clients:
        await each.connect()
    for each in clients:
        for load in order.loads:
            await _start(load, order, each, callers, others)
    loads = clients[0]
    others.append(asyncio.ensure_future(loads.tell_totals()))
    witness.tell("ready")
    if order.consume:
        for each in clients:
            each.reading.set()
    await _obey(lines, clients, others)

    for each in clients:
        each.is_stopped = True
    if callers:
        _ended, open_ones = await asyncio.wait(callers, timeout=CALLS_END_WITHIN)
        if open_ones:
            tally.give_up()
    for task in others:
        task.cancel()
    witness.tell({"calls": tally.read()})


async def _obey(lines: asyncio.StreamReader, clients: list[Loads], others: list[asyncio.Task]) -> None:
    """Follows the controls until it is told to stop."""
    while line := await lines.readline():
        match json.loads(line):
            case "probe":
                others.append(asyncio.ensure_future(clients[0].probe()))
            case "consume":
                for each in clients:
                    each.reading.set()
            case "stop":
                return
            case other:
                # A newer lab may know more.
                print(f"not a control: {other}", file=sys.stderr)


async def _start(
    load: str, order: Order, loads: Loads, callers: list[asyncio.Task], others: list[asyncio.Task]
) -> None:
    match load:
        case "idle":
            pass
        case "callers":
            callers.extend(asyncio.ensure_future(loads.call()) for _ in range(order.callers))
        case "spread":
            callers.extend(asyncio.ensure_future(loads.spread()) for _ in range(order.callers))
        case "droppers":
            callers.extend(asyncio.ensure_future(loads.drop_calls(caller)) for caller in range(order.callers))
        case "torrent":
            callers.append(asyncio.ensure_future(loads.torrent()))
        case "fetch":
            callers.append(asyncio.ensure_future(loads.fetch()))
        case "blocked":
            others.append(asyncio.ensure_future(loads.consume()))
        case "subscribed":
            await loads.subscribe()
            others.append(asyncio.ensure_future(loads.listen()))
        case other:
            raise NotImplementedError(f"not supported: the load {other}")
