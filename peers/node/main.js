// Drives ioredis by what comes on standard input.
import { main } from "./driver/run.js";

await main();
