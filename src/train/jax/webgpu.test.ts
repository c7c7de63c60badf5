/** In a process of its own: jax-js computes on one device at a time. */
import { testEngine } from "../test-engine.js";

// Compiling shaders for a processor without a graphics card takes half a minute.
testEngine("jax-webgpu", 300_000);
