import { testEngine } from "../test-engine.js";

testEngine("onnx", 60_000);
