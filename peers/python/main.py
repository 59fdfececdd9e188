"""Drives redis-py by what comes on standard input."""

import asyncio

from driver.run import main

asyncio.run(main())
