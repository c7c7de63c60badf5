import { testEngine } from "../test-engine.js";

testEngine("wasm", 60_000);
