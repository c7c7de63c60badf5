import { testEngine } from "../test-engine.js";

testEngine("jax-cpu", 60_000);
