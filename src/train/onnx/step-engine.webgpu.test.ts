import { testEngine } from "../test-engine.js";

// Compiling shaders for a processor without a graphics card takes a while.
testEngine("onnx-webgpu", 300_000);
