/** The graph of a whole step on the CPU; test/webgpu-training.test.ts has it on a graphics card. */
import { testEngine } from "../test-engine.js";
import { StepEngine } from "./step-engine.js";

testEngine("onnx-webgpu", 120_000, async () => (config, options) => StepEngine.start(config, options, "cpu"));
