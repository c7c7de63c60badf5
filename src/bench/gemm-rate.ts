/** How fast the engine multiplies matrices on this machine: what reading tokens is limited by. */
import * as ort from "onnxruntime-node";
import { GraphBuilder } from "../onnx/graph.js";

/** Rows, columns and inner size of the product: large enough to run at the full rate. */
const SIZE = 1024;

/** A product of two float32 matrices by ONNX Runtime. */
export class GemmProbe {
  /** Multiplications and additions of one {@link run}. */
  readonly operations = 2 * SIZE ** 3;

  private constructor(
    private readonly session: ort.InferenceSession,
    private readonly feeds: Record<string, ort.Tensor>,
  ) {}

  static async create(threads: number): Promise<GemmProbe> {
    const graph = new GraphBuilder("gemm", "none");
    const [a, b] = ["a", "b"].map((name) => graph.input(name, "f32", [SIZE, SIZE]));
    graph.output("c", graph.node("MatMul", [a!, b!]), "f32", [SIZE, SIZE]);
    const session = await ort.InferenceSession.create(graph.toBytes(), { intraOpNumThreads: threads });
    const matrix = () => {
      const values = Float32Array.from({ length: SIZE * SIZE }, (_, i) => (i % 17) / 17);
      return new ort.Tensor("float32", values, [SIZE, SIZE]);
    };
    return new GemmProbe(session, { a: matrix(), b: matrix() });
  }

  async run(): Promise<void> {
    await this.session.run(this.feeds);
  }

  async dispose(): Promise<void> {
    await this.session.release();
  }
}
